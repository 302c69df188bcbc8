"""`Worker`: a thread that borrows lanes, calls handlers, and returns the lanes."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from processor.engine.ledger import Loan
from processor.engine.pace import BATCH_SECONDS
from processor.handlers.exceptions import Interrupt, TaskCancelled, TaskTimeout
from processor.handlers.table import Handler
from processor.handlers.task import Task
from processor.runtime.attempt import batch_fields, fields_of
from processor.runtime.desk import Borrower, Desk
from processor.runtime.event_loop import EventLoop
from processor.runtime.interrupt import ThreadWindow
from processor.runtime.runner import Runner, run_at_once
from processor.telemetry.error_text import type_name
from processor.telemetry.events import ConsumerWorkerError, Emit
from processor.telemetry.handler_logs import origin


class Worker:
    """One thread, which is its own seat. It owns no task: the desk lends it what it attempts."""

    def __init__(self, number: int, desk: Desk, runner: Runner, emit: Emit, event_loop: EventLoop | None) -> None:
        self.number = number
        self.name = f"worker-{number}"
        self.batch: deque[Loan] = deque()
        self.finished: deque[Loan] = deque()
        self.slow: list[float] = []
        self.ended = 0
        self.seconds = 0.0
        self.borrowed_at = 0.0
        self.batch_seconds = BATCH_SECONDS
        self.borrower: Borrower = self
        self.loan: Loan | None = None
        self.task: Task | None = None
        self.window = ThreadWindow()
        self._awaits = False
        """Whether its handler runs in the event loop, whose timer ends it. A handler in this thread is interrupted."""
        self._lending = desk.lending
        self._runner = runner
        self.emit = emit
        self._event_loop = event_loop
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def current(self) -> Iterable[Loan]:
        """Return the loan whose tasks it attempts now, if any."""
        loan = self.loan
        return (loan,) if loan is not None else ()

    def start(self) -> None:
        """Starts the thread.

        Raises:
            RuntimeError: the system does not allow another thread.
        """
        self._lending.enter(self)  # not in the thread: the desk must also count a worker whose thread is starting
        try:
            self.thread.start()
        except RuntimeError:
            self._lending.leave(self)
            raise

    def seats(self) -> Iterable[Worker]:
        """Return itself, as it runs one attempt at a time; nothing while another coroutine blocks the loop that runs
        its handler, so that the attempt cannot end.
        """
        loop = self._event_loop
        is_kept_out = loop is not None and self._awaits and loop.caller() not in (None, self.window.ident)
        return () if is_kept_out else (self,)

    def interrupt(self, started: float, error: type[Interrupt] = TaskTimeout) -> None:
        """Interrupts the attempt that began at `started`. If it runs in the event loop, the loop's timer ends it at its
        deadline, and this only records the interrupt; a cancelled task is cancelled in the loop.
        """
        if self._event_loop is None or not self._awaits:
            self.window.fire(started, error)
        elif error is TaskCancelled:
            self._event_loop.cancel(self.window.ident, self.window, started)
        else:
            is_inside = self._event_loop.caller() == self.window.ident
            self._event_loop.note_interrupt(self.window, started, is_inside=is_inside)

    def stack(self) -> str:
        """Return the present stack of its thread; empty if it has ended."""
        frame = sys._current_frames().get(self.window.ident)
        return "".join(traceback.format_stack(frame)) if frame else ""

    async def call_async(self, handler: Handler, task: Task | list[Task], started: float) -> Any:
        """Has the event loop run the handler, and blocks this thread until it has ended.

        If this thread were interrupted, it would begin its next attempt while the loop still runs this one. So
        `_awaits` is set before the window opens: from the first moment in which the watchdog may interrupt, `interrupt`
        sees it and leaves this thread alone.
        """
        assert self._event_loop is not None
        self._awaits = True
        try:
            self.window.started = started
            return self._event_loop.call(handler, task, self.window.limit)
        finally:
            self._awaits = False

    def task_fields(self) -> Mapping[str, Any] | None:
        """Return the fields of the task whose handler runs, for a line that is logged in this thread.

        None in any other thread. It may have a copy of this thread's context, and may outlive the handler that started
        it.
        """
        task = self.task if self.window.started else None
        if task is None or threading.get_ident() != self.window.ident:
            return None
        return fields_of(task) if self.loan is None or self.loan.batch is None else batch_fields(task)

    def _run(self) -> None:
        self.window.ident = threading.get_ident()
        origin.set(self)
        while True:
            try:
                self._serve()
                return
            except BaseException as error:  # an internal error, never a handler's: log it, continue with the next batch
                self._recover(error)

    def _recover(self, error: BaseException) -> None:
        """Gives back what the worker has. An error in here must not end the thread either."""
        self._report(error)
        self.window.close()
        try:
            self._lending.recover(self)
        except Exception as another:
            self._report(another)
        self.loan = None

    def _report(self, error: BaseException) -> None:
        self.emit(ConsumerWorkerError(worker=self.name, error=f"{type_name(error)}: {error}"))

    def _serve(self) -> None:
        while not self.window.given_up and self._lending.borrow(self):
            run_at_once(self._runner.work_off(self, self.batch, monotonic()))
        # A stuck handler blocks its session and its thread until the process ends.
