"""`Rate`: limits how many attempts begin in any period of a given length, and spreads them over it."""

from __future__ import annotations

from collections import deque

BURST_SHARE = 10
"""A tenth of what may begin in a whole period may begin at once. So a rate per minute is not used up in its first
second, and a timer that is some milliseconds late loses nothing."""


class Window:
    """At most `count` in any period of `seconds`."""

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
        """Return when `wanted` may be taken at once, if none is taken until then; None if they never may.

        The time is in the past if they may be taken now.
        """
        if wanted > self.count:
            return None
        over = len(self._taken) + wanted - self.count
        return self._taken[over - 1] + self.seconds if over > 0 else float("-inf")

    def take(self, now: float) -> None:
        """Take one. `now` never goes back."""
        self._taken.append(now)


class Rate:
    """At most `count` in any period of `seconds`, and at most a tenth of them, or one, in a tenth of the period."""

    def __init__(self, count: int, seconds: float) -> None:
        burst = max(1, count // BURST_SHARE)
        self._windows = [Window(burst, burst * seconds / count)]
        if burst < count:
            self._windows.append(Window(count, seconds))

    def free(self, now: float) -> int:
        """Return how many may begin now."""
        return min(window.free(now) for window in self._windows)

    def free_at(self, wanted: int) -> float | None:
        """Return when `wanted` may begin at once, if none begins until then; None if they never may."""
        times = [window.free_at(wanted) for window in self._windows]
        known = [at for at in times if at is not None]
        return max(known) if len(known) == len(times) else None

    def take(self, now: float) -> None:
        """Take one, which begins at `now`."""
        for window in self._windows:
            window.take(now)
