"""`Timeline`: the events of the fleet that deserve a line of their own and a mark in the plots."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, Literal

import msgspec

from processor.observe.series import Series

Kind = Literal["start", "stop", "rebalance", "restart", "scale", "trouble"]

KEPT: Final = 500
"""The most entries that are kept in full."""


class TimelineEntry(msgspec.Struct, kw_only=True):
    """One line, at one time (seconds since the epoch). Its text is safe for a terminal."""

    at: float
    kind: Kind
    subject: str
    """label of the consumer or fleet that it happened to"""
    text: str


class Timeline:
    """The latest entries in full; counts and times of all entries, in bounded memory."""

    def __init__(self) -> None:
        self.recent: deque[TimelineEntry] = deque(maxlen=KEPT)
        self.counts: Counter[Kind] = Counter()
        self.marks: dict[Kind, Series] = {}

    def add(self, entry: TimelineEntry) -> None:
        """Add an entry."""
        self.recent.append(entry)
        self.counts[entry.kind] += 1
        self.marks.setdefault(entry.kind, Series()).note(entry.at, 1.0)
