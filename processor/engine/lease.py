"""`Lease`: how long a consumer may assume that it owns its partitions.

The group evicts a member that is silent for longer than its session timeout, and assigns its partitions to others. The
evicted member learns of this last. Therefore each response of the group grants a lease: the member belonged to the
group when it sent the request, and keeps its partitions for most of a session from then on. Without a lease, a consumer
begins no task and asks the group.

This applies leases for caches: C. Gray, D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed
file cache consistency", SOSP 1989. Only durations are compared, never the clocks of two machines.
"""

from __future__ import annotations

from math import inf

LEASE_SHARE = 2 / 3
"""Length of the lease as a share of the session. The rest covers what the member cannot know: with KIP-848, a commit
proves membership but does not renew the session, and the last heartbeat may already be one interval old."""

RENEWAL_SHARE = 1 / 2
"""The lease is renewed when this share of it is left, unless other responses renew it before."""

ASLEEP_SECONDS = 3.0
"""A member whose thread did not run for this long was paused, or its machine was. Its lease is then void, since the
brokers may use shorter sessions than it assumes. The value is half of the shortest session that brokers allow by
default (`group.min.session.timeout.ms`)."""


class Lease:
    """A lease on the partitions. The thread that talks to the group renews it; every thread may read `until`."""

    __slots__ = ("_proven_at", "_seconds", "_ticked_at", "_woke_at", "until")

    def __init__(self, session_seconds: float) -> None:
        self.until = -inf
        """When the lease ends, in seconds of the monotonic clock. No task may begin at this time or later."""
        self._seconds = session_seconds * LEASE_SHARE
        self._proven_at = -inf
        self._ticked_at = inf
        self._woke_at = -inf

    def tick(self, now: float) -> float:
        """Records that the thread runs. Returns for how many seconds it did not, if that voids the lease; else 0."""
        pause = now - self._ticked_at
        self._ticked_at = now
        slept = pause if pause > ASLEEP_SECONDS else 0.0
        if slept:
            self._woke_at = now
            self._proven_at = -inf
        self._bound()
        return slept

    def renew(self, asked_at: float) -> None:
        """Records a response of the group to a member's request that was sent at `asked_at`.

        A request from before a pause is ignored: the response may be from before the pause too.
        """
        if asked_at >= self._woke_at:
            self._proven_at = max(self._proven_at, asked_at)
            self._bound()

    def holds(self, now: float) -> bool:
        """Return whether tasks may begin."""
        return now < self.until

    def renewal_due(self, now: float) -> bool:
        """Return whether to send the group a request."""
        return now - self._proven_at >= self._seconds * RENEWAL_SHARE

    def unproven_seconds(self, now: float) -> float:
        """Seconds since membership was last proven."""
        return now - max(self._proven_at, self._woke_at)

    def _bound(self) -> None:
        """Computes the end. It includes a pause of this thread: threads that wake earlier must not begin tasks."""
        self.until = min(self._proven_at + self._seconds, self._ticked_at + ASLEEP_SECONDS)
