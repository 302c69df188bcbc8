"""`Hold`: one unfinished task that a partition's commit point waits for."""

from __future__ import annotations

from typing import Final

import msgspec

from processor.observe.consumer import ConsumerNow
from processor.observe.wording import duration, plain
from processor.telemetry.reading import PartitionStatsTold

LONG_SECONDS: Final = 10.0
"""A task unsettled for so long is worth a word even when it was seen only once."""

SHORTEST_SECONDS: Final = 2.0
"""A shorter hold, though it was seen twice, is over before anybody could look."""

KEPT: Final = 50
"""Past holds that are remembered: the longest."""

STATES: Final = {
    "running": "its handler runs",
    "parked": "waits for its retry",
    "waiting": "waits for a worker",
    "delivering": "its dead letter or result is on its way",
    "blocked": "waits for a handler of its session that runs on from an earlier assignment",
}


class Hold(msgspec.Struct, kw_only=True):
    """The head of a partition's line, from `since` to `until` (seconds since the epoch)."""

    topic: str
    partition: int
    offset: int
    since: float
    """since when it is known to be what the commit point waits for"""
    until: float
    """when it was last seen to hold"""
    state_since: float
    state: str
    """of `STATES`; empty where the log does not tell"""
    session_id: str
    attempt: int
    error: str
    """what its last attempt failed with, or nothing"""
    gap: int
    """offsets from it to the highest settled one"""
    behind: int
    """tasks of its own session that wait for it"""
    retry_in_seconds: float | None
    consumer: ConsumerNow
    seen: int = 1
    """in so many statistics, one after the other"""

    @property
    def is_long(self) -> bool:
        """Whether the commit point waits for it, and not only passes by."""
        return self.seconds >= (SHORTEST_SECONDS if self.seen > 1 else LONG_SECONDS)

    def goes_on(self, before: Hold) -> None:
        """The statistics before had the same task at the head."""
        self.seen += before.seen
        self.since = min(self.since, before.since)
        self.error = self.error or before.error

    @property
    def seconds(self) -> float:
        """How long it has held."""
        return self.until - self.since

    @property
    def place(self) -> str:
        """TOPIC[PARTITION]@OFFSET."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def why(self) -> str:
        """In a few words, as far as the log tells."""
        words = STATES.get(self.state, self.state or "unfinished")
        if self.state_since > self.since + 1:
            words += f" ({duration(self.until - self.state_since)})"
        if self.retry_in_seconds is not None:
            words += f", due in {duration(self.retry_in_seconds)}"
        if self.attempt:
            words += f", attempt {self.attempt}"
        return f"{words}, after {self.error}" if self.error else words


def hold_of(told: PartitionStatsTold, at: float, consumer: ConsumerNow) -> Hold | None:
    """What holds the partition at `at` (seconds since the epoch), or None where all is settled."""
    head = told.head
    if head is None and not told.in_flight:
        return None
    offset = head.offset if head is not None else told.commit_point
    return Hold(
        topic=plain(told.topic),
        partition=told.partition,
        offset=-1 if offset is None else offset,
        since=at - (head.state_seconds if head is not None else 0.0),
        until=at,
        state_since=at - (head.state_seconds if head is not None else 0.0),
        state=plain(head.state) if head is not None else "",
        session_id=plain(head.session_id) if head is not None else "",
        attempt=head.attempt if head is not None else 0,
        error=error_of(head.error_type, head.error) if head is not None else "",
        gap=told.gap,
        behind=head.session_waiting if head is not None else 0,
        retry_in_seconds=head.retry_in_seconds if head is not None else None,
        consumer=consumer,
    )


def error_of(error_type: str | None, error: str | None) -> str:
    """An error as its traceback's last line tells it, without the module of its type."""
    name = (error_type or "").rpartition(".")[2]
    return plain(": ".join(part for part in (name, error or "") if part))


class Holds:
    """The past ones, the longest first; memory is bounded."""

    def __init__(self) -> None:
        self._kept: list[Hold] = []

    def note(self, hold: Hold) -> None:
        """One has ended."""
        self._kept.append(hold)
        if len(self._kept) > 2 * KEPT:
            self._kept = self.longest()

    def longest(self) -> list[Hold]:
        """At most `KEPT`."""
        return sorted(self._kept, key=lambda hold: -hold.seconds)[:KEPT]
