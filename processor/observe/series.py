"""`Series`: a figure over time, in a fixed amount of memory."""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

BUCKETS: Final = 240
"""About as many as a plot on a wide screen can show."""

NARROWEST: Final = 1.0
"""Width of the first buckets in seconds: a log of minutes needs no finer resolution."""


class Point(NamedTuple):
    """One bucket: its start (seconds since the epoch), and the values in it."""

    at: float
    mean: float
    most: float
    sum: float


class Series:
    """Buckets of equal width. When a time is beyond the last one, neighbours are merged and the width doubles."""

    def __init__(self, buckets: int = BUCKETS, width: float = NARROWEST) -> None:
        self.width = width
        """seconds"""
        self._buckets = buckets
        self._start = 0.0
        self._used = 0
        self._counts = array("L", bytes(array("L").itemsize * buckets))
        self._sums = array("d", bytes(8 * buckets))
        self._most = array("d", bytes(8 * buckets))

    def note(self, at: float, value: float) -> None:
        """Add a value. One with an earlier time than the first value counts as of the first value's time."""
        if not self._used:
            self._start = at // self.width * self.width
        index = max(0, int((at - self._start) // self.width))
        while index >= self._buckets:
            self._halve()
            index = int((at - self._start) // self.width)
        self._most[index] = max(self._most[index], value) if self._counts[index] else value
        self._counts[index] += 1
        self._sums[index] += value
        self._used = max(self._used, index + 1)

    def points(self) -> list[Point]:
        """Return the buckets that have values, in order of time."""
        return [
            Point(self._start + n * self.width, self._sums[n] / self._counts[n], self._most[n], self._sums[n])
            for n in range(self._used)
            if self._counts[n]
        ]

    @property
    def most(self) -> float:
        """The largest value of all; 0 if there is none."""
        return max((point.most for point in self.points()), default=0.0)

    def _halve(self) -> None:
        self.width *= 2
        for n in range((self._buckets + 1) // 2):
            self._merge(n, 2 * n, 2 * n + 1)
        for n in range((self._buckets + 1) // 2, self._buckets):
            self._counts[n], self._sums[n], self._most[n] = 0, 0.0, 0.0
        self._used = (self._used + 1) // 2

    def _merge(self, into: int, left: int, right: int) -> None:
        """Merge two buckets. `into` is never to the right of `left`, so no bucket is overwritten before it is read."""
        counts, sums, most = self._counts, self._sums, self._most
        if right >= self._buckets or not counts[right]:
            counts[into], sums[into], most[into] = counts[left], sums[left], most[left]
            return
        most[into] = max(most[left], most[right]) if counts[left] else most[right]
        counts[into], sums[into] = counts[left] + counts[right], sums[left] + sums[right]
