"""Which reports of a consumer are logged: changed ones, and at longer intervals unchanged ones.

A fleet may have many consumers and thousands of partitions, most of them idle. A line of each every `--stats-interval`
would be gigabytes a day. Readers infer the rest: a partition that its consumer does not report is unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from processor.telemetry.cadence import LIST_SECONDS, Cadence, Repeats
from processor.telemetry.events import ConsumerStats, Event, PartitionsIdle, PartitionStats

LISTED: Final = 500
"""Partitions per line: with 19-digit offsets it has 14 KiB, and container runtimes cut lines at 16 KiB."""


def is_idle(stats: PartitionStats) -> bool:
    """Return whether the partition has no tasks, no lag, nothing to commit, and waits for no other partition."""
    has_work = stats.in_flight or stats.fetched_ahead or stats.lag or stats.gap or stats.waits_for
    return not has_work and stats.committed in (None, stats.commit_point)


class IdleReports:
    """Remembers the last reports of one consumer and its partitions, to find those that have changed.

    Args:
        cadence: how often unchanged reports are logged.
        now: any clock, in seconds.
    """

    def __init__(self, cadence: Cadence, now: float) -> None:
        self._cadence = cadence
        self._repeats = Repeats(cadence.repeat_seconds)
        self._reported: dict[tuple[str, int], PartitionStats] = {}
        self._next_list = now + LIST_SECONDS

    def to_log(
        self, stats: ConsumerStats, partitions: Sequence[PartitionStats], now: float, *, anyway: bool = False
    ) -> Iterator[Event]:
        """Yield the events to log for a round of reports. Events of partitions always follow one of the consumer.

        Args:
            stats: of the consumer.
            partitions: one report of each assigned partition.
            now: the time.
            anyway: log the consumer's report even if it has not changed.
        """
        events = list(self._of_partitions(partitions, now))
        if self._repeats.is_due(_what_counts(stats), now, anyway=anyway or bool(events)):
            yield stats
        yield from events

    def _of_partitions(self, reports: Sequence[PartitionStats], now: float) -> Iterator[Event]:
        before, self._reported = self._reported, {(one.topic, one.partition): one for one in reports}
        unchanged = []
        for stats in reports:
            if is_idle(stats) and stats == before.get((stats.topic, stats.partition)):
                unchanged.append(stats)
            else:
                yield stats
        if now >= self._next_list:
            lists = list(_lists(unchanged))
            self._next_list = now + self._cadence.list_seconds(len(unchanged), len(lists))
            yield from lists


def _what_counts(stats: ConsumerStats) -> ConsumerStats:
    """Return the report without the fields that change even while the consumer is idle. It then commits to renew its
    lease, for example.
    """
    return msgspec.structs.replace(stats, uptime_seconds=0.0, used_cores=0.0, commits=0, longest_pause_seconds=0.0)


def _lists(idle: Sequence[PartitionStats]) -> Iterator[PartitionsIdle]:
    for topic in sorted({stats.topic for stats in idle}):
        points = {stats.partition: stats.commit_point for stats in idle if stats.topic == topic}
        rest = iter(points.items())
        while listed := dict(islice(rest, LISTED)):
            yield PartitionsIdle(topic=topic, commit_points=listed)
