"""`LastDues`: the second in which each session's last task is due, in twelve bytes for each of a million sessions."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import compress

SHARDS = 1024
"""Sorted arrays that sessions are spread over. A new session moves half of one: 8 KB with a million sessions."""

LEAST_PURGED = 64
"""A shard with fewer sessions is not searched for those that are over."""


class _Shard:
    """Sessions in ascending order."""

    __slots__ = ("dues", "limit", "sessions")

    def __init__(self) -> None:
        self.sessions = array("q")
        self.dues = array("I")
        self.limit = LEAST_PURGED
        """With so many sessions, the shard is searched for those that are over."""

    def purge(self, before: int) -> None:
        left = [due >= before for due in self.dues]
        self.sessions = array("q", compress(self.sessions, left))
        self.dues = array("I", compress(self.dues, left))
        self.limit = max(LEAST_PURGED, 3 * len(self.dues) // 2)


class LastDues:
    """Due seconds by session, which is a signed 64-bit number."""

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}

    def __len__(self) -> int:
        return sum(len(shard.dues) for shard in self._shards.values())

    def get(self, session: int) -> int | None:
        """Return the due second of the session's last task; None where it has none here."""
        shard = self._shards.get(session % SHARDS)
        if shard is None:
            return None
        place = bisect_left(shard.sessions, session)
        is_here = place < len(shard.sessions) and shard.sessions[place] == session
        return shard.dues[place] if is_here else None

    def put(self, session: int, due: int, before: int) -> None:
        """Notes the due second of the session's last task. Sessions whose last one was due `before` may be dropped."""
        shard = self._shards.get(session % SHARDS)
        if shard is None:
            shard = self._shards[session % SHARDS] = _Shard()
        elif len(shard.dues) >= shard.limit:
            shard.purge(before)
        place = bisect_left(shard.sessions, session)
        if place < len(shard.sessions) and shard.sessions[place] == session:
            shard.dues[place] = due
        else:
            shard.sessions.insert(place, session)
            shard.dues.insert(place, due)

    def clear(self) -> None:
        """Forgets all sessions: none has a task here any more."""
        self._shards.clear()
