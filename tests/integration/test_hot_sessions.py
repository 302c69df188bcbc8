"""A session with very many tasks, on a real broker: through a kill and a rebalance, from the handlers' ledger."""

from __future__ import annotations

import random

import pytest

from processor.engine.flow import RESERVED
from tests.support import appearances
from tests.support.appearances import exactly_once
from tests.support.cluster import Row
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario
from tests.support.until import until

TASKS = 4000

MANY = 100_000

HOT_SESSIONS = 1_000

EACH = 20
"""Tasks of each of them; a quarter as many are of others."""

MAX_AHEAD = HOT_SESSIONS * EACH


def test_a_kill_repeats_no_committed_task_ahead_of_a_hot_session_and_keeps_the_order_of_each_session(
    scenario: MakeScenario,
) -> None:
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
    until(lambda: len(work.known_done()) >= TASKS // 2, "what is done ahead is committed", 60)
    work.kill(fleet)
    work.go()
    assert work.run("wait_if_slow", *options, "-p", "2", "--stop-at-end").wait(120) == 0
    assert work.faults() == {}
    assert [finding for finding in work.repeated() if finding.session != "slow"] == []
    work.wait_lag(0)


def mixed(slow: int, others: int, sessions: int = 200) -> list[Row]:
    """Tasks of a slow session, the first one included, at random among those of others."""
    behind = set(random.Random(1).sample(range(1, slow + others), slow - 1)) | {0}
    return [(b"slow" if n in behind else b"s%d" % (n % sessions), b"") for n in range(slow + others)]


def succeeded(fleet: Fleet) -> int:
    stats = fleet.heard("consumer.stats")
    return int(stats[-1]["succeeded"]) if stats else 0


def test_a_thousand_hot_sessions_in_fifty_partitions_delay_no_other_session_and_keep_their_order(
    scenario: MakeScenario,
) -> None:
    """Until they may begin, all tasks of the others are done, and most of theirs are set aside."""
    work = scenario(partitions=50)
    others = HOT_SESSIONS * EACH // 4
    tasks = others + HOT_SESSIONS * EACH
    period = HOT_SESSIONS * 5 // 4  # four of five tasks are of a hot session
    work.produce((b"slow%d" % (n % period) if n % 5 else b"s%d" % n, b"") for n in range(tasks))
    fleet = work.run("defer_if_slow", "--max-ahead", str(MAX_AHEAD))
    until(lambda: succeeded(fleet) == others, lambda: f"{succeeded(fleet)} of {others} are done", 120, pause=0.1)
    until(lambda: fleet.heard("consumer.stats")[-1]["set_aside"] >= MAX_AHEAD / 2, "most are set aside", 60, pause=0.1)
    assert {entry.session[:4] == "slow" for entry in work.ledger.entries()} == {False}
    work.go()
    work.wait_lag(0, 120)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    stats = fleet.heard("consumer.stats")
    assert max(each["set_aside"] for each in stats) <= MAX_AHEAD
    assert max(each["in_flight"] for each in stats) <= 10_000 * (1 + RESERVED)


@pytest.mark.parametrize(
    ("slow", "is_recorded", "delivery"),
    [(1_500, False, "at-least-once"), (25_000, True, "at-least-once"), (5_000, True, "exactly-once")],
    ids=["metadata", "record", "exactly-once"],
)
def test_a_kill_with_100_000_tasks_done_ahead_of_a_hot_session_repeats_only_what_ran_since_the_last_commit(
    scenario: MakeScenario, slow: int, is_recorded: bool, delivery: str
) -> None:
    """In the metadata as far as it reaches, which is some hundred thousand with one task in sixty of the session.

    With exactly-once, a reader of committed records sees each output once.
    """
    work = scenario(partitions=1)
    work.produce(mixed(slow, MANY))
    is_exactly_once = delivery == "exactly-once"
    options: tuple[str, ...] = ("-w", "8", "--max-in-flight", "1000", "--timeout", "600")
    options += ("-X", "session.timeout.ms=6000")
    options += exactly_once(work) if is_exactly_once else ("--commit-interval", "0.5")
    options += ("--progress-topic", f"{work.topic}.progress") if is_recorded else ()
    handler = "reply_if_slow" if is_exactly_once else "wait_if_slow"
    fleet = work.run(handler, *options)
    until(lambda: succeeded(fleet) == MANY, lambda: f"{succeeded(fleet)} of {MANY} are done", 240, pause=0.2)
    assert fleet.heard("consumer.set_aside")
    until(lambda: len(work.known_done()) == MANY, "the group knows what is done", 60, pause=0.2)
    written = work.ledger.path.stat().st_size
    work.produce([(b"s%d" % (n % 200), b"") for n in range(2_000)])
    until(lambda: work.ledger.path.stat().st_size > written, "further tasks run", pause=0.005)
    work.kill(fleet)
    known = work.known_done()
    work.go()
    again = work.run(handler, *options, "--stop-at-end")
    assert again.wait(120) == 0
    if is_exactly_once:
        assert appearances.wrong(work) == {}
    assert len(known) >= MANY
    assert {finding.place for finding in work.repeated()} & known == set()
    assert work.faults() == {}
    assert not fleet.heard("consumer.skip_map_cut")
    assert not again.heard("consumer.skip_map_ignored")
    assert again.wait_for_partitions()["settled_ahead"] >= MANY
    work.wait_lag(0)
