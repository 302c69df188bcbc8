"""`Sessions`: which sessions had the most waiting tasks, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from processor.observe.consumer import Counts
from processor.observe.wording import many, plain
from processor.telemetry.events import SessionLoad

KEPT: Final = 100


class BusySession(msgspec.Struct, kw_only=True):
    """One session with many waiting tasks."""

    session_id: str
    topic: str
    partition: int
    waiting: int
    """most tasks that waited at one time"""
    share: float | None
    """their share of the tasks that waited in the partition at that time; None if the log does not have it"""
    first: float
    """when it was first reported, in seconds since the epoch; `last` is the latest time"""
    last: float

    @property
    def place(self) -> str:
        """TOPIC[PARTITION]."""
        return f"{self.topic}[{self.partition}]"


class Sessions:
    """Keeps the busiest sessions. The figures of one that was dropped start anew when it is reported again."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._busy: dict[tuple[str, str, int], BusySession] = {}

    def note(self, loads: Iterable[SessionLoad], at: float) -> None:
        """Add the busiest sessions of one consumer, at `at` in seconds since the epoch."""
        for load in loads:
            busy = self._busy_of(load, at)
            if load.waiting > busy.waiting:
                busy.waiting, busy.share = load.waiting, share_of(load)
            busy.last = at
        if len(self._busy) > 2 * self._kept:
            self._busy = {(b.session_id, b.topic, b.partition): b for b in self.busiest()}

    def busiest(self) -> list[BusySession]:
        """Return them, the busiest first."""
        return sorted(self._busy.values(), key=lambda busy: -busy.waiting)[: self._kept]

    def _busy_of(self, load: SessionLoad, at: float) -> BusySession:
        fresh = busy_session(load, at)
        return self._busy.setdefault((fresh.session_id, fresh.topic, fresh.partition), fresh)


def busy_session(load: SessionLoad, at: float) -> BusySession:
    """Return a session as a consumer reported it at `at` (seconds since the epoch), with texts safe for a terminal."""
    return BusySession(
        session_id=plain(load.session_id),
        topic=plain(load.topic),
        partition=load.partition,
        waiting=load.waiting,
        share=share_of(load),
        first=at,
        last=at,
    )


def share_of(load: SessionLoad) -> float | None:
    """Return a session's share of the tasks that wait in its partition; None if the log is of an older version."""
    return load.waiting / load.partition_waiting if load.partition_waiting else None


def percent(share: float | None) -> str:
    """Return the share as a text such as `82 %`, or a dash if it is not known."""
    return "–" if share is None else f"{100 * share:.0f} %"


def share_text(share: float | None) -> str:
    """Return a clause such as `, 82 % of what waits there`; "" if the share is not known."""
    return "" if share is None else f", {percent(share)} of what waits there"


def reading_cost(counts: Counts) -> str | None:
    """Return how many records were read again for tasks that were set aside, in words; None if none were."""
    records, tasks = counts.records_read_again, counts.tasks_read_again
    if not records:
        return None
    if not tasks:  # the log is of an older version, or only other records were read so far
        return f"{many(records, 'record')} read again for tasks that were set aside"
    return f"{many(records, 'record')} read again for {many(tasks, 'task')} set aside, {records / tasks:.1f} each"
