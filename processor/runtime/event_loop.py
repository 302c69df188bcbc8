"""Async handlers: an event loop in a separate thread, which borrows lanes as a worker thread does.

If all handlers of an application are async, only the loop runs them: `--workers` bounds the coroutines. If some are
plain functions, worker threads run all handlers, and wait while the loop runs an async one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

from processor.engine.gatherer import members
from processor.engine.ledger import Loan
from processor.engine.pace import BATCH_SECONDS
from processor.handlers.exceptions import Interrupt, TaskCancelled, TaskTimeout
from processor.handlers.table import Handler
from processor.handlers.task import Task
from processor.runtime.attempt import batch_fields, fields_of
from processor.runtime.desk import Borrower, Desk
from processor.runtime.interrupt import CoroutineWindow, InterruptWindow
from processor.runtime.runner import Runner
from processor.runtime.thread_errors import ThreadErrors
from processor.runtime.timely_waits import new_event_loop
from processor.telemetry.error_text import type_name
from processor.telemetry.events import ConsumerWorkerError, Emit
from processor.telemetry.handler_logs import origin

CANCEL_SECONDS = 0.25
"""How long coroutines that are cancelled at the end may still take."""

CLOSE_SECONDS = 0.5
"""How long a coroutine that blocks the loop may delay `close`."""

ERROR_PAUSE_SECONDS = 0.02
"""Pause of a loop that ends again and again for the same error, so that it keeps no core busy."""

DESTROYED: Final = "Task was destroyed but it is pending!"
"""What asyncio reports of a coroutine that is garbage-collected before its end."""

_left_alone: Final[list[EventLoop]] = []
"""Loops with coroutines that continued although they were cancelled. The list keeps them from garbage collection, whose
warnings would appear in unrelated code."""


class EventLoop:
    """The loop and its thread."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.loop = new_event_loop()
        self.thread = threading.Thread(target=self._run, name="event-loop", daemon=True)
        self._callers: dict[asyncio.Task[Any] | None, int] = {}
        """For each coroutine that runs for a worker thread, the ident of that thread."""
        self._cancelled: set[asyncio.Task[Any] | None] = set()
        """Those of these coroutines whose tasks an operator has cancelled."""
        self._is_ending = False

    def call(self, handler: Handler, task: Task | list[Task], limit: float) -> Any:
        """Runs an async handler for a worker thread, which waits.

        Raises:
            TaskTimeout: it took longer than `limit` seconds, and was cancelled.
            BaseException: any exception that the handler raises.
        """
        captured = self._captured(handler, task, limit, threading.get_ident())
        value, error = asyncio.run_coroutine_threadsafe(captured, self.loop).result()
        if error is not None:
            raise error
        return value

    def caller(self) -> int | None:
        """Return the ident of the thread that waits for the coroutine which executes in the loop now.

        0 if no thread waits for it; None if no coroutine executes now.
        """
        inside = asyncio.current_task(self.loop)
        return self._callers.get(inside, 0) if inside is not None else None

    def is_in(self, coroutine: asyncio.Task[None] | None) -> bool:
        """Return whether the coroutine executes in the loop now."""
        return coroutine is not None and asyncio.current_task(self.loop) is coroutine

    def note_interrupt(self, window: InterruptWindow, started: float, *, is_inside: bool) -> None:
        """Records an interrupt: now if the handler blocks the loop, else in the loop, whose timer fires there too."""
        if is_inside:
            window.note(started)
        else:
            self.loop.call_soon_threadsafe(window.note, started)

    def cancel(self, caller: int, window: InterruptWindow, started: float) -> None:
        """Cancels, from inside the loop, the coroutine that thread `caller` waits for, if the attempt still runs."""

        def cancel() -> None:
            if window.started != started or window.fired == started:
                return
            for coroutine, thread in self._callers.items():
                if thread == caller and coroutine is not None:
                    self._cancelled.add(coroutine)
                    coroutine.cancel()
                    window.note(started, TaskCancelled)

        self.loop.call_soon_threadsafe(cancel)

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def close(self) -> None:
        """Cancel what still runs in the loop, and end it. A coroutine that continues nevertheless is left alone."""
        self.loop.call_soon_threadsafe(self._cancel_all)
        self.thread.join(CLOSE_SECONDS)
        # A process that continues, such as a test run, must not accumulate the sockets of loops that ended.
        if not self.thread.is_alive() and not asyncio.all_tasks(self.loop):
            self.loop.close()
        else:
            self.loop.set_exception_handler(_report_all_but_the_end)
            _left_alone.append(self)

    async def _captured(
        self, handler: Handler, task: Task | list[Task], limit: float, caller: int
    ) -> tuple[Any, BaseException | None]:
        """Return the result and the exception as values: a `SystemExit` that is raised in the loop would end it."""
        me = asyncio.current_task()
        self._callers[me] = caller
        if (worker := origin.get()) is not None:  # the context of the worker's thread was copied with the call
            origin.set(TaskOrigin(worker.emit, task))
        try:
            return await _call_within(handler, task, limit), None
        except asyncio.CancelledError as error:
            if me is None or me not in self._cancelled:
                return None, error
            me.uncancel()
            return None, TaskCancelled().with_traceback(error.__traceback__)
        except BaseException as error:
            return None, error
        finally:
            del self._callers[me]
            self._cancelled.discard(me)

    def _cancel_all(self) -> None:
        self._is_ending = True
        self.loop.call_later(CANCEL_SECONDS, self.loop.stop)
        running = asyncio.all_tasks(self.loop)
        for task in running:
            task.cancel()
        asyncio.gather(*running, return_exceptions=True).add_done_callback(lambda _: self.loop.stop())

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        errors = ThreadErrors("event-loop", self._emit)
        while True:
            try:
                self.loop.run_forever()
                if self._is_ending:  # else a handler has stopped the loop, which others share: run it again
                    return
            except BaseException as error:  # a SystemExit of a task that a handler started ends the loop: run it again
                if not errors.report(error):
                    sleep(ERROR_PAUSE_SECONDS)


def _report_all_but_the_end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Reports an error of a closed loop, but not that a coroutine was destroyed at the end of the process."""
    if context.get("message") != DESTROYED:
        loop.default_exception_handler(context)


async def _call_within(handler: Handler, task: Task | list[Task], limit: float) -> Any:
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await handler.call(task)
    except TimeoutError:
        if timer.expired():
            raise TaskTimeout from None
        raise


class TaskOrigin(NamedTuple):
    """The origin of log lines about one task, for as long as anything logs in its context."""

    emit: Emit
    task: Task | list[Task]

    def task_fields(self) -> Mapping[str, Any]:
        """Return the fields of the task, or what a batch of them has in common."""
        return batch_fields(self.task[0]) if isinstance(self.task, list) else fields_of(self.task)


class Coroutines:
    """Borrows for the loop: at most `most` coroutines at once, each with its own loan."""

    def __init__(self, host: EventLoop, most: int, desk: Desk, runner: Runner, emit: Emit) -> None:
        self.batch: deque[Loan] = deque()
        self.finished: deque[Loan] = deque()
        self.slow: list[float] = []
        self.ended = 0
        self.seconds = 0.0
        self.borrowed_at = 0.0
        self.batch_seconds = BATCH_SECONDS
        self.host = host
        self.emit = emit
        self._context = copy_context()
        """Each coroutine begins with a copy of it, so that it does not see context variables that another one sets."""
        self._running: dict[Loan, CoroutineSeat] = {}
        self._most = most
        self._lending = desk.lending
        self._runner = runner
        self._visit_due = False

    @property
    def busy(self) -> int:
        """How many coroutines are running."""
        return len(self._running)

    def current(self) -> Iterable[Loan]:
        """Return the loans whose coroutines run."""
        return list(self._running)

    def start(self) -> None:
        """Begins to borrow."""
        self._lending.enter_invited(self)

    def resize(self, most: int) -> None:
        """Run at most `most` coroutines at once from now on. Running ones continue."""
        self._most = most
        with contextlib.suppress(RuntimeError):  # the loop is closed: the consumer has left
            self.host.loop.call_soon_threadsafe(self._visit)

    def seats(self) -> Iterable[CoroutineSeat]:
        """Return what runs. While one coroutine blocks the loop, only that one: the others cannot end.

        A handler may cancel all tasks of the loop. A coroutine that has not begun then ends without an instruction of
        its own, so that its loan would stay lent: it is given back from here, which the watchdog calls all the time.
        """
        running = list(self._running.values())
        for seat in running:
            if seat.task is None and seat.window.coroutine is not None and seat.window.coroutine.done():
                with contextlib.suppress(RuntimeError):  # the loop is closed: the consumer has left
                    self.host.loop.call_soon_threadsafe(self._end_unbegun, seat)
        blocking = [seat for seat in running if self.host.is_in(seat.window.coroutine)]
        return blocking or running

    def invite(self) -> None:
        """Has the loop visit the desk. Further calls before that visit do not wake the loop again.

        The desk also calls it during a visit, if lanes are left. The loop is awake then.
        """
        if self._visit_due or len(self._running) >= self._most:
            return
        if threading.get_ident() == self.host.thread.ident:
            self._visit_soon()
        else:
            self._visit_due = True
            self.host.loop.call_soon_threadsafe(self._visit)

    def _visit(self) -> None:
        """Returns finished loans, borrows new ones, and begins their coroutines."""
        self._visit_due = False
        free = self._most - len(self._running)
        if free <= 0 and not self.finished:  # the next visit is due when a coroutine ends
            return
        if not self._lending.exchange(self, free):
            return
        while self.batch:
            try:
                loan = self.batch.popleft()
            except IndexError:  # the desk took it back between the check and the pop
                break
            seat = self._running[loan] = CoroutineSeat(loan, self)
            coroutine = self._work_off(seat, loan)
            seat.window.coroutine = self.host.loop.create_task(coroutine, context=self._context.copy())

    async def _work_off(self, seat: CoroutineSeat, loan: Loan) -> None:
        origin.set(seat)
        try:
            await self._runner.work_off(seat, deque((loan,)), monotonic())
        except BaseException as error:  # an internal error, never a handler's
            self._recover(seat, error)
        finally:
            del self._running[loan]
            self._visit_soon()

    def _end_unbegun(self, seat: CoroutineSeat) -> None:
        """Gives back the loan of a coroutine that was cancelled before it began. A second call does nothing."""
        if seat.loan is not None and self._running.pop(seat.loan, None) is not None:
            self._recover(seat, asyncio.CancelledError("a handler has cancelled the coroutines of others"))
            self._visit_soon()

    def _recover(self, seat: CoroutineSeat, error: BaseException) -> None:
        """Gives back what the coroutine has. An error in here must not stop the loop."""
        self._report(error)
        try:
            if seat.loan is not None:
                self._lending.give_back(self, members(seat.loan))
        except Exception as another:
            self._report(another)

    def _report(self, error: BaseException) -> None:
        self.emit(ConsumerWorkerError(worker="event-loop", error=f"{type_name(error)}: {error}"))

    def _visit_soon(self) -> None:
        """Visit the desk once everything that is ready in the loop has run: loans that end together are returned
        together.
        """
        if not self._visit_due:
            self._visit_due = True
            self.host.loop.call_soon(self._visit)


class CoroutineSeat:
    """One loan's coroutine."""

    __slots__ = ("_host", "borrower", "emit", "loan", "task", "window")

    def __init__(self, loan: Loan, borrower: Coroutines) -> None:
        self.borrower: Borrower = borrower
        self.loan: Loan | None = loan
        self.task: Task | None = None
        self.emit = borrower.emit
        self.window = CoroutineWindow()
        self._host = borrower.host

    def task_fields(self) -> Mapping[str, Any] | None:
        """Return the fields of the task whose handler runs, for lines that it, or anything it has started, logs."""
        task = self.task if self.window.started else None
        if task is None:
            return None
        return fields_of(task) if self.loan is None or self.loan.batch is None else batch_fields(task)

    async def call_async(self, handler: Handler, task: Task | list[Task], started: float) -> Any:
        """Runs the handler in this coroutine."""
        self.window.started = started
        return await handler.call(task)

    def interrupt(self, started: float, error: type[Interrupt] = TaskTimeout) -> None:
        """Cancels the attempt, from inside the loop. One that blocks the loop counts as interrupted now."""
        if self._host.is_in(self.window.coroutine):
            self.window.note(started, error)
        self._host.loop.call_soon_threadsafe(self.window.cancel, started, error)

    def stack(self) -> str:
        """Return where the coroutine is."""
        coroutine = self.window.coroutine
        if self._host.is_in(coroutine):
            frame = sys._current_frames().get(self._host.thread.ident or 0)
            return "".join(traceback.format_stack(frame)) if frame else ""
        frames = coroutine.get_stack(limit=20) if coroutine else []
        return "".join(line for frame in frames for line in traceback.format_stack(frame, limit=1))
