"""`LastDues`: how many tasks each session has, and the second in which its last one is due.

It takes sixteen bytes for each of a million sessions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import compress
from typing import NamedTuple

SHARDS = 1024
"""Sorted arrays that sessions are spread over. To insert a session moves half of one: 8 KB with a million sessions."""

LEAST_PURGED = 64
"""A shard with fewer sessions is not searched for finished ones."""


class Last(NamedTuple):
    """The tasks of one session."""

    due: int
    """The second in which the last one is due."""
    tasks: int


class _Shard:
    """Sessions in ascending order."""

    __slots__ = ("counts", "dues", "limit", "sessions")

    def __init__(self) -> None:
        self.sessions = array("q")
        self.dues = array("I")
        self.counts = array("I")
        self.limit = LEAST_PURGED
        """At this number of sessions, the shard is searched for finished ones."""

    def purge(self, before: int) -> None:
        left = [due >= before for due in self.dues]
        self.sessions = array("q", compress(self.sessions, left))
        self.dues = array("I", compress(self.dues, left))
        self.counts = array("I", compress(self.counts, left))
        self.limit = max(LEAST_PURGED, 3 * len(self.dues) // 2)

    def place_of(self, session: int) -> int | None:
        place = bisect_left(self.sessions, session)
        return place if place < len(self.sessions) and self.sessions[place] == session else None


class LastDues:
    """Due seconds by session, which is a signed 64-bit number."""

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}

    def __len__(self) -> int:
        return sum(len(shard.dues) for shard in self._shards.values())

    def get(self, session: int) -> Last | None:
        """Return the entry of the session; None if it has no task here."""
        shard = self._shards.get(session % SHARDS)
        place = shard.place_of(session) if shard is not None else None
        if shard is None or place is None or not shard.counts[place]:
            return None
        return Last(shard.dues[place], shard.counts[place])

    def put(self, session: int, last: Last, before: int) -> None:
        """Notes what the session has. Sessions whose last task was due `before` may be dropped."""
        shard = self._shards.get(session % SHARDS)
        if shard is None:
            shard = self._shards[session % SHARDS] = _Shard()
        elif len(shard.dues) >= shard.limit:
            shard.purge(before)
        if (known := shard.place_of(session)) is not None:
            shard.dues[known], shard.counts[known] = last
            return
        place = bisect_left(shard.sessions, session)
        shard.sessions.insert(place, session)
        shard.dues.insert(place, last.due)
        shard.counts.insert(place, last.tasks)

    def take(self, session: int) -> None:
        """Notes that the session has one task less."""
        shard = self._shards.get(session % SHARDS)
        place = shard.place_of(session) if shard is not None else None
        if shard is not None and place is not None and shard.counts[place]:
            shard.counts[place] -= 1

    def clear(self) -> None:
        """Forgets all sessions: none has a task here any more."""
        self._shards.clear()
