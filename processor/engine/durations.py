"""A histogram of attempt durations, cheap enough for half a million attempts per second."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

QUICK_SECONDS = 0.0005
"""Shorter attempts are counted but not measured: measuring would take as long as they do."""

_DECADE = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)

BOUNDS: tuple[float, ...] = (
    QUICK_SECONDS,
    *(round(step * 10.0**power, 6) for power in range(-3, 3) for step in _DECADE),
    1000.0,
)
"""Upper bounds of the buckets in seconds. From the second on, each is at most a quarter above the previous one."""

REPORTED: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0,
)  # fmt: skip
"""The subset of `BOUNDS` that is exported to metrics, one time series each."""


class Durations:
    """Counts durations, each in the bucket with the lowest bound that it does not exceed."""

    __slots__ = ("counts",)

    def __init__(self, counts: Iterable[int] = ()) -> None:
        self.counts = list(counts) or [0] * (len(BOUNDS) + 1)

    def add(self, quick: int, slow: Iterable[float]) -> None:
        """Adds `quick` durations below `QUICK_SECONDS`, and the slow ones in seconds.

        A batch has tasks of similar durations, so that most of them share a bucket, which is looked up once.
        """
        counts, ordered, first = self.counts, sorted(slow), 0
        counts[0] += quick
        while first < len(ordered):
            index = bisect_left(BOUNDS, ordered[first])
            end = bisect_right(ordered, BOUNDS[index], first) if index < len(BOUNDS) else len(ordered)
            counts[index] += end - first
            first = end

    def since(self, before: Durations) -> Durations:
        """The durations added since the earlier copy `before`."""
        return Durations(now - then for now, then in zip(self.counts, before.counts, strict=True))

    def copy(self) -> Durations:
        """A copy of the current counts."""
        return Durations(self.counts)

    def quantile(self, share: float) -> float | None:
        """The quantile for a `share` from 0 to 1 in seconds, by linear interpolation; None if there are no durations.

        A quantile above the last bound is reported as the last bound.
        """
        total = sum(self.counts)
        if not total:
            return None
        wanted, low = share * total, 0.0
        for count, bound in zip(self.counts, BOUNDS, strict=False):
            if count and wanted <= count:
                return low + (bound - low) * wanted / count
            wanted -= count
            low = bound
        return BOUNDS[-1]

    def cumulative(self, bounds: Sequence[float] = REPORTED) -> dict[str, int]:
        """Cumulative counts by upper bound, as in a Prometheus histogram; `+Inf` counts all."""
        table = {f"{bound:g}": sum(self.counts[: BOUNDS.index(bound) + 1]) for bound in bounds}
        return {**table, "+Inf": sum(self.counts)}
