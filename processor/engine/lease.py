"""How long a consumer may believe that its partitions are its own.

The group gives a member up that is silent for longer than its session, and gives its partitions to
another; the member itself is the last to hear of it. So each answer of the group is a lease: the
member was one when it asked, and will be one for most of a session from then on. Who holds no lease
begins nothing, and asks.

The reasoning is that of leases for caches: C. Gray, D. Cheriton, "Leases: an efficient
fault-tolerant mechanism for distributed file cache consistency", SOSP 1989. Only the passing of time is
compared, never two machines' clocks.
"""

from __future__ import annotations

from math import inf

LEASE_SHARE = 2 / 3
"""Of the session. The rest is for what the member cannot know: with KIP-848 a commit proves membership and renews
no session, so the last heartbeat that did may be an interval old already."""

RENEWAL_SHARE = 1 / 2
"""Of the lease: it is renewed when so much of it is left, while nothing else renews it."""

ASLEEP_SECONDS = 3.0
"""A member that did nothing for so long was not running: it was paused, or its machine was. What it knew before counts
for nothing when it wakes, since its broker may have shorter sessions than it believes. Half of the shortest
session that brokers allow by default (`group.min.session.timeout.ms`)."""


class Lease:
    """Renewed by the thread that talks to the group; every thread may read `until`."""

    __slots__ = ("_proven_at", "_seconds", "_ticked_at", "_woke_at", "until")

    def __init__(self, session_seconds: float) -> None:
        self.until = -inf
        """Begin nothing at this moment or later; seconds of the monotonic clock."""
        self._seconds = session_seconds * LEASE_SHARE
        self._proven_at = -inf
        self._ticked_at = inf
        self._woke_at = -inf

    def tick(self, now: float) -> float:
        """The thread is awake; for how many seconds it was not, where that was too long, else 0."""
        pause = now - self._ticked_at
        self._ticked_at = now
        slept = pause if pause > ASLEEP_SECONDS else 0.0
        if slept:
            self._woke_at = now
            self._proven_at = -inf
        self._bound()
        return slept

    def renew(self, asked_at: float) -> None:
        """The group has answered, as it answers a member, what it was asked at that moment.

        What was asked before a sleep may have been answered before it, too.
        """
        if asked_at >= self._woke_at:
            self._proven_at = max(self._proven_at, asked_at)
            self._bound()

    def holds(self, now: float) -> bool:
        """Whether anything may be begun."""
        return now < self.until

    def renewal_due(self, now: float) -> bool:
        """Whether the group should be asked."""
        return now - self._proven_at >= self._seconds * RENEWAL_SHARE

    def unproven_seconds(self, now: float) -> float:
        """Seconds since this was a member for sure."""
        return now - max(self._proven_at, self._woke_at)

    def _bound(self) -> None:
        """Also by this thread's sleep: others that wake before it must not begin what it would have forbidden."""
        self.until = min(self._proven_at + self._seconds, self._ticked_at + ASLEEP_SECONDS)
