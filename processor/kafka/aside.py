"""`Aside`: calls that may take seconds, made in a thread of their own, so that the poller goes on meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

CLOSE_SECONDS = 1.0
"""How long a call that is under way may hold up a close."""


class Aside:
    """Makes one call after another. Belongs to one thread, which also receives the results, in `deliver`.

    The thread that makes the calls is started by the first one: without a call there is none.
    """

    def __init__(self, name: str) -> None:
        """`name` is that of the thread."""
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Makes the call, which must not raise, and hands what it returns to `then`, from inside `deliver`."""

        def called() -> Callable[[], None]:
            result = call()
            return lambda: then(result)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put(called)

    def deliver(self, seconds: float = 0.0) -> None:
        """Hands over the results that have come since the last time; waits at most `seconds` for the first."""
        if seconds > 0:
            try:
                self._results.get(timeout=seconds)()
            except queue.Empty:
                return
        while not self._results.empty():
            self._results.get()()

    def close(self, last: Callable[[], None]) -> None:
        """Makes `last` the last call, and waits for it for a moment. Results that are still to come are dropped."""
        if self._thread is not None:
            self.run(last, lambda _: None)
            self._calls.put(None)
            self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._results.put(call())
