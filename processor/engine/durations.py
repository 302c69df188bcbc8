"""How long attempts took, as counts in buckets: enough for percentiles, cheap enough for half a million a second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

QUICK_SECONDS = 0.0005
"""Attempts that took less are counted and not measured: looking closer would cost as much as they do."""

_DECADE = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)

BOUNDS: tuple[float, ...] = (
    QUICK_SECONDS,
    *(round(step * 10.0**power, 6) for power in range(-3, 3) for step in _DECADE),
    1000.0,
)
"""Upper bounds of the buckets in seconds, each less than a quarter above the one before (from the second on)."""

REPORTED: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0,
)  # fmt: skip
"""Those of `BOUNDS` that are worth a time series each."""


class Durations:
    """Counts of durations, each in the bucket of the least bound that it does not exceed."""

    __slots__ = ("counts",)

    def __init__(self, counts: Iterable[int] = ()) -> None:
        self.counts = list(counts) or [0] * (len(BOUNDS) + 1)

    def add(self, quick: int, slow: Iterable[float]) -> None:
        """So many that were quick, and the seconds of each that was not."""
        self.counts[0] += quick
        for seconds in slow:
            self.counts[bisect_left(BOUNDS, seconds)] += 1

    def since(self, before: Durations) -> Durations:
        """What was added after `before`."""
        return Durations(now - then for now, then in zip(self.counts, before.counts, strict=True))

    def copy(self) -> Durations:
        """This moment."""
        return Durations(self.counts)

    def quantile(self, share: float) -> float | None:
        """The seconds that a `share` from 0 to 1 did not exceed, by linear interpolation; None where nothing was added.

        What lies above the last bound is told as the last bound.
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
        """How many took at most so many seconds, as Prometheus keeps a histogram; `+Inf` has all."""
        table = {f"{bound:g}": sum(self.counts[: BOUNDS.index(bound) + 1]) for bound in bounds}
        return {**table, "+Inf": sum(self.counts)}
