"""Async handlers: an event loop in a thread of its own, which borrows lanes as a worker thread does.

An application whose handlers are all async runs here alone: `--workers` bounds the coroutines. Where
some are plain functions, worker threads run them all, and wait here for those that are async.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any

from processor.engine.durations import QUICK_SECONDS
from processor.engine.ledger import Loan
from processor.engine.pace import TURN_SECONDS
from processor.handlers.table import Handler
from processor.handlers.task import Task, TaskTimeout
from processor.runtime.attempt import UNRUN, Attempts, failure_of, failure_of_unrun, type_name
from processor.runtime.desk import Desk
from processor.runtime.interrupt import Fence
from processor.runtime.ports import Record
from processor.runtime.settlement import Endings
from processor.telemetry.events import ConsumerWorkerError, Emit

CLOSE_SECONDS = 0.5
"""How long a coroutine that keeps the loop to itself may hold up the end."""


async def call_within(handler: Handler, task: Task, limit: float) -> Any:
    """Awaits the handler.

    Raises:
        TaskTimeout: it took longer than `limit` seconds; inside, it was cancelled.
    """
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await handler.function(task)
    except TimeoutError:
        if timer.expired():
            raise TaskTimeout from None
        raise


class Running:
    """One lane's coroutine, as the watchdog sees it."""

    __slots__ = ("_pool", "cancelled", "coroutine", "fence", "loan", "record")

    def __init__(self, loan: Loan, pool: Coroutines) -> None:
        self.loan: Loan | None = loan
        self.record: Record | None = None
        self.fence = Fence()
        self.coroutine: asyncio.Task[None] | None = None
        self.cancelled = 0.0
        """When the attempt began that was cancelled for its time; 0 when none was."""
        self._pool = pool

    def interrupt(self, started: float) -> None:
        """Cancels it once the loop turns. Who keeps the loop to itself until then is told to end as of now."""
        host = self._pool.host
        if host.is_in(self.coroutine):
            self.fence.note(started)
        host.loop.call_soon_threadsafe(self._cancel, started)

    def _cancel(self, started: float) -> None:
        """In the loop, where everything else waits: it is inside the handler of that attempt, or past it."""
        if self.fence.started == started and self.cancelled != started and self.coroutine is not None:
            self.cancelled = started
            self.fence.note(started)
            self.coroutine.cancel()

    def recover(self) -> bool:
        """The attempt has ended: the coroutine is as if it had never been cancelled; whether it was, for its time."""
        was_cancelled, self.cancelled = self.cancelled != 0.0, 0.0
        if was_cancelled and self.coroutine is not None:
            self.coroutine.uncancel()
        return was_cancelled

    def stack(self) -> str:
        """Where it is."""
        return self._pool.stack_of(self)


def _ending(error: BaseException, running: Running) -> BaseException:
    """What an attempt that raised `error` ended with; where in its handler it was stays known."""
    if running.recover() and isinstance(error, asyncio.CancelledError):
        return TaskTimeout().with_traceback(error.__traceback__)
    return error


class EventLoop:
    """The loop, and its thread. As a borrower it has many loans at once."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="event-loop", daemon=True)
        self._callers: dict[asyncio.Task[Any] | None, int] = {}
        """Of each coroutine that runs for a worker thread, that thread."""

    def call(self, handler: Handler, task: Task, limit: float) -> Any:
        """Runs an async handler for a worker thread, which waits."""
        captured = self._captured(handler, task, limit, threading.get_ident())
        value, error = asyncio.run_coroutine_threadsafe(captured, self.loop).result()
        if error is not None:
            raise error
        return value

    def caller(self) -> int | None:
        """The thread that waits for the coroutine which is on the loop now; 0 if none does, None if none is."""
        inside = asyncio.current_task(self.loop)
        return self._callers.get(inside, 0) if inside is not None else None

    def is_in(self, coroutine: asyncio.Task[None] | None) -> bool:
        """Whether the coroutine is on the loop now."""
        return coroutine is not None and asyncio.current_task(self.loop) is coroutine

    def note_interrupt(self, fence: Fence, started: float, *, is_inside: bool) -> None:
        """Notes that an attempt was told to end: now, or once the loop has turned, as only then its timer has run."""
        if is_inside:
            fence.note(started)
        else:
            self.loop.call_soon_threadsafe(fence.note, started)

    async def _captured(
        self, handler: Handler, task: Task, limit: float, caller: int
    ) -> tuple[Any, BaseException | None]:
        """The outcome as a value: a `SystemExit` that went through the loop would end the loop."""
        me = asyncio.current_task()
        self._callers[me] = caller
        try:
            return await call_within(handler, task, limit), None
        except BaseException as error:
            return None, error
        finally:
            del self._callers[me]

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def close(self) -> None:
        """Ends the loop; what still runs in it is not waited for."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CLOSE_SECONDS)
        # A process that goes on, as a test run does, must not collect the sockets of loops that ended.
        if not self.thread.is_alive() and not asyncio.all_tasks(self.loop):
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


class Coroutines:
    """Borrows for the loop: at most `most` coroutines at once."""

    def __init__(
        self, host: EventLoop, most: int, desk: Desk, attempts: Attempts, endings: Endings, emit: Emit
    ) -> None:
        self.batch: deque[Loan] = deque()
        self.finished: deque[Loan] = deque()
        self.slow: list[float] = []
        self.ended = 0
        self.borrowed_at = 0.0
        self.turn = TURN_SECONDS
        self.running: dict[Loan, Running] = {}
        self.host = host
        self._most = most
        self._desk = desk
        self._attempts = attempts
        self._endings = endings
        self._emit = emit
        self._turn_due = False
        self._tasks = 0
        self._seconds = 0.0

    def current(self) -> Iterable[Loan]:
        """The loans whose coroutines run."""
        return list(self.running)

    def start(self) -> None:
        """Begins to borrow."""
        self._desk.enter(self)
        self._desk.invite = self._invite

    def attempted(self) -> Iterable[Running]:
        """What runs. While one coroutine keeps the loop to itself, only that one: the others cannot end."""
        running = list(self.running.values())
        blocking = [one for one in running if self.host.is_in(one.coroutine)]
        return blocking or running

    def stack_of(self, running: Running) -> str:
        """Where a coroutine is."""
        if self.host.is_in(running.coroutine):
            frame = sys._current_frames().get(self.host.thread.ident or 0)
            return "".join(traceback.format_stack(frame)) if frame else ""
        frames = running.coroutine.get_stack(limit=20) if running.coroutine else []
        return "".join(line for frame in frames for line in traceback.format_stack(frame, limit=1))

    def _invite(self) -> None:
        """Any thread, under the desk's lock: lanes are ready. One call wakes the loop, others meanwhile are spared."""
        if not self._turn_due and len(self.running) < self._most:
            self._turn_due = True
            self.host.loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        """Brings back, borrows, begins."""
        self._turn_due = False
        tasks, seconds, self._tasks, self._seconds = self._tasks, self._seconds, 0, 0.0
        if not self._desk.exchange(self, self._most - len(self.running), tasks, seconds):
            return
        while self.batch:
            try:
                loan = self.batch.popleft()
            except IndexError:  # it was taken back between the look and the grasp
                break
            running = self.running[loan] = Running(loan, self)
            running.coroutine = self.host.loop.create_task(self._work_off(running, loan))

    def _soon(self) -> None:
        """Has a turn once everything that is ready in the loop has run: so endings are brought back together."""
        if not self._turn_due:
            self._turn_due = True
            self.host.loop.call_soon(self._turn)

    async def _work_off(self, running: Running, loan: Loan) -> None:
        try:
            if not await self._attempt_all(running, loan):
                self.finished.append(loan)
        except BaseException as error:  # a fault of ours, never a handler's
            self._emit(ConsumerWorkerError(worker="event-loop", error=f"{type_name(error)}: {error}"))
            self.finished.append(loan)
        finally:
            del self.running[loan]
            self._soon()

    async def _attempt_all(self, running: Running, loan: Loan) -> bool:
        """Runs the loan's tasks until one does not simply succeed; whether its ending has the loan now."""
        attempt, fence = loan.attempt, running.fence
        for record in loan.records:
            started = monotonic()
            if not loan.ledger.may_begin or not self._desk.lease.holds(started):
                break
            failure, handler, task, value = None, None, None, None
            running.record = record
            try:
                task, handler, fence.limit = self._attempts.prepare(record, attempt, started)
                fence.started = started
                value = await handler.function(task)
            except BaseException as error:
                failure = failure_of(_ending(error, running), begun=fence.started != 0.0)
            if running.cancelled:  # and returned all the same
                running.recover()
            if value is not None and type(value) in UNRUN:
                failure = failure_of_unrun(value)
            fence.lower()
            seconds = monotonic() - started
            self._tasks += 1
            self._seconds += seconds
            if failure is None or failure.attempted:
                self.ended += 1
                if seconds > QUICK_SECONDS:
                    self.slow.append(seconds)
            if fence.given_up:
                return True
            if failure is not None:
                self._endings.fail(loan, record, attempt, failure, self._attempts.policy(handler), task, fence.limit)
                return True
            if task is not None:
                if value is not None and self._endings.keeps_results:
                    self._endings.succeed(loan, record, task, value, seconds)
                    return True
                if self._endings.tells_done:
                    self._endings.tell_done(task, seconds)
            loan.done += 1
            attempt = 1
        return False
