"""A batch that a worker has borrowed to fill it: what is ordered meanwhile applies to its tasks as well."""

from __future__ import annotations

from math import inf
from time import monotonic, time

import pytest

from processor.engine.cancels import Cancel, CancelTarget
from processor.engine.lease import Lease
from processor.engine.loan import Batch, BatchRule, Loan, Part
from processor.engine.pauses import Pause, Target
from processor.handlers.task import NO_CONTENT, Content, Task
from processor.runtime.desk import Desk
from processor.runtime.timers import Timers
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.test_join_machine import Worker

WAIT = 60.0
"""Seconds for which a batch waits for more tasks: none is due while a test runs."""


class Gathered:
    """A desk, and one worker that borrows from it."""

    def __init__(self, *records: FakeRecord) -> None:
        lease = Lease(45.0)
        lease.renew(inf)
        lease.until = inf
        self.desk, self.worker = Desk(lease, Timers()), Worker()
        self.desk.lending.enter(self.worker)
        self.desk.partitions.assign(PARTITION, 0, [])
        self.desk.inflow.admit([(PARTITION, records)])

    def borrow(self) -> list[Loan]:
        self.desk.lending.exchange(self.worker, 100)
        loans = list(self.worker.batch)
        self.worker.batch.clear()
        return loans

    def gather(self, loan: Loan, size: int, content: Content = NO_CONTENT) -> None:
        """Gathers the first task of a loan. The others wait behind it."""
        task = Task(loan.records[0], b"", 1, inf, content)
        self.desk.gathering.gather("handler", BatchRule(size, WAIT), Part(loan, [task]), alone=False)

    def due(self) -> list[Loan]:
        """Borrows once the wait of every batch is over. Return the batches' loans."""
        self.desk.upkeep.tend(monotonic() + WAIT + 1)
        return [loan for loan in self.borrow() if loan.batch is not None]


@pytest.fixture
def filling() -> tuple[Gathered, Batch]:
    """A batch of the session `a` that is lent: one more task waits behind its own."""
    gathered = Gathered(FakeRecord(0, b"a"), FakeRecord(1, b"a"))
    (loan,) = gathered.borrow()
    gathered.gather(loan, 2)
    (lent,) = gathered.borrow()
    assert lent.batch is not None
    return gathered, lent.batch


@pytest.mark.parametrize("back", ["reopen", "restore"])
def test_a_batch_that_goes_back_may_be_called_later(filling: tuple[Gathered, Batch], back: str) -> None:
    gathered, batch = filling
    getattr(gathered.desk.gathering, back)(batch)
    assert [loan.batch for loan in gathered.due()] == [batch]


@pytest.mark.parametrize("back", ["reopen", "restore"])
@pytest.mark.parametrize("order", ["pause", "cancel"])
def test_what_is_paused_or_cancelled_while_a_batch_is_lent_leaves_it(
    filling: tuple[Gathered, Batch], order: str, back: str
) -> None:
    gathered, batch = filling
    if order == "pause":
        gathered.desk.pausing.begin(Target("session", "a"), Pause(1, "ann"))
    else:
        now = int(time() * 1000)
        gathered.desk.cancelling.begin(CancelTarget("session", "a"), Cancel(now, "ann", now + 10**6))
    getattr(gathered.desk.gathering, back)(batch)
    assert gathered.due() == []


def test_a_task_whose_name_is_paused_after_it_was_decoded_is_not_gathered() -> None:
    gathered = Gathered(FakeRecord(0, b"a", name="charge"))
    (loan,) = gathered.borrow()
    gathered.desk.pausing.begin(Target("name", "charge"), Pause(1, "ann"))
    gathered.gather(loan, 2, Content(b""))
    assert gathered.due() == []


@pytest.mark.parametrize("order", ["pause", "cancel"])
def test_what_an_order_for_other_tasks_has_recalled_behind_a_task_is_not_gathered_with_it(order: str) -> None:
    """The order comes after a worker has decoded the tasks. Those behind the first are in their lane again."""
    gathered = Gathered(*[FakeRecord(n, b"a", name="b") for n in range(3)])
    (loan,) = gathered.borrow()
    part = Part(loan, [Task(record, b"", 1, inf, Content(b"")) for record in loan.records])
    if order == "pause":
        gathered.desk.pausing.begin(Target("name", "another"), Pause(1, "ann"))
    else:
        now = int(time() * 1000)
        gathered.desk.cancelling.begin(CancelTarget("task", "another"), Cancel(now, "ann", now + 10**6))
    gathered.desk.gathering.gather("handler", BatchRule(3, WAIT), part, alone=False)
    (lent,) = gathered.due()
    assert [task.offset for task in part.tasks] == [record.offset() for record in lent.records] == [0]
    assert part.waiting == 2


def test_a_batch_of_many_sessions_is_filled_with_one_count_of_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers and poller wait meanwhile: counting once for each session would take seconds for thousands of them."""
    gathered = Gathered(*[FakeRecord(n, b"%d" % (n % 50)) for n in range(200)])
    for loan in gathered.borrow():
        gathered.gather(loan, 150)
    (batch,) = {loan.batch for loan in gathered.due()}
    assert batch is not None
    assert len(batch.parts) > 10
    counted: list[Batch] = []
    count = Batch.count

    def noted(batch: Batch) -> None:
        counted.append(batch)
        count(batch)

    monkeypatch.setattr(Batch, "count", noted)
    gathered.desk.gathering.widen(batch)
    assert counted == [batch]
    assert sum(len(part.loan.records) for part in batch.parts) == 4 * len(batch.parts)
