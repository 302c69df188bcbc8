"""How long the machine let no thread of the tests' process run: time that no test holds against the product."""

from __future__ import annotations

import threading
import time
from typing import Final, Self

BEAT_SECONDS: Final = 0.02
"""A thread that sleeps for so long notes when it wakes."""

STALL_SECONDS: Final = 0.2
"""Between two wakes: much longer than the scheduler of a busy machine lets a thread wait."""


class Stalls:
    """Observes the machine from entering to leaving."""

    def __init__(self) -> None:
        self._stalls: list[tuple[int, int]] = []
        """Beginning and end of each, in nanoseconds of CLOCK_MONOTONIC."""
        self._last_beat: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._observe, daemon=True)

    def seconds(self, since: int = 0, until: int | None = None) -> float:
        """Return how many seconds the machine stood still between two moments, in nanoseconds of CLOCK_MONOTONIC."""
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
        """The stall that is just over, whose end the observing thread has not noted yet."""
        last = self._last_beat
        return [(last, now)] if last is not None and now - last > STALL_SECONDS * 1e9 else []
