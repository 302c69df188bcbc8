"""A session with very many tasks, on a real broker: through a kill and a rebalance, from the handlers' ledger."""

from __future__ import annotations

from tests.support.scenario import MakeScenario
from tests.support.until import until

TASKS = 4000


def test_a_kill_past_a_hot_session_repeats_nothing_of_the_others_and_keeps_every_order(scenario: MakeScenario) -> None:
    """All tasks of the others are done while the first one of the hot session runs: what is done ahead is committed."""
    work = scenario(partitions=2)
    for partition in (0, 1):
        keys = (b"slow" if n % 2 else b"s%d" % (n % 100) for n in range(TASKS // 2))
        work.produce(((key, b"") for key in keys), partition=partition)
    options = ("-w", "8", "--max-in-flight", "200", "--commit-interval", "0.2", "-X", "session.timeout.ms=6000")
    fleet = work.run("wait_if_slow", *options)
    entries = work.wait_done(TASKS // 2)
    assert not [entry for entry in entries if entry.succeeded and entry.session == "slow"]
    fleet.wait_for("consumer.set_aside", partition=0)
    fleet.wait_for("consumer.set_aside", partition=1)
    until(lambda: len(work.known_done()) >= TASKS // 2, "what is done ahead is committed", 30)
    work.kill(fleet)
    work.go()
    assert work.run("wait_if_slow", *options, "-p", "2", "--stop-at-end").wait(120) == 0
    assert work.faults() == {}
    assert [finding for finding in work.repeated() if finding.session != "slow"] == []
    assert work.lag == 0
