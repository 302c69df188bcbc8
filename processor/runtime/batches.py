"""`Batches`: handlers that take many tasks at once. Gathers their tasks, calls them, and takes each batch apart.

A worker that takes a task of such a handler hands its lane to the desk's gatherer, and continues with other lanes. A
batch that is ready is lent like a lane, to a worker thread or to a coroutine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from time import monotonic, time
from typing import Any

import msgspec

from processor.engine.durations import QUICK_SECONDS
from processor.engine.lease import Lease
from processor.engine.ledger import Ledger
from processor.engine.loan import Batch, Part
from processor.engine.outcome import Cause, Failed, Gathered, Outcome, Succeeded, Verdict
from processor.engine.record import Record
from processor.engine.terms import Terms
from processor.handlers.batch import BatchError
from processor.handlers.dependencies import check_links
from processor.handlers.exceptions import DependencyFailed, Expired, InvalidHeader, TaskCancelled
from processor.handlers.table import Handler
from processor.handlers.task import Task
from processor.handlers.terms import check_age, check_begin
from processor.runtime.attempt import UNRUN, Attempt, ended_with, returned_unrun
from processor.runtime.flight_recorder import FlightRecorder
from processor.runtime.seat import Seat, outcome_of
from processor.runtime.settlement import Settlement
from processor.runtime.tracing import Prepare

NO_TERMS = Terms()


class Batches:
    """Gathers and attempts the tasks of batch handlers. Any thread may call it."""

    def __init__(self, settlement: Settlement, lease: Lease, limit: float, prepare: Prepare) -> None:
        """`limit` is the time limit of handlers that set none, and `prepare` makes a task of a record."""
        self._desk = settlement.desk
        self._settlement = settlement
        self._lease = lease
        self._limit = limit
        self._prepare = prepare
        self.recorder: FlightRecorder | None = None
        """Records the running tasks, after a process of the fleet has died. Each use reads it once, since the poller
        may end the watch at any moment."""

    def gather(self, attempt: Attempt, gathered: Gathered) -> None:
        """Hand the attempt's task to a batch, with the tasks right behind it in its loan that have the same handler."""
        loan, handler = attempt.loan, gathered.handler
        error = _why_not(gathered.task, handler, loan.ledger)
        if error is not None:
            failed = ended_with(error, began=False, handler=handler)
            self._settlement.conclude(msgspec.structs.replace(attempt, outcome=failed, task=gathered.task))
            return
        alone = attempt.number > 1
        behind = [] if alone else loan.records[loan.done + 1 :][: handler.batch.size - 1]
        tasks = [gathered.task, *self._tasks_of(loan.ledger, behind, handler)]
        part = Part(loan, tasks, ends=len(tasks) <= len(behind))
        self._desk.gathering.gather(handler, handler.batch, part, alone=alone)

    async def work_off(self, seat: Seat, batch: Batch, now: float) -> float:
        """Attempts a batch that was lent. Return the time afterwards."""
        tasks = self._begin(batch, now)
        if tasks:
            seat.loan = batch.leader
            await self._attempt(seat, batch, tasks)
        seat.loan = None
        return monotonic()

    def _begin(self, batch: Batch, now: float) -> list[Task]:
        """Return the tasks to attempt: none if the batch still waits, or if none of its tasks may begin."""
        if now >= self._lease.until:
            self._desk.gathering.restore(batch)
            return []
        if batch.room > 0:
            self._fill(batch)
            if batch.room > 0 and now < batch.due:
                self._desk.gathering.reopen(batch)
                return []
        for loan in batch.remove(lambda loan: not loan.ledger.may_begin):
            self._desk.outcomes.give_up(loan)
        for part in batch.parts:
            self._leave_out_expired(batch, part)
        for loan in batch.remove(lambda loan: not loan.records):
            self._desk.outcomes.give_up(loan)
        return [task for part in batch.parts for task in part.tasks]

    def _fill(self, batch: Batch) -> None:
        for part in self._desk.gathering.widen(batch):
            new = part.loan.records[len(part.tasks) :]
            part.tasks += self._tasks_of(part.loan.ledger, new, batch.handler)
            if len(part.tasks) < len(part.loan.records):
                part.ends = True
                self._desk.gathering.narrow(batch, part)
        self._desk.gathering.leave_out_held(batch)

    def _leave_out_expired(self, batch: Batch, part: Part) -> None:
        """Return a task that has expired while it waited for its batch to its lane, where a worker handles it."""
        handler, ledger = batch.handler, part.loan.ledger
        assert isinstance(handler, Handler)
        if handler.expires is None and not ledger.terms:
            return
        still = list(takewhile(lambda task: _why_not(task, handler, ledger) is None, part.tasks))
        if len(still) < len(part.tasks):
            part.tasks = still
            self._desk.gathering.narrow(batch, part)

    def _tasks_of(self, ledger: Ledger, records: Sequence[Record], handler: object) -> list[Task]:
        """Return the tasks of the first records, up to the first one for another handler."""
        now, tasks = monotonic(), list[Task]()
        if (recorder := self.recorder) is not None:
            recorder.begin(records)
        for record in records:
            try:
                task, found, _ = self._prepare(record, 1, now)
            except Exception:  # a worker gets this task later, as the head of its lane, and handles the error
                break
            if found is not handler or _why_not(task, found, ledger) is not None:
                break
            tasks.append(task)
        return tasks

    async def _attempt(self, seat: Seat, batch: Batch, tasks: list[Task]) -> None:
        """Calls the handler, as `Runner.work_off` does for a single task."""
        handler, window, borrower = batch.handler, seat.window, seat.borrower
        assert isinstance(handler, Handler)
        limit = self._limit if handler.timeout is None else handler.timeout
        count = len(tasks)  # now: the list is the handler's, which may take tasks out of it
        started = monotonic()
        for task in tasks:
            task._expires = started + limit
        self._settlement.begin_spans(tasks)
        if (recorder := self.recorder) is not None:
            recorder.begin(task._record for task in tasks)
        seat.task, window.limit = tasks[0], limit
        value, error = await outcome_of(seat, handler, tasks, started)
        seconds = monotonic() - started
        if (recorder := self.recorder) is not None:
            recorder.end()
        borrower.ended += count
        borrower.seconds += seconds
        if seconds > QUICK_SECONDS:
            borrower.slow += [seconds] * count
        if window.given_up:  # the watchdog has settled the whole batch
            return
        if error is None and value is None and self._is_plain(batch):
            for loan in batch.loans:
                loan.done = len(loan.records)
            borrower.finished += batch.loans
            return
        self._conclude(seat, batch, outcomes_of(value, error, handler, count), seconds)

    def _is_plain(self, batch: Batch) -> bool:
        """Return whether a success of any of its tasks needs no further step and no record."""
        if batch.alone or self._settlement.note_success is not None:
            return False
        return not any(loan.ledger.terms for loan in batch.loans)

    def _conclude(self, seat: Seat, batch: Batch, outcomes: Sequence[Outcome], seconds: float) -> None:
        """End each task of a batch as if it had been attempted alone.

        Raises:
            Exception: an internal error at one of its loans, which is taken back. The others are concluded.
        """
        fault: Exception | None = None
        rest = iter(outcomes)
        for part in batch.parts:
            try:
                self._conclude_part(seat, batch, part, rest, seconds)
            except Exception as error:
                fault = error
                self._desk.outcomes.take_back(part.loan)
        if fault is not None:
            seat.loan = None  # none of the loans is left to be taken back: outputs of some are being sent
            raise fault

    def _conclude_part(self, seat: Seat, batch: Batch, part: Part, outcomes: Iterator[Outcome], seconds: float) -> None:
        handler, limit, loan = batch.handler, seat.window.limit, part.loan
        assert isinstance(handler, Handler)
        attempts = [
            Attempt(loan, record, task.attempt, outcome, task, handler, limit, seconds)
            for record, task, outcome in zip(loan.records, part.tasks, outcomes, strict=False)
        ]
        if batch.alone or not self._settlement.all_simply_succeeded(attempts):
            self._settlement.conclude_part(loan, attempts)
        else:
            loan.done = len(loan.records)
            seat.borrower.finished.append(loan)


def _why_not(task: Task, handler: Handler, ledger: Ledger) -> DependencyFailed | Expired | InvalidHeader | None:
    """Return why a task may no longer begin, by its headers or by its handler; None if it may."""
    if handler.expires is None and not ledger.terms:
        return None
    terms, epoch = ledger.terms.get(task.offset), time()
    try:
        check_begin(terms or NO_TERMS, epoch)
        if terms is not None and terms.linked:
            check_links(task._record.headers() or [])
        if handler.expires is not None:
            check_age(task._record, handler.expires, terms, epoch)
    except (DependencyFailed, Expired, InvalidHeader) as error:
        return error
    return None


def outcomes_of(value: Any, error: BaseException | None, handler: Handler, count: int) -> list[Outcome]:
    """Return the outcome of each of `count` tasks whose handler returned `value` or raised `error`."""
    if isinstance(error, BatchError) and max(error.errors) < count:
        for each in error.errors.values():
            if isinstance(each, TaskCancelled):
                each.is_own = True
        return [_failed(error.errors[n], handler) if n in error.errors else Succeeded(None) for n in range(count)]
    if isinstance(error, BatchError):
        error = IndexError(f"BatchError names task {max(error.errors)}, and the batch has {count}")
    if error is not None:
        return [_failed(error, handler, of_many=count > 1)] * count
    if value is None:
        return [Succeeded(None)] * count
    if type(value) in UNRUN:
        return [returned_unrun(value)] * count
    if not isinstance(value, list | tuple) or len(value) != count:
        returned = f"{len(value)} results" if isinstance(value, list | tuple) else type(value).__name__
        message = f"the handler of a batch returned {returned} for {count} tasks: return None, or a list of one each"
        return [Failed(Cause.REJECTED, "builtins.TypeError", message)] * count
    return [returned_unrun(one) if type(one) in UNRUN else Succeeded(one) for one in value]


def _failed(error: BaseException, handler: Handler, *, of_many: bool = False) -> Outcome:
    """Return the outcome of a task for an exception of its handler.

    If it was raised for a batch `of_many` tasks, it may concern only one of them. So it makes none of them a dead
    letter: each is attempted by itself. An outage concerns none of them, and they stay together.
    """
    failed = ended_with(error, began=True, handler=handler)
    if of_many and isinstance(failed, Failed) and failed.verdict is not Verdict.OUTAGE:
        cause = Cause.FAILED if failed.cause is Cause.REJECTED else failed.cause
        return failed._replace(cause=cause, verdict=Verdict.RETRY)
    return failed
