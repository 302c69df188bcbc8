"""`Watchdog`: the thread that handles due retries, deadlines, cancelled tasks, and tasks that wait behind slow ones.

A handler that exceeds its time limit is interrupted. If it still runs after a grace period it is stuck, most often in a
call that blocks in C. Its stack is logged, its task becomes a dead letter, and the consumer asks to be replaced, since
a thread cannot be ended from outside.
"""

from __future__ import annotations

import threading
from time import monotonic, sleep

from processor.engine.ledger import Loan
from processor.engine.loan import Batch
from processor.engine.outcome import Cause, Failed
from processor.errors import ProcessorError
from processor.handlers.task import Task
from processor.runtime.attempt import Attempt
from processor.runtime.cancellation import Cancellation
from processor.runtime.crew import Crew
from processor.runtime.event_loop import CoroutineSeat
from processor.runtime.interrupt import grace
from processor.runtime.settlement import Settlement
from processor.runtime.stopping import Stopping
from processor.runtime.thread_errors import ThreadErrors
from processor.runtime.timers import Timers
from processor.runtime.workers import Worker
from processor.telemetry.events import Emit, TaskStuck

IDLE_SECONDS = 0.5
"""How long it sleeps while no lane is lent and nothing is due. Lending the first lane wakes it."""

QUIET_SECONDS = 5.0
"""How long it sleeps while no task waits either."""

CHECK_SECONDS = 0.02
"""Time between two checks of the deadlines."""


class Watchdog:
    """One thread, which observes the seats of all others."""

    def __init__(
        self,
        timers: Timers,
        crew: Crew,
        settlement: Settlement,
        cancellation: Cancellation,
        stopping: Stopping,
        emit: Emit,
    ) -> None:
        self._desk = settlement.desk
        self._cancellation = cancellation
        self._timers = timers
        self._crew = crew
        self._settlement = settlement
        self._stopping = stopping
        self._emit = emit
        self._closed = False
        self._next_check = 0.0
        self._errors = ThreadErrors("watchdog", emit)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Starts the thread.

        Raises:
            ProcessorError: the system does not allow another thread.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            raise ProcessorError(f"the watchdog's thread cannot be started ({error}): use fewer --workers") from None

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._timers.wake()

    def _run(self) -> None:
        while not self._closed:
            try:
                self._go_round()
            except Exception as error:  # without a watchdog no deadline holds: log it and continue
                self._errors.report(error)
                sleep(CHECK_SECONDS)

    def _go_round(self) -> None:
        now = monotonic()
        due = self._desk.upkeep.tend(now)
        self._timers.run_due(now)
        if self._cancellation.is_in_force:
            self._cancellation.examine()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            for seat in self._crew.seats():
                self._check(seat, now)
            if self._cancellation.is_in_force:
                self._cancellation.interrupt()
        self._timers.sleep(self._longest_sleep(due), due)

    def _longest_sleep(self, due: float | None) -> float:
        if self._desk.running:
            return CHECK_SECONDS
        is_quiet = due is None and not self._desk.waiting and not self._cancellation.is_in_force
        return QUIET_SECONDS if is_quiet else IDLE_SECONDS

    def _check(self, seat: Worker | CoroutineSeat, now: float) -> None:
        window, loan, task = seat.window, seat.loan, seat.task
        started, limit = window.started, window.limit
        if not started or loan is None or task is None or now - started < limit:
            return
        if window.fired != started:
            seat.interrupt(started)
        elif now - window.fired_at >= grace(limit) and not window.given_up and window.give_up(started):
            self._give_up(loan, task, now - started, seat.stack())

    def _give_up(self, loan: Loan, task: Task, seconds: float, stack: str) -> None:
        message = f"the handler still ran {seconds:.1f} seconds after it began, although it was interrupted"
        failed = Failed(Cause.STUCK, "processor.HandlerStuck", message, stack)
        attempt = Attempt(loan, task._record, task.attempt, failed, task, seconds=seconds)
        fields = attempt.fields
        self._emit(TaskStuck(**fields, running_seconds=seconds, stack=stack))
        try:
            if loan.batch is None:
                self._settlement.conclude(attempt)
            else:
                self._give_up_batch(loan.batch, failed, seconds)
        finally:  # after an internal error, too: nothing looks at this attempt again
            self._stopping.recycle(f"the handler of task {fields['task_id']} is stuck")

    def _give_up_batch(self, batch: Batch, failed: Failed, seconds: float) -> None:
        """Gives up all tasks of a batch: it is not known which of them the handler is processing."""
        for part in batch.parts:
            pairs = zip(part.loan.records, part.tasks, strict=True)
            attempts = [Attempt(part.loan, r, t.attempt, failed, t, seconds=seconds) for r, t in pairs]
            self._settlement.conclude_part(part.loan, attempts)
