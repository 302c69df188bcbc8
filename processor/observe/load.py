"""`Load`: the totals of all consumers over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from processor.observe.consumer import ConsumerNow, Counts
from processor.observe.partition import PartitionNow
from processor.observe.series import Series

SHORTEST_SECONDS: Final = 0.5
"""The shortest time over which a rate is computed."""

TRAIL: Final = 240
"""The most rounds that are kept for the live view."""


class Round(msgspec.Struct, kw_only=True):
    """One report of every consumer, summed, at one time (seconds since the epoch)."""

    at: float
    tasks_per_second: float
    failures_per_second: float | None
    """None if the round is too short for a rate"""
    p50_seconds: float | None
    """the median of the consumers' medians, weighted by their rates"""
    p99_seconds: float | None
    """the 99th percentile of the slowest consumer"""
    lag: int
    """the sum over all partitions, by their latest reports, including partitions that no consumer owns"""
    gap: int
    """the widest gap of a partition"""
    in_flight: int
    running: int
    oldest_unsettled_seconds: float


class Load:
    """The totals of each round of reports.

    A round ends when a consumer reports for the second time: by then all others have reported, or have ended.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self.trail: deque[Round] = deque(maxlen=TRAIL)
        self.series = {name: Series() for name in SERIES}
        self._reported: set[int] = set()
        self._failed = 0
        self._ended_at: float | None = None

    def begins_next_round(self, consumer: ConsumerNow) -> bool:
        """Return whether the latest report of `consumer` belongs to the next round."""
        if id(consumer) not in self._reported:
            self._reported.add(id(consumer))
            return False
        self._reported = {id(consumer)}
        return True

    def end_round(self, at: float, consumers: Iterable[ConsumerNow], partitions: Iterable[PartitionNow]) -> None:
        """Sum up the round that ends at `at`, in seconds since the epoch."""
        summed = self._summed(at, [c for c in consumers if c.stats is not None and not c.has_ended], partitions)
        self.trail.append(summed)
        for name, series in self.series.items():
            value = getattr(summed, name)
            if value is not None:
                series.note(at, value)

    def _summed(self, at: float, consumers: list[ConsumerNow], partitions: Iterable[PartitionNow]) -> Round:
        reports = [consumer.stats for consumer in consumers if consumer.stats is not None]
        known = list(partitions)
        owned = [partition.stats for partition in known if partition.consumer is not None]
        medians = sorted(
            (stats.handler_p50_seconds, stats.tasks_per_second)
            for stats in reports
            if stats.handler_p50_seconds is not None
        )
        slowest = [stats.handler_p99_seconds for stats in reports if stats.handler_p99_seconds is not None]
        return Round(
            at=at,
            tasks_per_second=sum(stats.tasks_per_second for stats in reports),
            failures_per_second=self._failures_per_second(at),
            p50_seconds=_weighted_median(medians),
            p99_seconds=max(slowest, default=None),
            lag=sum(partition.lag_now or 0 for partition in known),
            gap=max((stats.gap for stats in owned), default=0),
            in_flight=sum(stats.in_flight for stats in reports),
            running=sum(stats.running for stats in reports),
            oldest_unsettled_seconds=max((stats.oldest_unsettled_seconds for stats in owned), default=0.0),
        )

    def _failures_per_second(self, at: float) -> float | None:
        """Return None if the time is too short: consumers that stop send their last reports at nearly the same time."""
        failed, before = self.counts.failed_attempts, self._ended_at
        if before is not None and at - before < SHORTEST_SECONDS:
            return None
        rise, self._failed, self._ended_at = failed - self._failed, failed, at
        return rise / (at - before) if before is not None else None


SERIES: Final = tuple(field for field in Round.__struct_fields__ if field != "at")


def _weighted_median(values: list[tuple[float, float]]) -> float | None:
    """Return the median of (value, weight) pairs, which are in ascending order of values."""
    half = sum(weight for _, weight in values) / 2
    for value, weight in values:
        half -= weight
        if half <= 0:
            return value
    return None
