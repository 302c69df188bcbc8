"""`Sessions`: which sessions had the most waiting tasks, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from processor.observe.wording import plain
from processor.telemetry.events import SessionLoad

KEPT: Final = 100


class BusySession(msgspec.Struct, kw_only=True):
    """One session with many waiting tasks."""

    session_id: str
    topic: str
    partition: int
    waiting: int
    """most tasks that waited at one time"""
    first: float
    """when it was first and last reported, in seconds since the epoch"""
    last: float

    @property
    def place(self) -> str:
        """TOPIC[PARTITION]."""
        return f"{self.topic}[{self.partition}]"


class Sessions:
    """Remembers the busiest sessions; one that comes back after it was forgotten starts anew."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._busy: dict[tuple[str, str, int], BusySession] = {}

    def note(self, loads: Iterable[SessionLoad], at: float) -> None:
        """Add the busiest sessions of one consumer, at `at` in seconds since the epoch."""
        for load in loads:
            busy = self._busy_of(load, at)
            busy.waiting = max(busy.waiting, load.waiting)
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
        first=at,
        last=at,
    )
