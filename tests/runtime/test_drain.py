"""How long running tasks may take to finish before their partition is given up."""

from __future__ import annotations

from time import monotonic

import pytest

from processor.runtime.drain import DrainSeconds
from processor.telemetry.events import Event, TaskAbandoned
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.runtime.test_join_machine import Worker


@pytest.mark.parametrize(
    ("drain_timeout", "poll_seconds", "of_revoke"),
    [(25.0, 300.0, 25.0), (270.0, 300.0, 270.0), (271.0, 300.0, 270.0), (25.0, 6.0, 3.6), (600.0, 630.0, 600.0)],
)
def test_a_revoke_leaves_time_for_its_last_commit_before_the_group_gives_the_member_up(
    drain_timeout: float, poll_seconds: float, of_revoke: float
) -> None:
    found = DrainSeconds.within(drain_timeout, poll_seconds)
    assert found.of_stop == drain_timeout
    assert found.of_revoke == pytest.approx(of_revoke)


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_task_that_has_ended_is_not_abandoned_although_its_worker_has_not_come_back(delivery: str) -> None:
    """The last commit covers it: its output is staged, or it has none. The other task still runs."""
    run = RunningConsumer(lambda _: None, delivery=delivery, results_topic="r")
    desk, drain, worker = run.consumer._desk, run.consumer._membership._drain, Worker()
    desk.lease.tick(monotonic())
    desk.lease.renew(monotonic())
    desk.lending.enter_invited(worker)
    desk.partitions.assign(PARTITION, 0, ())
    desk.inflow.admit([(PARTITION, [FakeRecord(0, b"a"), FakeRecord(1, b"b")])])
    assert desk.lending.exchange(worker, 2)
    ended, running = worker.batch
    worker.batch.clear()
    desk.partitions.drain_all()
    if delivery == "exactly-once":
        desk.outcomes.stage(ended, "output", 10, dead_letter=False, result=True)
    else:
        ended.done = 1
        worker.finished.append(ended)
    run.consumer.request_stop_now("the test")
    assert drain.check([PARTITION], monotonic(), seconds=0.0) is False
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]
    assert (desk.counts.abandoned, desk.counts.settled) == (1, 1)
    running.done = 1
    worker.finished.append(running)
    assert drain.check([PARTITION], monotonic(), seconds=0.0) is True
    assert desk.counts.abandoned == 1


def test_a_task_that_ends_while_others_are_logged_as_abandoned_is_not_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = RunningConsumer(lambda _: None)
    desk, drain, worker = run.consumer._desk, run.consumer._membership._drain, Worker()
    desk.lease.tick(monotonic())
    desk.lease.renew(monotonic())
    desk.lending.enter_invited(worker)
    desk.partitions.assign(PARTITION, 0, ())
    desk.inflow.admit([(PARTITION, [FakeRecord(n, b"s%d" % n) for n in range(3)])])
    assert desk.lending.exchange(worker, 3)
    running = list(worker.batch)
    worker.batch.clear()
    desk.partitions.drain_all()
    logged = list[Event]()

    def log(event: Event) -> None:
        """Writes the first line, and meanwhile the other tasks end."""
        logged.append(event)
        for loan in running:
            if loan.records[0].offset() != event.offset:  # type: ignore[attr-defined]
                loan.done = 1

    monkeypatch.setattr(drain, "_emit", log)
    run.consumer.request_stop_now("the test")
    assert drain.check([PARTITION], monotonic(), seconds=0.0) is False
    assert len(logged) == 1
    assert desk.counts.abandoned == 1
