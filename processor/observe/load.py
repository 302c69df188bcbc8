"""`Load`: what all consumers do together, over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from processor.observe.consumer import ConsumerNow, Counts
from processor.observe.partition import PartitionNow
from processor.observe.series import Series

SHORTEST_SECONDS: Final = 0.5
"""Over less time no rate is told."""

TRAIL: Final = 240
"""Rounds that the live view can draw."""


class Round(msgspec.Struct, kw_only=True):
    """One set of statistics of every consumer, summed, at one moment (seconds since the epoch)."""

    at: float
    tasks_per_second: float
    failures_per_second: float | None
    """None where the round is too short to say"""
    p50_seconds: float | None
    """the median of the consumers' medians, weighted by their rates"""
    p99_seconds: float | None
    """of the slowest consumer"""
    lag: int
    """of every partition as it was told last: one that is nobody's lags all the more"""
    gap: int
    """of the partition where it is widest"""
    in_flight: int
    running: int
    oldest_unsettled_seconds: float


class Load:
    """A round ends when a consumer speaks for the second time: by then the others have spoken, or are gone."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.trail: deque[Round] = deque(maxlen=TRAIL)
        self.series = {name: Series() for name in SERIES}
        self._heard: set[int] = set()
        self._failed = 0
        self._ended_at: float | None = None

    def begins_anew(self, consumer: ConsumerNow) -> bool:
        """Whether the statistics that `consumer` brings are of the next round."""
        if id(consumer) not in self._heard:
            self._heard.add(id(consumer))
            return False
        self._heard = {id(consumer)}
        return True

    def close(self, at: float, consumers: Iterable[ConsumerNow], partitions: Iterable[PartitionNow]) -> None:
        """Sums up the round that ends at `at`, seconds since the epoch."""
        summed = self._summed(at, [c for c in consumers if c.stats is not None and not c.has_ended], partitions)
        self.trail.append(summed)
        for name, series in self.series.items():
            value = getattr(summed, name)
            if value is not None:
                series.note(at, value)

    def _summed(self, at: float, consumers: list[ConsumerNow], partitions: Iterable[PartitionNow]) -> Round:
        told = [consumer.stats for consumer in consumers if consumer.stats is not None]
        seen = list(partitions)
        owned = [partition.told for partition in seen if partition.consumer is not None]
        halves = sorted((s.handler_p50_seconds, s.tasks_per_second) for s in told if s.handler_p50_seconds is not None)
        return Round(
            at=at,
            tasks_per_second=sum(stats.tasks_per_second for stats in told),
            failures_per_second=self._failures_per_second(at),
            p50_seconds=_weighted_median(halves),
            p99_seconds=max((s.handler_p99_seconds for s in told if s.handler_p99_seconds is not None), default=None),
            lag=sum(partition.lag_now or 0 for partition in seen),
            gap=max((partition.gap for partition in owned), default=0),
            in_flight=sum(stats.in_flight for stats in told),
            running=sum(stats.running for stats in told),
            oldest_unsettled_seconds=max((p.oldest_unsettled_seconds for p in owned), default=0.0),
        )

    def _failures_per_second(self, at: float) -> float | None:
        """Since a moment ago that is long enough: consumers that stop tell their last statistics at once."""
        failed, before = self.counts.failed_attempts, self._ended_at
        if before is not None and at - before < SHORTEST_SECONDS:
            return None
        rise, self._failed, self._ended_at = failed - self._failed, failed, at
        return rise / (at - before) if before is not None else None


SERIES: Final = tuple(field for field in Round.__struct_fields__ if field != "at")


def _weighted_median(values: list[tuple[float, float]]) -> float | None:
    """Of (value, weight), in ascending order of values."""
    half = sum(weight for _, weight in values) / 2
    for value, weight in values:
        half -= weight
        if half <= 0:
            return value
    return None
