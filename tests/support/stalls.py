"""Measures how long the machine scheduled no thread of the tests' process, so that tests do not count this time."""

from __future__ import annotations

import threading
import time
from typing import Final, Self

BEAT_SECONDS: Final = 0.02
"""A thread sleeps for this time repeatedly, and notes when it wakes."""

STALL_SECONDS: Final = 0.2
"""A longer time between two wakes is a stall: the scheduler of a busy machine delays a thread much less."""


class Stalls:
    """Observes the machine inside the `with` block."""

    def __init__(self) -> None:
        self._stalls: list[tuple[int, int]] = []
        """Begin and end of each stall, in nanoseconds of CLOCK_MONOTONIC."""
        self._last_beat: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._observe, daemon=True)

    def seconds(self, since: int = 0, until: int | None = None) -> float:
        """Return how many seconds the machine was stalled between two times in nanoseconds of CLOCK_MONOTONIC."""
        now = time.monotonic_ns()
        end = now if until is None else until
        parts = (min(ended, end) - max(began, since) for began, ended in [*self._stalls, *self._present(now)])
        return sum(part for part in parts if part > 0) / 1e9

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._last_beat = None

    def _observe(self) -> None:
        self._last_beat = time.monotonic_ns()
        while not self._ended.wait(BEAT_SECONDS):
            now = time.monotonic_ns()
            self._stalls += self._present(now)
            self._last_beat = now

    def _present(self, now: int) -> list[tuple[int, int]]:
        """Return the stall since the last beat, if there is one: the observing thread has not recorded it yet."""
        last = self._last_beat
        return [(last, now)] if last is not None and now - last > STALL_SECONDS * 1e9 else []
