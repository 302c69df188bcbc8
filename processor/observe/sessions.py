"""`Sessions`: which sessions had the most waiting, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from processor.observe.wording import plain
from processor.telemetry.reading import SessionTold

KEPT: Final = 100


class Busy(msgspec.Struct, kw_only=True):
    """One session that had much waiting."""

    session_id: str
    topic: str
    partition: int
    waiting: int
    """tasks, at the moment when they were most"""
    first: float
    """when it was seen first and last, in seconds since the epoch"""
    last: float

    @property
    def place(self) -> str:
        """TOPIC[PARTITION]."""
        return f"{self.topic}[{self.partition}]"


class Sessions:
    """Remembers the busiest; one that comes back after it was forgotten begins anew."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._busy: dict[tuple[str, str, int], Busy] = {}

    def note(self, told: Iterable[SessionTold], at: float) -> None:
        """One consumer's busiest sessions, at `at` in seconds since the epoch."""
        for session in told:
            busy = self._busy_of(session, at)
            busy.waiting = max(busy.waiting, session.waiting)
            busy.last = at
        if len(self._busy) > 2 * self._kept:
            self._busy = {(b.session_id, b.topic, b.partition): b for b in self.busiest()}

    def busiest(self) -> list[Busy]:
        """The busiest first."""
        return sorted(self._busy.values(), key=lambda busy: -busy.waiting)[: self._kept]

    def _busy_of(self, session: SessionTold, at: float) -> Busy:
        fresh = busy_of(session, at)
        return self._busy.setdefault((fresh.session_id, fresh.topic, fresh.partition), fresh)


def busy_of(told: SessionTold, at: float) -> Busy:
    """What a consumer said of a session, at `at` in seconds since the epoch; harmless for a terminal."""
    return Busy(
        session_id=plain(told.session_id),
        topic=plain(told.topic),
        partition=told.partition,
        waiting=told.waiting,
        first=at,
        last=at,
    )
