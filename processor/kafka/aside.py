"""`Aside`: runs calls that may take seconds in a separate thread, so that the poller continues meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")

CLOSE_SECONDS = 1.0
"""Time for which a call that is in progress may delay `close`."""


class Aside:
    """Runs one call after another. It belongs to one thread, which also receives the results, in `deliver`.

    The first call starts the thread that runs them.
    """

    def __init__(self, name: str) -> None:
        """`name` is the name of the thread."""
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run `call`. `deliver` passes its result to `then`, or raises what `call` raises: an internal error."""

        def called() -> Callable[[], None]:
            result = call()
            return lambda: then(result)

        if self._thread is None:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            thread.start()  # if it raises, `close` must not join a thread
            self._thread = thread
        self._calls.put(called)

    def deliver(self, seconds: float = 0.0) -> None:
        """Pass on the results since the last call. Wait at most `seconds` for the first one.

        Raises:
            Exception: what a call has raised. The results after it stay for the next `deliver`.
        """
        if seconds > 0:
            try:
                self._results.get(timeout=seconds)()
            except queue.Empty:
                return
        while not self._results.empty():
            self._results.get()()

    def close(self, last: Callable[[], None]) -> None:
        """Run `last` as the last call, and wait at most `CLOSE_SECONDS` for it. Later results are dropped."""
        if self._thread is not None:
            self.run(last, lambda _: None)
            self._calls.put(None)
            self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 — whatever it is, `deliver` raises it
                result = partial(_raise, error)
            self._results.put(result)


def _raise(error: Exception) -> None:
    raise error
