"""`Newest`: finds the newest records of a topic that match, by reading each partition backwards in growing steps."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final, NamedTuple

from processor.engine.record import Record
from processor.runtime.ports import Partition

FIRST_STEP: Final = 100
"""Offsets of each partition that are read first."""

GROWTH: Final = 4
"""Factor by which each step reads more offsets than the one before."""


class _Entry(NamedTuple):
    """A record, ordered by its timestamp, then by its place."""

    timestamp: int
    partition: int
    offset: int
    record: Record


class _Window:
    """The range of one partition that has been read."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.low = end
        self.matches = 0
        self.oldest: int | None = None
        """Timestamp of its oldest record that was read."""

    def is_complete(self, wanted: int, since: int) -> bool:
        """Return whether no record below the window can be among the newest.

        Args:
            wanted: how many records are wanted.
            since: the timestamp that a record must have at least, in milliseconds.
        """
        return self.matches >= wanted or self.is_exhausted(since)

    def is_exhausted(self, since: int) -> bool:
        """Return whether no record below the window has at least this timestamp."""
        return self.low <= self.begin or (self.oldest is not None and self.oldest < since)


class Newest:
    """Holds at most the wanted number of records. It assumes that timestamps ascend within a partition."""

    def __init__(self, wanted: int, bounds: Mapping[Partition, tuple[int, int]], since: int = -1) -> None:
        """Begins at the ends of the partitions.

        Args:
            wanted: how many records to find.
            bounds: the lowest offset and the end of each partition.
            since: the timestamp that a record must have at least, in milliseconds.
        """
        self._wanted = wanted
        self._since = since
        self._windows = {place: _Window(low, high) for place, (low, high) in bounds.items()}
        self._heap: list[_Entry] = []
        self._step = max(wanted, FIRST_STEP)
        self._dropped = False

    def step(self) -> dict[Partition, tuple[int, int]]:
        """Return which offsets to read next, by partition: the first, and the one after the last. Empty at the end."""
        is_full = len(self._heap) >= self._wanted
        since = max(self._since, self._heap[0].timestamp) if is_full else self._since
        ranges = {}
        for place, window in self._windows.items():
            if not window.is_complete(self._wanted, since):
                high = window.low
                window.low = max(window.begin, high - self._step)
                ranges[place] = (window.low, high)
        self._step *= GROWTH
        return ranges

    def note(self, record: Record, *, matches: bool) -> None:
        """Add a record that was read. `matches` is whether it is one of those that are wanted."""
        window = self._windows[Partition(record.topic(), record.partition())]
        kind, milliseconds = record.timestamp()
        timestamp = milliseconds if kind else -1
        window.oldest = timestamp if window.oldest is None else min(window.oldest, timestamp)
        if not matches or timestamp < self._since:
            return
        window.matches += 1
        entry = _Entry(timestamp, record.partition(), record.offset(), record)
        if len(self._heap) < self._wanted:
            heapq.heappush(self._heap, entry)
        else:
            self._dropped = True
            heapq.heappushpop(self._heap, entry)

    @property
    def left_out(self) -> bool:
        """Whether there are, or may be, more records that match."""
        return self._dropped or not all(window.is_exhausted(self._since) for window in self._windows.values())

    def records(self) -> list[Record]:
        """Return the newest, the oldest of them first."""
        return [entry.record for entry in sorted(self._heap)]
