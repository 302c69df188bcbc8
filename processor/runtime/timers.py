"""`Timers`: actions that are due at a time. Any thread may schedule them; the watchdog's thread runs them."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from time import monotonic


class Timers:
    """A queue of actions, and the alarm that ends the sleep of the thread that runs them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._alarm = threading.Event()

    def schedule(self, due: float, action: Callable[[], None]) -> None:
        """Schedules `action` for `due`, in seconds of the monotonic clock."""
        with self._lock:
            self._scheduled += 1
            heapq.heappush(self._queue, (due, self._scheduled, action))
        self._alarm.set()

    def wake(self) -> None:
        """Ends the current sleep, or else the next one: the thread has something new to do."""
        self._alarm.set()

    def sleep(self, longest: float, due: float | None) -> None:
        """Waits until `due` or until the next action is due, at most `longest` seconds, or until woken."""
        with self._lock:
            dues = [due for due, _, _ in self._queue[:1]]
        if due is not None:
            dues.append(due)
        self._alarm.wait(max(0.0, min([longest, *(due - monotonic() for due in dues)])))
        self._alarm.clear()

    def run_due(self, now: float) -> None:
        """Runs every action that is due, one after the other, without the lock."""
        while True:
            with self._lock:
                if not self._queue or self._queue[0][0] > now:
                    return
                action = heapq.heappop(self._queue)[2]
            action()
