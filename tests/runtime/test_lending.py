"""How much a worker borrows at once."""

from __future__ import annotations

from math import inf

from processor.engine.lease import Lease
from processor.engine.outcome import Deferred
from processor.runtime.desk import Desk
from processor.runtime.timers import Timers
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
