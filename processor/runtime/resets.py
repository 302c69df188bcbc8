"""`Resets`: continues a partition whose offsets have moved back, or whose next records are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from processor.engine.offsets import Range
from processor.runtime.commits.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.ports import Partition
from processor.telemetry.events import ConsumerOffsetsMissed, ConsumerOffsetsRewound, Emit

MOST_SPANS = 100
"""The most ranges of missed offsets in one log line."""


class Reset(NamedTuple):
    """The next offset of a partition does not exist: the partition continues at `offset`."""

    partition: Partition
    offset: int


class Resets:
    """Belongs to the poller's thread."""

    def __init__(self, desk: Desk, committer: Committer, emit: Emit) -> None:
        self._partitions = desk.partitions
        self._committer = committer
        self._emit = emit

    def carry_out(self, reset: Reset) -> None:
        """Continues a partition where its records do: the next ones were deleted, or the topic was recreated."""
        partition, offset = reset
        if self._partitions.is_draining or partition not in self._partitions:
            return
        if not self._partitions.continues_at(partition, offset):
            self.restart(partition, offset)
            return
        missed = self._partitions.miss(partition, offset)
        if missed:
            self._emit(missed_event(partition, missed, offset))

    def restart(self, partition: Partition, offset: int) -> None:
        """Begins a partition again whose offsets moved back. Its present tasks are dropped: their records are gone, or
        will come again.
        """
        expected = self._partitions.position(partition)
        discarded = self._partitions.restart(partition, offset)
        self._committer.forget([partition])
        self._emit(
            ConsumerOffsetsRewound(
                topic=partition.topic,
                partition=partition.number,
                expected_offset=expected,
                offset=offset,
                discarded=discarded,
            )
        )


def missed_event(partition: Partition, missed: Sequence[Range], next_offset: int) -> ConsumerOffsetsMissed:
    """Return the event that reports these ranges, after which the partition continues at `next_offset`."""
    return ConsumerOffsetsMissed(
        topic=partition.topic,
        partition=partition.number,
        missed_offsets=sum(high - low for low, high in missed),
        offsets=[_span(low, high) for low, high in missed[:MOST_SPANS]],
        next_offset=next_offset,
    )


def _span(low: int, high: int) -> str:
    return str(low) if high == low + 1 else f"{low}-{high - 1}"
