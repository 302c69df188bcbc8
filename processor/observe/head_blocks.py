"""`HeadBlock`: an unsettled task at the head of a partition, which the commit point waits for."""

from __future__ import annotations

from typing import Final

import msgspec

from processor.observe.consumer import ConsumerNow
from processor.observe.wording import duration, plain
from processor.telemetry.events import HeadOfLine, PartitionStats

LONG_SECONDS: Final = 10.0
"""A task unsettled for this long is reported even if it was seen only once."""

SHORTEST_SECONDS: Final = 2.0
"""A shorter block is not reported, even if it was seen twice: it is over before an operator can act on it."""

KEPT: Final = 50
"""The most past blocks that are kept; these are the longest ones."""

STATES: Final = {
    "running": "its handler is running",
    "parked": "waiting for its retry",
    "waiting": "waiting for a worker",
    "delivering": "its result or dead letter is being delivered",
    "delayed": "waiting for its earliest start time",
    "held": "waiting for its handler, which is suspended or at a limit",
    "joining": "waiting for other branches of its group",
    "paused": "paused by an operator",
    "blocked": "blocked by a handler of its session that still runs from an earlier assignment",
}

EXPLAINED: Final = {
    "held": ("processor.HandlerBusy", "processor.HandlerSuspended"),
    "joining": ("processor.Join",),
    "paused": ("processor.Paused",),
}
"""Error types by the state in which they are no failure of an attempt, but the reason why the task waits."""


class HeadBlock(msgspec.Struct, kw_only=True):
    """One unsettled task at the head of a partition, from `since` to `until` (seconds since the epoch)."""

    topic: str
    partition: int
    offset: int
    since: float
    """since when it is known that the commit point waits for it"""
    until: float
    """when it was last reported"""
    state_since: float
    state: str
    """a key of `STATES`; empty if the log does not have it"""
    session_id: str
    attempt: int
    error: str
    """error of its last attempt, or empty"""
    reason: str
    """what it waits for, if the log has more than its state; else empty"""
    gap: int
    """offsets from it to the highest settled one"""
    behind: int
    """tasks of its session that wait behind it"""
    retry_in_seconds: float | None
    consumer: ConsumerNow
    seen: int = 1
    """consecutive reports that have it"""

    @property
    def is_long(self) -> bool:
        """Whether it has really held up the commit point, and was not just the head when a report was made."""
        return self.seconds >= (SHORTEST_SECONDS if self.seen > 1 else LONG_SECONDS)

    def continues(self, before: HeadBlock) -> None:
        """Take over the start, the count and the error of the report before, which had the same task at the head."""
        self.seen += before.seen
        self.since = min(self.since, before.since)
        self.error = self.error or before.error

    @property
    def seconds(self) -> float:
        """Seconds for which it has blocked the commit point."""
        return self.until - self.since

    @property
    def place(self) -> str:
        """TOPIC[PARTITION]@OFFSET."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def why(self) -> str:
        """The reason in a few words, as far as the log has it."""
        words = self.reason or STATES.get(self.state, self.state or "unfinished")
        if self.state and self.state_since > self.since + 1:
            words += f" ({duration(self.until - self.state_since)})"
        if self.retry_in_seconds is not None:
            words += f", due in {duration(self.retry_in_seconds)}"
        if self.attempt:
            words += f", attempt {self.attempt}"
        return f"{words}, after {self.error}" if self.error else words


def head_block(stats: PartitionStats, at: float, consumer: ConsumerNow) -> HeadBlock | None:
    """Return what blocks the partition at `at` (seconds since the epoch), or None if everything is settled."""
    head = stats.head
    if head is None and not stats.in_flight:
        return None
    offset = head.offset if head is not None else stats.commit_point
    error, reason = _error_and_reason(head) if head is not None else ("", "")
    return HeadBlock(
        topic=plain(stats.topic),
        partition=stats.partition,
        offset=-1 if offset is None else offset,
        since=at - (head.state_seconds if head is not None else 0.0),
        until=at,
        state_since=at - (head.state_seconds if head is not None else 0.0),
        state=plain(head.state) if head is not None else "",
        session_id=plain(head.session_id) if head is not None else "",
        attempt=head.attempt if head is not None else 0,
        error=error,
        reason=reason,
        gap=stats.gap,
        behind=head.session_waiting if head is not None else 0,
        retry_in_seconds=head.retry_in_seconds if head is not None else None,
        consumer=consumer,
    )


def _error_and_reason(head: HeadOfLine) -> tuple[str, str]:
    explanations = EXPLAINED.get(head.state, ())
    if head.error_type in explanations:
        return "", plain(head.error or "")
    return error_line(head.error_type, head.error), ""


def error_line(error_type: str | None, error: str | None) -> str:
    """Return an error as the last line of its traceback has it, without the module of its type."""
    name = (error_type or "").rpartition(".")[2]
    return plain(": ".join(part for part in (name, error or "") if part))


class HeadBlocks:
    """The longest past blocks, in bounded memory."""

    def __init__(self) -> None:
        self._kept: list[HeadBlock] = []

    def note(self, block: HeadBlock) -> None:
        """Add a block that is over."""
        self._kept.append(block)
        if len(self._kept) > 2 * KEPT:
            self._kept = self.longest()

    def longest(self) -> list[HeadBlock]:
        """Return at most `KEPT` of them, the longest first."""
        return sorted(self._kept, key=lambda block: -block.seconds)[:KEPT]
