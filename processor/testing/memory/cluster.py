"""Kafka in memory: the topics of one cluster, and its one consumer group.

With `source` and `sink` it fulfils the contracts in `processor/runtime/ports.py`, which tests/ports verifies. It does
not show how Kafka behaves: a rebalance takes place between two calls, and no message is late, lost or sent twice.
"""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from processor.engine.record import Headers
from processor.runtime.ports import Commit, MetadataTooLarge, Partition

CREATE_TIME: Final = 1
"""Kafka's number for a timestamp that the producer set."""

MOST_METADATA: Final = 4096
"""The most bytes of a commit's metadata: the brokers' default for `offset.metadata.max.bytes`."""


class MemoryRecord:
    """One record; or, with an error, the end of a partition."""

    __slots__ = ("_error", "_headers", "_key", "_offset", "_partition", "_timestamp", "_topic", "_value")

    def __init__(  # noqa: PLR0913 — what a record consists of
        self,
        partition: Partition,
        offset: int,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Headers | None = None,
        *,
        timestamp: int | None = None,
        error: str | None = None,
    ) -> None:
        """`timestamp` is in epoch milliseconds; None is now."""
        self._topic, self._partition = partition
        self._offset = offset
        self._key = key
        self._value = value
        self._headers = headers
        self._timestamp = time.time_ns() // 1_000_000 if timestamp is None else timestamp
        self._error = error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return self._headers or None

    def timestamp(self) -> tuple[int, int]:
        return CREATE_TIME, self._timestamp

    def error(self) -> object | None:
        return self._error


class GroupMember(Protocol):
    """The part of a member that the group reads."""

    topics: Sequence[str]
    positions: dict[Partition, int]
    """The next offset of each partition that it has."""


class Log:
    """The records of one partition, ascending. Offsets may have holes."""

    def __init__(self) -> None:
        self.records: list[MemoryRecord] = []
        self.start = 0
        """The lowest offset that retention has not deleted."""
        self.end = 0
        """The offset that the next record gets."""

    def append(self, record: MemoryRecord) -> None:
        """Appends a record, whose offset is the end or a higher one."""
        assert record.offset() >= self.end, f"offset {record.offset()} is below the end, {self.end}"
        self.records.append(record)
        self.end = record.offset() + 1

    def read(self, offset: int, limit: int) -> list[MemoryRecord]:
        """Return at most `limit` records from this offset on."""
        first = bisect_left(self.records, offset, key=MemoryRecord.offset)
        return self.records[first : first + limit]


class MemoryCluster:
    """The cluster, and what its group has committed.

    Mutable state: all of it, and that of the group's members, is read and changed under `changed`, which is notified.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.most_metadata = MOST_METADATA
        self.logs: dict[Partition, Log] = {}
        self.committed: dict[Partition, Commit] = {}
        self.members: list[GroupMember] = []
        """The group's members. Removing one from this list evicts it: it loses its partitions, and joins again."""
        self._keyless = itertools.count()

    def create_topic(self, topic: str, partitions: int) -> None:
        """Creates a topic; it replaces one of the same name."""
        with self.changed:
            self.logs = {place: log for place, log in self.logs.items() if place.topic != topic}
            self.logs.update({Partition(topic, number): Log() for number in range(partitions)})
            self.changed.notify_all()

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        partition: int | None = None,
    ) -> MemoryRecord:
        """Appends a record to `partition`, or else to the partition of its key, and returns it.

        A topic that does not exist is created.
        """
        with self.changed:
            partitions = [place for place in self.logs if place.topic == topic]
            if not partitions:
                partitions = [Partition(topic, 0)]
                self.logs[partitions[0]] = Log()
            number = next(self._keyless) if key is None else zlib.crc32(key)
            place = partitions[number % len(partitions)] if partition is None else Partition(topic, partition)
            record = MemoryRecord(place, self.logs[place].end, key, value, headers)
            self.logs[place].append(record)
            self.changed.notify_all()
            return record

    def records(self, topic: str) -> list[MemoryRecord]:
        """Return the topic's records, by partition and offset."""
        with self.changed:
            return [record for place, log in self.logs.items() if place.topic == topic for record in log.records]

    def is_done(self, topic: str) -> bool:
        """Return whether the group has committed the end of each partition that is not empty."""
        with self.changed:
            logs = [(place, log) for place, log in self.logs.items() if place.topic == topic and log.end > log.start]
            committed = self.committed
            return all(place in committed and committed[place].offset >= log.end for place, log in logs)

    def state(self) -> tuple[dict[Partition, int], dict[Partition, Commit]]:
        """Return the end of each partition, and the group's commits."""
        with self.changed:
            return {place: log.end for place, log in self.logs.items()}, dict(self.committed)

    def share_of(self, member: GroupMember) -> set[Partition]:
        """Return the partitions that a member should have. The caller holds `changed`.

        Partitions are assigned to the members in turn, in the order in which the members joined.
        """
        partitions = sorted(place for place in self.logs if place.topic in member.topics)
        return set(partitions[self.members.index(member) :: len(self.members)])

    def free(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those of the partitions that no member has. The caller holds `changed`."""
        return sorted(set(partitions).difference(*(member.positions for member in self.members)))

    def commit(self, member: GroupMember, commits: Sequence[Commit], *, whole: bool = False) -> str | None:
        """Stores the commits that are accepted; with `whole`, all or none. Return why others were refused, or None."""
        with self.changed:
            if member not in self.members:
                return "Unknown member"
            accepted = [commit for commit in commits if len(commit.metadata.encode()) <= self.most_metadata]
            if len(accepted) == len(commits) or not whole:
                self.committed.update({commit.partition: commit for commit in accepted})
            self.changed.notify_all()
        refused = [commit.partition for commit in commits if commit not in accepted]
        return MetadataTooLarge("Offset metadata string too large", refused) if refused else None
