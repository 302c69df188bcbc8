"""`ConsumerNow`: the process of one consumer, from its own events and those of its fleet's parent."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from processor.telemetry.events import ConsumerStats, HandlerLoad

PartitionKey = tuple[str, str, int]
"""A partition's group, topic and number."""

State = Literal["joining", "working", "idle", "cut off", "stopping", "recycling", "stopped", "failed", "died"]

ENDED: Final[frozenset[State]] = frozenset({"stopped", "failed", "died"})

INTERVAL_SECONDS: Final = 10.0
"""Assumed time between two reports, until two have been read: the default of `--stats-interval`."""

SILENT_AFTER: Final = 3.0
"""Intervals without a report after which a running consumer counts as silent, if its reports do not set the time."""


class Counts(msgspec.Struct, kw_only=True):
    """Counters of all consumers, summed over all their processes, including those that have ended."""

    succeeded: int = 0
    failed_attempts: int = 0
    retried: int = 0
    timed_out: int = 0
    dead_lettered: int = 0
    suppressed_warnings: int = 0
    handler_seconds: float = 0.0
    records_read_again: int = 0
    tasks_read_again: int = 0

    def add_rise(self, before: ConsumerStats | None, now: ConsumerStats) -> None:
        """Add the increase of one consumer's counters between two reports; without an earlier one, their values."""
        for field in self.__struct_fields__:
            rise = getattr(now, field) - (getattr(before, field) if before is not None else 0)
            setattr(self, field, getattr(self, field) + max(0, rise))


class ConsumerNow:
    """Belongs to the `Watch`.

    Args:
        source: the file, pod or container whose log has its events.
        index: its number in its fleet, None if the log does not have it.
        pid: of its process.
        at: time of its first event, in seconds since the epoch.
        fleet: the process ID of its fleet's parent, 0 if the log does not have it.
    """

    def __init__(self, source: str, index: int | None, pid: int, at: float, fleet: int = 0) -> None:
        self.source = source
        self.fleet = fleet
        self.index = index
        self.pid = pid
        self.since = at
        self.at = at
        """time of its latest event"""
        self.state: State = "joining"
        self.reason = ""
        """why it stops, ended, or starts no tasks"""
        self.workers = 0
        self.workers_most = 0
        """the upper bound of the number of its workers, if the number follows the load"""
        self.stats: ConsumerStats | None = None
        """its latest report"""
        self.stats_at = at
        self.interval = INTERVAL_SECONDS
        """seconds between its reports"""
        self.owned: set[PartitionKey] = set()
        """the partitions that it owns, as far as the log has them"""

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended."""
        return self.state in ENDED

    def is_silent(self, now: float) -> bool:
        """Return whether its next report is overdue at `now`, in seconds since the epoch."""
        promised = self.stats.overdue_after_seconds if self.stats is not None else 0.0
        return not self.has_ended and now - self.stats_at > (promised or SILENT_AFTER * self.interval)

    @property
    def suspended(self) -> list[HandlerLoad]:
        """The consumer's suspended handlers."""
        loads = [] if self.stats is None else self.stats.held_handlers
        return [load for load in loads if load.suspended_seconds is not None]

    def update(self, stats: ConsumerStats, at: float) -> None:
        """Apply its report of the time `at`, in seconds since the epoch."""
        if self.stats is not None and stats.uptime_seconds > self.stats.uptime_seconds:
            self.interval = stats.uptime_seconds - self.stats.uptime_seconds
        self.stats, self.stats_at = stats, at
        self.workers = stats.workers or self.workers
        if self.state in ("joining", "working", "idle"):
            self.state = "working" if stats.assigned_partitions else "idle"

    def end(self, state: State, reason: str) -> None:
        """Record its end, as it logged it or as its parent did; the first record counts."""
        if not self.has_ended:
            self.state = state
            self.reason = reason or self.reason
