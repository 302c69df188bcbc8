"""`Rate`: at most so many attempts in any stretch of time, spread over it."""

from __future__ import annotations

from collections import deque

BURST_SHARE = 10
"""A tenth of what may begin in the whole time may begin at once. So a rate by the minute is not used up in its first
second, and a timer that is some milliseconds late loses nothing."""


class Window:
    """At most `count` in any `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._taken: deque[float] = deque()

    def free(self, now: float) -> int:
        """Return how many may be taken now."""
        taken = self._taken
        while taken and taken[0] + self.seconds <= now:
            taken.popleft()
        return self.count - len(taken)

    def free_at(self, wanted: int) -> float | None:
        """Return when so many may be taken if none is until then; None if they never may at once.

        It is in the past where they may be taken now.
        """
        if wanted > self.count:
            return None
        over = len(self._taken) + wanted - self.count
        return self._taken[over - 1] + self.seconds if over > 0 else float("-inf")

    def take(self, now: float) -> None:
        """One is taken. `now` never goes back."""
        self._taken.append(now)


class Rate:
    """At most `count` in any `seconds`, and at most a tenth of them, or one, in a tenth of that time."""

    def __init__(self, count: int, seconds: float) -> None:
        burst = max(1, count // BURST_SHARE)
        self._windows = [Window(burst, burst * seconds / count)]
        if burst < count:
            self._windows.append(Window(count, seconds))

    def free(self, now: float) -> int:
        """Return how many may begin now."""
        return min(window.free(now) for window in self._windows)

    def free_at(self, wanted: int) -> float | None:
        """Return when so many may begin if none does until then; None if they never may at once."""
        times = [window.free_at(wanted) for window in self._windows]
        known = [at for at in times if at is not None]
        return max(known) if len(known) == len(times) else None

    def take(self, now: float) -> None:
        """One begins."""
        for window in self._windows:
            window.take(now)
