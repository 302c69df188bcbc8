"""`ConsumerNow`: one consumer's process, from what it said and what its fleet's parent said of it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from processor.telemetry.reading import ConsumerStatsTold

State = Literal["joining", "working", "idle", "cut off", "stopping", "recycling", "stopped", "failed", "died"]

ENDED: Final[frozenset[State]] = frozenset({"stopped", "failed", "died"})

INTERVAL_SECONDS: Final = 10.0
"""Between two statistics, until two have come: the default of `--stats-interval`."""

SILENT_AFTER: Final = 3.0
"""Intervals without statistics after which a consumer that should speak is called silent."""


class Counts(msgspec.Struct, kw_only=True):
    """What consumers have done; a sum over processes that come and go."""

    succeeded: int = 0
    failed_attempts: int = 0
    retried: int = 0
    timed_out: int = 0
    dead_lettered: int = 0
    suppressed_warnings: int = 0
    handler_seconds: float = 0.0

    def add_rise(self, before: ConsumerStatsTold | None, now: ConsumerStatsTold) -> None:
        """What one consumer did between two statistics; all of it where the first are missing."""
        for field in self.__struct_fields__:
            rise = getattr(now, field) - (getattr(before, field) if before is not None else 0)
            setattr(self, field, getattr(self, field) + max(0, rise))


class ConsumerNow:
    """Belongs to the `Watch`.

    Args:
        source: the file, pod or container whose log it is in.
        index: its number in its fleet, None where the log does not tell.
        pid: of its process.
        at: when it was heard first, in seconds since the epoch.
        fleet: the process ID of its fleet's parent, 0 where the log does not tell.
    """

    def __init__(self, source: str, index: int | None, pid: int, at: float, fleet: int = 0) -> None:
        self.source = source
        self.fleet = fleet
        self.index = index
        self.pid = pid
        self.since = at
        self.at = at
        """when it spoke last"""
        self.state: State = "joining"
        self.reason = ""
        """why it stops, ended, or begins nothing"""
        self.workers = 0
        self.stats: ConsumerStatsTold | None = None
        self.stats_at = at
        self.interval = INTERVAL_SECONDS
        """seconds between its statistics"""

    @property
    def has_ended(self) -> bool:
        """Whether it will say nothing more."""
        return self.state in ENDED

    def is_silent(self, now: float) -> bool:
        """Whether it should have spoken by `now`, in seconds since the epoch."""
        return not self.has_ended and now - self.stats_at > SILENT_AFTER * self.interval

    def hear(self, stats: ConsumerStatsTold, at: float) -> None:
        """Its statistics."""
        if self.stats is not None and stats.uptime_seconds > self.stats.uptime_seconds:
            self.interval = stats.uptime_seconds - self.stats.uptime_seconds
        self.stats, self.stats_at = stats, at
        if self.state in ("joining", "working", "idle"):
            self.state = "working" if stats.assigned_partitions else "idle"

    def ends(self, state: State, reason: str) -> None:
        """Its last words, or its parent's about it; the first that tell are right."""
        if not self.has_ended:
            self.state = state
            self.reason = reason or self.reason
