"""`MemoryReader`: reads the in-memory Kafka outside of the group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from processor.engine.record import Record
from processor.runtime.ports import End, Lost, Partition
from processor.testing.memory.cluster import MemoryCluster, MemoryRecord

END: Final = "end of partition"
LOST: Final = "offset out of range"
"""The errors of a record."""


class MemoryReader:
    """Implements the `Reader` port."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._positions: dict[Partition, int] = {}
        self._ended: set[Partition] = set()
        """Partitions whose end was reported."""

    def begin(self, partition: Partition, offset: int) -> None:
        """Delivers the partition from this offset on."""
        self._positions[partition] = offset
        self._ended.discard(partition)

    def end(self, partition: Partition) -> None:
        """Stops the delivery of the partition."""
        del self._positions[partition]

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records. If there are none, wait for them for at most `seconds`."""
        deadline = time.monotonic() + seconds
        with self._cluster.changed:
            while not (taken := self._read(limit)) and (left := deadline - time.monotonic()) > 0:
                self._cluster.changed.wait(left)
            return taken

    def interpret(self, record: Record) -> End | Lost | None:
        """Return the meaning of a record with an error: the end of a partition, or the offset after lost records."""
        partition = Partition(record.topic(), record.partition())
        return End(partition, record.offset()) if record.error() == END else Lost(partition, record.offset())

    def close(self) -> None:
        """Stops the delivery of all partitions."""
        self._positions.clear()

    def _read(self, limit: int) -> list[MemoryRecord]:
        taken: list[MemoryRecord] = []
        for partition, position in self._positions.items():
            log = self._cluster.logs[partition]
            if partition in self._ended or len(taken) >= limit:
                continue
            if not log.start <= position <= log.end:
                taken.append(MemoryRecord(partition, log.start, error=LOST))
                self._ended.add(partition)
                continue
            records = log.read(position, limit - len(taken))
            taken += records
            if not records:
                taken.append(MemoryRecord(partition, log.end, error=END))
                self._ended.add(partition)
            else:
                self._positions[partition] = records[-1].offset() + 1
        return taken
