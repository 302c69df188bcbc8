"""`Tally`: the outcome of the tasks that were sent, from the broker's acknowledgements."""

from __future__ import annotations

from collections import deque

from processor.errors import BrokerError
from processor.kafka.delivery_future import DeliveryFuture

SESSIONS_COUNTED = 1_000_000
"""The most sessions that are counted exactly: each takes about 100 bytes."""

MOST_OPEN = 200_000
"""The most tasks that are remembered: those behind a task of a slow partition must not fill the memory."""


class Tally:
    """Handles acknowledgements in the order of sending, which keeps the check of the order simple.

    A partition's offsets must ascend, and a session must stay on its partition.
    """

    def __init__(self) -> None:
        self._open: deque[tuple[str | None, DeliveryFuture]] = deque()
        self._offsets: dict[int, int] = {}
        self._partition_of: dict[int, int] = {}
        self.delivered = 0
        self.undelivered = 0
        self.more_sessions = False
        self.first_failure: BaseException | None = None
        self.disorder: str | None = None
        """The first violation of the order of sending; None if there is none."""
        self.shut_out = False
        """Whether a broker is gone or denies access, so that no further task can be sent."""

    @property
    def sessions(self) -> int:
        """Number of sessions with tasks that were delivered; see `more_sessions`."""
        return len(self._partition_of)

    @property
    def partitions(self) -> int:
        """Number of partitions to which tasks were delivered."""
        return len(self._offsets)

    def sent(self, session_id: str | None, sent: DeliveryFuture) -> None:
        """Record that a task was submitted. Wait if too many are not acknowledged.

        Args:
            session_id: the session of the task; None for a group, whose record belongs to no session.
            sent: its delivery.
        """
        self._open.append((session_id, sent))
        if len(self._open) >= MOST_OPEN:
            self._open[0][1].exception()
        self.settle()

    def settle(self) -> None:
        """Counts the tasks whose delivery has ended, up to the first one whose delivery has not."""
        while self._open and self._open[0][1].done():
            session_id, sent = self._open.popleft()
            failure = sent.exception()
            if failure is None:
                self._count(session_id, *sent.result()[1:])
            else:
                self.undelivered += 1
                self.first_failure = self.first_failure or failure
                self.shut_out = self.shut_out or isinstance(failure.__cause__, BrokerError)

    def _count(self, session_id: str | None, partition: int, offset: int) -> None:
        self.delivered += 1
        before = self._offsets.setdefault(partition, -1)
        if offset >= 0:  # else its place is not known
            self._offsets[partition] = offset
            if offset <= before:
                self._report(f"partition {partition}: offset {offset} after {before}")
        if session_id is not None:
            self._count_session(session_id, partition)

    def _count_session(self, session_id: str, partition: int) -> None:
        # Hashes, not texts, since there may be a million sessions. 64 bits distinguish them.
        session = hash(session_id)
        if len(self._partition_of) < SESSIONS_COUNTED:
            self._stay(session_id, self._partition_of.setdefault(session, partition), partition)
        elif session in self._partition_of:
            self._stay(session_id, self._partition_of[session], partition)
        else:
            self.more_sessions = True

    def _stay(self, session_id: str, first: int, now: int) -> None:
        if first != now:
            self._report(f"session {session_id!r} is on partitions {first} and {now}: partitions were added meanwhile")

    def _report(self, disorder: str) -> None:
        self.disorder = self.disorder or disorder
