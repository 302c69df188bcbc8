"""`InterruptWindow`: ensures that a handler is interrupted only while it runs, never after its end.

CPython can raise an exception in another thread (`PyThreadState_SetAsyncExc`), at whichever line that thread is then.
The worker writes `started`, and the watchdog writes the decision to fire:

    worker    started = now · handler · started = 0 · check `firing`
    watchdog  firing = DECIDING · is `started` unchanged? · post, firing = POSTED (or NONE)

If the handler ends during this, there are two cases. Either the watchdog sees that it has ended, and does not post. Or
the worker sees DECIDING, waits for the decision, and withdraws an exception that was posted. An exception that arrives
between the end of the handler and the withdrawal is caught there. No exception arrives inside a blocking C call; the
watchdog describes what follows then.

A coroutine is cancelled by its own event loop, so no interrupt can arrive late. But a cancellation raises the
coroutine's count of cancellations, and `close` lowers it again.

`verdict` decides in the same way whether a handler is given up as stuck: either the watchdog sees that it has ended, or
the worker sees that its outcome no longer counts.
"""

from __future__ import annotations

import asyncio
import ctypes
import time

from processor.handlers.exceptions import Interrupt, TaskTimeout

NONE, DECIDING, POSTED, GIVEN_UP = 0, 1, 2, 3


class InterruptWindow:
    """One running attempt, as the watchdog sees it. Open while `started` is not 0."""

    __slots__ = ("error", "fired", "fired_at", "firing", "limit", "started", "verdict")

    def __init__(self) -> None:
        self.started = 0.0
        """When the running handler began, in seconds of the monotonic clock; 0 while none runs."""
        self.limit = 0.0
        """How many seconds it may take."""
        self.firing = NONE
        self.verdict = NONE
        self.fired = 0.0
        """`started` of the attempt that was interrupted last."""
        self.error: type[Interrupt] = TaskTimeout
        """The exception that it was interrupted with."""
        self.fired_at = 0.0
        """When it was interrupted."""

    def note(self, started: float, error: type[Interrupt] = TaskTimeout) -> None:
        """Records that the attempt that began at `started` was interrupted with `error`, by this window or the loop."""
        self.error = error
        self.fired_at = time.monotonic()
        self.fired = started

    def give_up(self, started: float) -> bool:
        """Watchdog: gives up on the attempt that began at `started`, if it still runs. Return whether it does."""
        self.verdict = DECIDING
        if self.started != started:
            self.verdict = NONE
            return False
        self.verdict = GIVEN_UP
        return True

    @property
    def given_up(self) -> bool:
        """Worker, after `close`: whether the attempt's outcome no longer counts."""
        return self.verdict == GIVEN_UP

    def close(self) -> bool:
        """Worker: ends the window after the handler. No interrupt arrives from then on. Return whether one was sent."""
        was_interrupted = False
        while True:
            try:
                self.started = 0.0
                while DECIDING in (self.firing, self.verdict):
                    time.sleep(0)
                if self.firing == POSTED:
                    was_interrupted = True
                    self._withdraw()
                    self.firing = NONE
                return was_interrupted
            except Interrupt:  # it arrived in these lines: go through them again, with one interrupt less to withdraw
                was_interrupted = True

    def _withdraw(self) -> None:
        """Takes back an interrupt that was sent and may not have arrived."""
        raise NotImplementedError


class ThreadWindow(InterruptWindow):
    """An attempt in a worker thread."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        super().__init__()
        self.ident = 0
        """The ident of the thread, which sets it itself."""

    def fire(self, started: float, error: type[Interrupt] = TaskTimeout) -> bool:
        """Watchdog: raises `error` in the attempt that began at `started`. Return False if that has ended."""
        self.firing = DECIDING
        if self.started != started:
            self.firing = NONE
            return False
        self.note(started, error)
        _post(self.ident, error)
        self.firing = POSTED
        return True

    def _withdraw(self) -> None:
        _post(self.ident, None)


class CoroutineWindow(InterruptWindow):
    """An attempt in a coroutine of the event loop."""

    __slots__ = ("coroutine",)

    def __init__(self) -> None:
        super().__init__()
        self.coroutine: asyncio.Task[None] | None = None
        """Set once it is scheduled."""

    def cancel(self, started: float, error: type[Interrupt] = TaskTimeout) -> None:
        """In the loop's thread: cancels the attempt that began at `started`, unless it has ended."""
        if self.started == started and self.firing == NONE and self.coroutine is not None:
            self.note(started, error)
            self.coroutine.cancel()
            self.firing = POSTED

    def _withdraw(self) -> None:
        """Lowers the count of cancellations, so that the coroutine's next attempt is not cancelled."""
        if self.coroutine is not None:
            self.coroutine.uncancel()


def _post(ident: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), ctypes.py_object(error) if error is not None else None
    )


def grace(limit: float) -> float:
    """Return how many seconds a handler has to end after an interrupt: a tenth of its time limit, from one to ten."""
    return min(max(limit / 10, 1.0), 10.0)
