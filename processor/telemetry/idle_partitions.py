"""Which reports of partitions are logged: those with something new. Idle partitions are listed every ten minutes.

A consumer may have thousands of partitions, most of them idle, and a line of each every `--stats-interval` would be
gigabytes a day. Readers infer the rest: a partition that its consumer does not report is idle, as it was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from processor.telemetry.events import Event, PartitionsIdle, PartitionStats

LIST_SECONDS: Final = 600.0
"""Time between two lists of the idle partitions, for readers that begin in the middle of the log."""

LIST_SECONDS_EACH: Final = 0.3
"""Time per idle partition, where that is longer: from 2,000 on. The lists of a consumer stay below 5 MB a day."""

LISTED: Final = 500
"""Partitions per line: with 19-digit offsets it has 14 KiB, and container runtimes cut lines at 16 KiB."""


def is_idle(stats: PartitionStats) -> bool:
    """Return whether the partition has no tasks, no lag, and nothing to commit."""
    return not (stats.in_flight or stats.lag or stats.gap) and stats.committed in (None, stats.commit_point)


class IdlePartitions:
    """Remembers the reports of one consumer's partitions, to find those with something new.

    Args:
        now: any clock, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._reported: dict[tuple[str, int], PartitionStats] = {}
        self._next_list = now + LIST_SECONDS

    def to_log(self, reports: Sequence[PartitionStats], now: float) -> Iterator[Event]:
        """Yield the events that a round of reports, one of each assigned partition, is logged as."""
        before, self._reported = self._reported, {(one.topic, one.partition): one for one in reports}
        unchanged = []
        for stats in reports:
            if is_idle(stats) and stats == before.get((stats.topic, stats.partition)):
                unchanged.append(stats)
            else:
                yield stats
        if now >= self._next_list:
            self._next_list = now + max(LIST_SECONDS, len(unchanged) * LIST_SECONDS_EACH)
            yield from _lists(unchanged)


def _lists(idle: Sequence[PartitionStats]) -> Iterator[PartitionsIdle]:
    for topic in sorted({stats.topic for stats in idle}):
        points = {stats.partition: stats.commit_point for stats in idle if stats.topic == topic}
        rest = iter(points.items())
        while listed := dict(islice(rest, LISTED)):
            yield PartitionsIdle(topic=topic, commit_points=listed)
