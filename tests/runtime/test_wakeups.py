"""How many workers are woken, and when their sessions make a partition full."""

from __future__ import annotations

from math import inf

import pytest

from processor.engine import assignment
from processor.engine.assignment import MOST_DELIVERING
from processor.engine.lease import Lease
from processor.engine.pace import BATCH_SECONDS, LONGEST_BATCH_SECONDS
from processor.engine.stock import Usage
from processor.runtime.desk import Acknowledged, Desk
from processor.runtime.timers import Timers
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.test_join_machine import Worker


def lent_desk(worker: Worker, records: int) -> Desk:
    """A desk that has lent the worker the sessions of so many tasks of 10 microseconds."""
    lease = Lease(45.0)
    lease.renew(inf)
    desk = Desk(lease, Timers(), stages=False)
    desk.lending.enter(worker)
    desk.partitions.assign(PARTITION, 0, [])
    desk.inflow.admit([(PARTITION, [FakeRecord(n, b"s%d" % n) for n in range(records)])])
    for _ in range(30):
        worker.ended, worker.seconds = 1000, 0.01
        desk.lending.exchange(worker, 0)
    desk.lending.exchange(worker, records)
    return desk


def test_as_many_workers_are_woken_as_the_ready_sessions_are_worth_and_not_what_waits_behind_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others may wait for the acknowledgement of their results: woken workers would find nothing."""
    worker, woken = Worker(), list[int]()
    desk = lent_desk(worker, 400)
    desk.inflow.admit([(PARTITION, [FakeRecord(400 + n, b"s%d" % (n % 400)) for n in range(8000)])])
    monkeypatch.setattr(desk._wakeups, "_asleep", 63)
    monkeypatch.setattr(desk._wakeups._ready, "notify", woken.append)
    desk.outcomes.settle_all([Acknowledged(loan) for loan in list(worker.batch)[:20]])
    assert (desk.ready, desk.waiting, desk.awake) == (20, 8000, 1)
    assert woken == [3]  # the 400 tasks of 20 sessions take 4 ms, and one worker is awake


@pytest.mark.parametrize(("batch_seconds", "wakes"), [(BATCH_SECONDS, []), (LONGEST_BATCH_SECONDS, [1])])
def test_a_lone_task_does_not_wait_for_the_end_of_a_long_batch_while_other_workers_wait(
    batch_seconds: float, wakes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks that wait behind the batch are of a session that is lent. A short batch ends soon."""
    worker, woken = Worker(), list[int]()
    desk = lent_desk(worker, 1)
    desk._wakeups.pace.seconds = 0.001
    desk.inflow.admit([(PARTITION, [FakeRecord(n, b"hot") for n in range(1, 1000)])])
    worker.batch_seconds = batch_seconds
    desk.lending.exchange(worker, 64)
    monkeypatch.setattr(desk._wakeups, "_asleep", 63)
    monkeypatch.setattr(desk._wakeups._ready, "notify", woken.append)
    desk.inflow.admit([(PARTITION, [FakeRecord(1000, b"lone")])])
    assert (desk.ready, desk.awake) == (1, 1)
    assert woken == wakes
    worker.batch.clear()
    desk.upkeep.tend(worker.borrowed_at + 1.0)
    assert woken == [*wakes, 1]  # the batch takes too long, so the worker does not count as awake
    assert desk._wakeups.away == 1
    assert not desk._wakeups.long


def test_no_task_is_set_aside_while_the_sessions_of_its_partition_wait_in_the_batches_of_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assignment, "FULL_SECONDS", 0.0)
    worker = Worker()
    desk = lent_desk(worker, MOST_DELIVERING + 1)
    desk.inflow.admit([(PARTITION, [FakeRecord(100 + n, b"s0") for n in range(20)])])
    assert desk.set_aside.make_room([PARTITION], Usage(32, 10**6), 100) == {}
    worker.batch.popleft()
    assert desk.set_aside.make_room([PARTITION], Usage(32, 10**6), 100) == {PARTITION: 16}
