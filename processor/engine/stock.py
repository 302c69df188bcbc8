"""Records that were fetched but not admitted yet: a queue per partition, so that none waits behind another's backlog.

A Kafka client hands out the records of all partitions through one queue, in the order in which fetches returned. If one
full partition stopped the consumer from taking records, it would hold back all others. So everything is taken, and
waits here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from processor.engine.record import Record

P = TypeVar("P", bound=Hashable)


class Mark(Protocol):
    """A mark between records."""

    @property
    def offset(self) -> int:
        """The records before it are below this offset."""


M = TypeVar("M", bound=Mark)


def _offset_of(record: Record) -> int:
    return record.offset()


class Usage(NamedTuple):
    """Tasks of one partition, and their bytes."""

    tasks: int
    bytes: int


NOTHING = Usage(0, 0)


class Run(NamedTuple):
    """Records of one partition that were fetched together, and their bytes."""

    records: Sequence[Record]
    size: int


class _Queue(Generic[M]):
    """One partition's runs of records, and marks between them."""

    __slots__ = ("bytes", "entries", "tasks")

    def __init__(self) -> None:
        self.entries: deque[Run | M] = deque()
        self.tasks = 0
        self.bytes = 0


class Stock(Generic[P, M]):
    """Records by partition, in the order in which they were fetched; `M` is what may be marked between them."""

    def __init__(self) -> None:
        self.taken: dict[P, int] = {}
        """How many records were taken of each partition since its first ones were put in."""
        self._queues: dict[P, _Queue[M]] = {}

    def __len__(self) -> int:
        """Return of how many partitions anything waits."""
        return len(self._queues)

    def __contains__(self, partition: P) -> bool:
        return partition in self._queues

    @property
    def partitions(self) -> list[P]:
        """The partitions of which something waits."""
        return list(self._queues)

    def usage(self, partition: P) -> Usage:
        """Return how much of the partition waits."""
        queue = self._queues.get(partition)
        return Usage(queue.tasks, queue.bytes) if queue is not None else NOTHING

    def usages(self) -> dict[P, Usage]:
        """Return how much waits of each partition of which anything does."""
        return {partition: Usage(queue.tasks, queue.bytes) for partition, queue in self._queues.items()}

    def put(self, partition: P, records: Sequence[Record], size: int) -> None:
        """Appends a run of records, at least one, of `size` bytes together."""
        queue = self._queue(partition)
        queue.entries.append(Run(records, size))
        queue.tasks += len(records)
        queue.bytes += size

    def mark(self, partition: P, mark: M) -> None:
        """Appends a mark: `take` returns it once everything before it was taken."""
        self._queue(partition).entries.append(mark)

    def is_blocked(self, partition: P, gate: int) -> bool:
        """Return whether the partition's next entry is at or above the gate, so that `take` would return nothing."""
        queue = self._queues.get(partition)
        return queue is not None and not self._below(queue.entries[0], gate)

    def take(self, partition: P, count: int, gate: int | None = None) -> list[Run | M]:
        """Take out at most `count` records of the partition, in runs, with the marks between and right behind them.

        With a gate, only records below that offset are taken, and marks at it or below.
        """
        queue = self._queues.get(partition)
        taken: list[Run | M] = []
        while queue is not None and queue.entries:
            entry = queue.entries[0]
            below = count
            if gate is not None:
                below = self._below(entry, gate)
                if not below:
                    break
            if not isinstance(entry, Run):
                queue.entries.popleft()
                taken.append(entry)
                continue
            if count <= 0:
                break
            run = self._split(queue, entry, min(count, below))
            count -= len(run.records)
            taken.append(run)
            self.taken[partition] = self.taken.get(partition, 0) + len(run.records)
        if queue is not None and not queue.entries:
            del self._queues[partition]
        return taken

    def forget(self, partition: P) -> None:
        """Forgets a partition that no longer belongs to this consumer."""
        self._queues.pop(partition, None)
        self.taken.pop(partition, None)

    def _queue(self, partition: P) -> _Queue[M]:
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = _Queue()
        return queue

    @staticmethod
    def _below(entry: Run | M, gate: int) -> int:
        """Return how many records of the entry are below the gate; 1 for a mark that is not above it."""
        if not isinstance(entry, Run):
            return int(entry.offset <= gate)
        return bisect_left(entry.records, gate, key=_offset_of)

    @staticmethod
    def _split(queue: _Queue[M], run: Run, count: int) -> Run:
        """Takes at most `count` records off the first run. Their bytes are the run's, evenly divided."""
        records, size = run
        if len(records) <= count:
            queue.entries.popleft()
        else:
            part = size * count // len(records)
            queue.entries[0] = Run(records[count:], size - part)
            run = Run(records[:count], part)
        queue.tasks -= len(run.records)
        queue.bytes -= run.size
        return run
