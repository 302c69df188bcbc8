"""`StopAtEnd`: detects, for `--stop-at-end`, that everything is settled that the topics had at the start."""

from __future__ import annotations

from time import monotonic, time

from processor.runtime.desk import Desk
from processor.runtime.membership import Membership
from processor.runtime.ports import Partition, Source

ASK_SECONDS = 0.5
"""Time between two requests for the group's offsets in partitions of other consumers."""

CHECK_SECONDS = 0.05
"""The shortest time between two checks."""

RESTS = 10
"""Checks take at most a tenth of the time: each examines every arrival that waits."""

EXPIRY_SECONDS = 60.0
"""A join that waits for a branch is left to the next run, unless it expires within this time."""


class StopAtEnd:
    """Detects the end: every partition of the topics, also those of other consumers, is settled up to the end offset
    that it had at the start.

    The group's offsets are requested only while this consumer is a member. A coordinator answers the requests of a
    connection one after the other: this one would wait behind a join that waits for a dead member, and the poller with
    it.
    """

    def __init__(self, source: Source, desk: Desk, membership: Membership) -> None:
        self._source = source
        self._desk = desk
        self._membership = membership
        self._open: dict[Partition, int] | None = None
        """The ends that are not reached yet; None before the start."""
        self._next_check = 0.0
        self._next_question = 0.0

    def begin(self) -> None:
        """Notes the present ends of the topics' partitions."""
        self._open = self._source.ends()

    def is_reached(self) -> bool:
        """Return whether everything below the noted ends is settled."""
        assert self._open is not None
        now = monotonic()
        if now >= self._next_check:
            self._close_own(self._open)
            self._next_check = now + max(CHECK_SECONDS, RESTS * (monotonic() - now))
            if self._open and now >= self._next_question and self._may_ask(self._open):
                self._next_question = now + ASK_SECONDS
                self._close_committed(self._open)
        return not self._open

    def _may_ask(self, open_ends: dict[Partition, int]) -> bool:
        return self._membership.in_group and not any(partition in self._desk.partitions for partition in open_ends)

    def _close_own(self, open_ends: dict[Partition, int]) -> None:
        for partition, point in self._desk.commits.unkept_points(list(open_ends), time() + EXPIRY_SECONDS).items():
            if point >= open_ends[partition]:
                del open_ends[partition]

    def _close_committed(self, open_ends: dict[Partition, int]) -> None:
        """Removes partitions of other consumers: one is done when the group has committed its end."""
        for partition, offset in self._source.committed(list(open_ends)).items():
            if offset >= open_ends.get(partition, offset + 1):
                del open_ends[partition]
