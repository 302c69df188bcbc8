"""How much a worker borrows at once, what it returns, and what is counted."""

from __future__ import annotations

import threading
from math import inf
from time import monotonic

import pytest

from processor.engine.assignment import Assignment
from processor.engine.lease import Lease
from processor.engine.ledger import Loan
from processor.engine.outcome import Deferred
from processor.engine.pace import BATCH_SECONDS, LONGEST_BATCH_SECONDS, STALE_SECONDS
from processor.engine.record import Headers
from processor.runtime.desk import Desk
from processor.runtime.desk.upkeep import LOOK_SECONDS
from processor.runtime.ports import Partition
from processor.runtime.timers import Timers
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.test_join_machine import Worker


def test_few_ready_sessions_are_shared_among_the_workers_although_many_tasks_wait_for_their_next_attempt() -> None:
    lease, workers = Lease(45.0), [Worker() for _ in range(4)]
    lease.renew(inf)
    desk = Desk(lease, Timers(), stages=False)
    for worker in workers:
        desk.lending.enter(worker)
    desk.partitions.assign(PARTITION, 0, [])
    desk.inflow.admit([(PARTITION, [FakeRecord(n, b"p%d" % n) for n in range(400)])])
    desk.lending.exchange(workers[0], 400)
    for loan in workers[0].batch:
        desk.outcomes.postpone(loan, Deferred("NotReady", "later", 9.0), inf)
    workers[0].batch.clear()
    desk.inflow.admit([(PARTITION, [FakeRecord(400 + n, b"r%d" % n) for n in range(8)])])
    assert desk.lending.borrow(workers[0])
    assert len(workers[0].batch) == 1


def lending_to(
    worker: Worker, timers: Timers | None = None, *, stages: bool = False, headers: Headers | None = None
) -> Desk:
    """A desk with this worker, and with three sessions that are ready."""
    lease = Lease(45.0)
    lease.renew(inf)
    desk = Desk(lease, timers or Timers(), stages=stages)
    desk.lending.enter(worker)
    desk.partitions.assign(PARTITION, 0, [])
    desk.inflow.admit([(PARTITION, [MemoryRecord(PARTITION, n, b"s%d" % n, b"", headers) for n in range(3)])])
    return desk


@pytest.mark.parametrize(
    ("batch_seconds", "look"), [(BATCH_SECONDS, STALE_SECONDS), (0.002, 0.01), (LONGEST_BATCH_SECONDS, LOOK_SECONDS)]
)
def test_the_watchdog_looks_at_a_short_batch_when_it_may_be_stale_and_at_others_every_20_ms(
    batch_seconds: float, look: float
) -> None:
    worker = Worker()
    desk = lending_to(worker)
    assert desk.upkeep.tend(monotonic()) is None
    worker.batch_seconds = batch_seconds
    desk.lending.exchange(worker, 1)
    now = worker.borrowed_at
    assert desk.upkeep.tend(now) == now + look
    worker.batch.popleft()  # it begins
    assert desk.upkeep.tend(now + 1.0) == now + 1.0 + LOOK_SECONDS  # it is stale, and nothing is left to be taken back


def wakes_watchdog(desk: Desk, timers: Timers, batch_seconds: float) -> bool:
    """Lends a session to a new borrower, which begins it. Return whether that wakes the watchdog."""
    borrower = Worker()
    borrower.batch_seconds = batch_seconds
    desk.lending.enter(borrower)
    timers.sleep(0.0, None)  # ends the last alarm
    desk.lending.exchange(borrower, 1)
    borrower.batch.clear()
    return timers._alarm.is_set()


def test_a_batch_that_may_be_stale_before_the_next_look_wakes_the_watchdog() -> None:
    timers = Timers()
    desk = lending_to(Worker(), timers)
    assert wakes_watchdog(desk, timers, LONGEST_BATCH_SECONDS)  # the first loans after none
    desk.upkeep.tend(monotonic())
    assert not wakes_watchdog(desk, timers, LONGEST_BATCH_SECONDS)
    desk.upkeep.tend(monotonic() + 1000.0)  # so late is the next look
    assert wakes_watchdog(desk, timers, BATCH_SECONDS)


@pytest.mark.parametrize(
    ("stages", "headers"), [(True, None), (False, [("task-expires", b"99999999999999")])], ids=["outputs", "terms"]
)
def test_the_watchdog_looks_every_few_milliseconds_while_more_than_batches_may_be_due(
    stages: bool, headers: Headers | None
) -> None:
    worker = Worker()
    desk = lending_to(worker, stages=stages, headers=headers)
    worker.batch_seconds = LONGEST_BATCH_SECONDS
    desk.lending.exchange(worker, 1)
    assert desk.upkeep.tend(worker.borrowed_at) == worker.borrowed_at + STALE_SECONDS


def test_no_count_of_durations_goes_down_while_slow_attempts_have_not_been_counted_as_ended() -> None:
    """A coroutine notes the duration of an attempt first, and counts its loan's attempts when the loan ends."""
    worker = Worker()
    desk = lending_to(worker)
    counts = [list(desk.counts.durations.counts)]
    for ended, slow in ((1, [0.4, 0.4, 0.4]), (1, []), (3, [0.4])):
        worker.ended, worker.slow = ended, [*worker.slow, *slow]
        desk.lending.exchange(worker, 0)
        counts.append(list(desk.counts.durations.counts))
    assert [sum(each) for each in counts] == [0, 1, 2, 5]
    assert all(after >= before for n in range(3) for before, after in zip(counts[n], counts[n + 1], strict=True))
    assert (counts[-1][0], max(counts[-1])) == (1, 4)
    assert not worker.slow


def test_an_internal_error_at_one_loan_of_a_worker_leaves_no_other_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, release = Worker(), Assignment.release
    desk = lending_to(worker)
    assert desk.lending.exchange(worker, 3)

    def fail_once(assignment: Assignment[object], loan: Loan) -> int:
        if loan.records[0].offset() == 0:
            raise RuntimeError("a fault")
        return release(assignment, loan)

    monkeypatch.setattr(Assignment, "release", fail_once)
    with pytest.raises(RuntimeError, match="a fault"):
        desk.lending.recover(worker)
    assert [loan.records[0].offset() for loan in desk.partitions.lent_of([PARTITION])] == [0]
    assert not worker.batch


def test_an_internal_error_at_one_finished_loan_leaves_no_later_one_lent() -> None:
    worker, other = Worker(), Partition("t", 1)
    desk = lending_to(worker)
    desk.partitions.assign(other, 0, [])
    desk.inflow.admit([(other, [MemoryRecord(other, n, b"o%d" % n, b"") for n in range(2)])])
    assert desk.lending.exchange(worker, 5)
    loans = sorted(worker.batch, key=lambda loan: (loan.records[0].partition(), loan.records[0].offset()))
    worker.batch.clear()
    for loan in loans:
        loan.done = 1
        worker.finished.append(loan)
    loans[0].ledger.offsets.settle([0])  # a second time is an error
    with pytest.raises(KeyError):
        desk.lending.exchange(worker, 0)
    assert loans[0].ledger.lent | loans[-1].ledger.lent == {loans[0]}
    assert desk.counts.settled == 4
    assert desk.running == 1


def test_records_that_are_read_again_are_counted_under_the_lock() -> None:
    """Two threads read: without the lock, one of them overwrites what the other has counted."""
    desk = lending_to(Worker())
    counting = threading.Thread(target=desk.set_aside.note_read, args=(5,))
    with desk.partitions._lock:
        counting.start()
        counting.join(0.1)
        assert (counting.is_alive(), desk.counts.records_read_again) == (True, 0)
    counting.join(30)
    assert desk.counts.records_read_again == 5
