"""Batches on a real broker: the promises of single tasks, through kills and rebalances, from the handlers' ledger."""

from __future__ import annotations

from tests.support.scenario import MakeScenario

SECONDS = 0.002
"""What a handler takes for each task of a batch."""


def test_kills_during_batches_lose_no_task_and_keep_the_order_of_each_session(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(3000, 40)
    options = ("-w", "8", "--commit-interval", "0.2", "-X", "session.timeout.ms=6000")
    for done in (300, 1000):
        fleet = work.run("batches", *options, seconds=SECONDS)
        work.wait_done(done)
        work.kill(fleet)
    assert work.run("batches", *options, "--stop-at-end", seconds=SECONDS).wait(120) == 0
    assert work.faults() == {}
    work.wait_lag(0)


def test_consumers_that_come_and_go_repeat_no_task_of_a_batch(scenario: MakeScenario) -> None:
    work = scenario(partitions=6)
    work.produce([(b"s%d" % (n % 60), b"fails twice" if n % 50 == 0 else b"") for n in range(3000)])
    options = ("-w", "4", "--group-protocol", "consumer", "--backoff", "0.05")
    first = work.run("batches", *options, seconds=SECONDS)
    work.wait_done(300)
    second = work.run("batches", *options, "-p", "2", seconds=SECONDS)
    second.wait_for_partitions()
    work.wait_done(1000)
    assert first.stop() == 0
    work.wait_done(3000, 90)
    work.wait_lag(0)
    assert second.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
