"""What the demo's broker has at the end: the dead letters, and how far the group has committed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from processor.errors import BrokerError
from processor.kafka.source import KafkaSource
from processor.runtime.ports import Commit, Partition, Record, Start
from processor.settings import Settings
from processor.telemetry.events import Event

READ_SECONDS = 20.0


class _Reader:
    """A listener to whom the group's decisions mean nothing: it reads a topic once and commits nothing."""

    def on_assign(self, starts: Sequence[Start]) -> None: ...

    def on_revoke(self, partitions: Sequence[Partition]) -> None: ...

    def on_lose(self, partitions: Sequence[Partition]) -> None: ...

    def on_reset(self, partition: Partition, offset: int) -> None: ...

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None: ...


def read_topic(topic: str, bootstrap_servers: str) -> list[Record]:
    """All records that are in `topic` now.

    Raises:
        BrokerError: they cannot be read within twenty seconds.
    """
    settings = Settings(
        topics=(topic,), group="demo-report", bootstrap_servers=bootstrap_servers, group_protocol="consumer"
    )
    source = KafkaSource(settings, 0, _ignore)
    try:
        open_ends = source.ends()
        source.open(_Reader())
        return _read(source, open_ends)
    finally:
        source.close()


def _read(source: KafkaSource, open_ends: dict[Partition, int]) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + READ_SECONDS
    while open_ends:
        if time.monotonic() > deadline:
            raise BrokerError(f"the dead letters cannot be read: partitions {', '.join(map(str, open_ends))}")
        for record in source.take(1000, 0.2):
            if record.error() is not None:
                source.interpret(record)
                continue
            records.append(record)
            partition = Partition(record.topic(), record.partition())
            if record.offset() + 1 >= open_ends.get(partition, 0):
                open_ends.pop(partition, None)
    return records


def lag_of(settings: Settings) -> dict[str, int]:
    """What the group has not committed of each partition that has records, by the partition's name."""
    source = KafkaSource(settings, 0, _ignore)
    try:
        ends = source.ends()
        committed = source.committed(list(ends))
        return {str(partition): end - committed.get(partition, 0) for partition, end in ends.items()}
    finally:
        source.close()


def _ignore(event: Event) -> None:
    """What the client says of its connections is nobody's concern here."""
