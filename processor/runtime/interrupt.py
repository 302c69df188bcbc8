"""The one place where a handler may be interrupted: between its begin and its end, never after.

CPython can raise an exception in another thread (`PyThreadState_SetAsyncExc`), at whatever line that
thread then is. The worker owns `started`, the watchdog owns the decision to fire:

    worker    started = now · handler · started = 0 · look at `firing`
    watchdog  firing = DECIDING · is `started` still what I saw? · post, firing = POSTED (or NONE)

Either the watchdog sees that the handler has ended and does not post, or the worker sees that the
watchdog is about to, waits for its decision, and takes back what was posted. What arrives in the few
lines between is caught there. It never lands in a blocking C call; see the watchdog for what then.

Giving a handler up as stuck is decided in the same way, by `verdict`: either the watchdog sees that
it has ended, or the worker learns that its outcome is not wanted any more.
"""

from __future__ import annotations

import ctypes
import time

from processor.handlers.task import TaskTimeout

NONE, DECIDING, POSTED, GIVEN_UP = 0, 1, 2, 3


class Fence:
    """One worker thread's running attempt, as the watchdog sees it."""

    __slots__ = ("fired", "fired_at", "firing", "ident", "limit", "started", "verdict")

    def __init__(self) -> None:
        self.ident = 0
        """The thread's; set by the thread itself."""
        self.started = 0.0
        """When the running handler began, in seconds of the monotonic clock; 0 when none runs."""
        self.limit = 0.0
        """Seconds that it may take."""
        self.firing = NONE
        self.verdict = NONE
        self.fired = 0.0
        """`started` of the attempt that was interrupted last."""
        self.fired_at = 0.0
        """When that was."""

    def fire(self, started: float) -> bool:
        """Watchdog: interrupts the attempt that began at `started`, if it still runs; whether it did."""
        self.firing = DECIDING
        if self.started != started:
            self.firing = NONE
            return False
        self.note(started)
        _post(self.ident, TaskTimeout)
        self.firing = POSTED
        return True

    def note(self, started: float) -> None:
        """The attempt that began at `started` has been told to end, here or by others."""
        self.fired_at = time.monotonic()
        self.fired = started

    def give_up(self, started: float) -> bool:
        """Watchdog: the outcome of the attempt that began at `started` is not wanted, if it still runs; whether so."""
        self.verdict = DECIDING
        if self.started != started:
            self.verdict = NONE
            return False
        self.verdict = GIVEN_UP
        return True

    @property
    def given_up(self) -> bool:
        """Worker, after `lower`: whether the attempt's outcome is not wanted."""
        return self.verdict == GIVEN_UP

    def lower(self) -> None:
        """Worker: the handler has ended. After this no interrupt arrives until the next one begins."""
        while True:
            try:
                self.started = 0.0
                while DECIDING in (self.firing, self.verdict):
                    time.sleep(0)
                if self.firing == POSTED:
                    _post(self.ident, None)
                    self.firing = NONE
                return
            except TaskTimeout:  # it came in here: one less to take back
                continue


def _post(ident: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), ctypes.py_object(error) if error is not None else None
    )
