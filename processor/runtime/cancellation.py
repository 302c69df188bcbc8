"""`Cancellation`: settles cancelled tasks that wait, and interrupts those that run.

When a worker gets a cancelled task in its turn, it settles the task instead of calling its handler (`Runner`). This
module handles the others. A task that waits for its retry, for its time, for its handler's limits or for the end of a
pause is at the head of a lane that no worker gets for now. While anything is cancelled, such lanes are examined, each
once.
"""

from __future__ import annotations

from time import monotonic, time
from typing import Literal

from processor.engine.cancels import Cancel, CancelTarget
from processor.engine.ledger import Loan
from processor.engine.outcome import Cancelled
from processor.handlers.exceptions import TaskCancelled
from processor.handlers.task import Task
from processor.runtime.attempt import Attempt
from processor.runtime.cancel_check import CancelCheck
from processor.runtime.cancel_search import CancelSearch
from processor.runtime.cancelled import cancel_of, cancel_of_join
from processor.runtime.crew import Crew
from processor.runtime.desk import Desk
from processor.runtime.event_loop import CoroutineSeat
from processor.runtime.runner import Runner
from processor.runtime.settlement import Settlement
from processor.runtime.workers import Worker
from processor.telemetry.events import ControlCancelEnded, ControlCancelled, Emit

EXAMINED_AT_ONCE = 200
"""The most waiting tasks that the watchdog examines between two checks of the deadlines: some milliseconds of decoding.
"""


class Cancellation:
    """`begin` and `end` belong to the control topic's thread, all else to the watchdog's."""

    def __init__(
        self,
        runner: Runner,
        check: CancelCheck,
        settlement: Settlement,
        crew: Crew,
        search: CancelSearch,
        emit: Emit,
    ) -> None:
        self._desk: Desk = settlement.desk
        self._cancels = self._desk.cancelling.cancels
        self._runner = runner
        self._check = check
        self._settlement = settlement
        self._crew = crew
        self._search = search
        self._emit = emit

    @property
    def is_in_force(self) -> bool:
        """Return whether anything is cancelled."""
        return bool(self._cancels.in_force)

    def begin(self, target: CancelTarget, cancel: Cancel) -> None:
        """Cancels the target's tasks, unless the cancellation is over already."""
        if cancel.until <= time() * 1000:
            if self._desk.cancelling.end(target):
                self._log_end(target, "expired")
            return
        self._runner.look_for_cancelled(self._cancels)
        if self._desk.cancelling.begin(target, cancel):
            self._emit(
                ControlCancelled(
                    **_fields(target),
                    since=cancel.since,
                    until=cancel.until,
                    dead_letter=cancel.dead_letter,
                    by=cancel.by,
                )
            )
            self._search.start()

    def end(self, target: CancelTarget) -> None:
        """Ends a cancellation that was withdrawn."""
        if self._desk.cancelling.end(target):
            self._log_end(target, "withdrawn")

    def examine(self) -> None:
        """Settles the cancelled ones among tasks that have begun to wait. Ends cancellations whose time is over."""
        epoch = time()
        for target in self._cancels.ended(epoch):
            if self._desk.cancelling.end_expired(target, epoch):
                self._log_end(target, "expired")
        if not self._desk.lease.holds(monotonic()):
            return
        for waiting in self._desk.cancelling.unexamined(EXAMINED_AT_ONCE):
            task = self._check.task_of(waiting.record, waiting.lane.attempts + 1)
            terms = waiting.ledger.terms.get(waiting.record.offset())
            if terms is not None and terms.arrives:
                cancel = cancel_of_join(self._cancels, waiting.record)
            else:
                cancel = cancel_of(self._cancels, task)
            loan = self._desk.cancelling.claim(waiting) if cancel is not None else None
            if loan is not None and cancel is not None:
                self._settle(loan, task, cancel)

    def interrupt(self) -> None:
        """Interrupts the attempts whose tasks are cancelled; of a batch, only if all of its tasks are."""
        for seat in self._crew.seats():
            self._interrupt(seat)

    def _interrupt(self, seat: Worker | CoroutineSeat) -> None:
        # Read before the task: if the seat goes on to another attempt in between, the window has another `started`, and
        # `interrupt` does nothing.
        started = seat.window.started
        loan, task = seat.loan, seat.task
        if not started or loan is None or task is None or seat.window.fired == started:
            return
        parts = loan.batch.parts if loan.batch is not None else ()
        tasks = [each for part in parts for each in part.tasks] or [task]
        if all(cancel_of(self._cancels, each) is not None for each in tasks):
            seat.interrupt(started, TaskCancelled)

    def _settle(self, loan: Loan, task: Task, cancel: Cancel) -> None:
        try:
            self._settlement.conclude(Attempt(loan, task._record, loan.attempt, Cancelled(cancel, task), task))
        except BaseException:  # no borrower has the loan, so none would return it
            self._desk.outcomes.give_up(loan)
            raise

    def _log_end(self, target: CancelTarget, reason: Literal["expired", "withdrawn"]) -> None:
        self._emit(ControlCancelEnded(**_fields(target), reason=reason))


def _fields(target: CancelTarget) -> dict[str, str]:
    is_task = target.kind == "task"
    return {
        "task_id": target.text if is_task else "",
        "session_id": "" if is_task else target.text,
        "task_name": target.name or "",
    }
