"""What the demo's fleet is doing, as its consumers' log tells."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec

HISTORY: Final = 60
"""How many readings of the throughput are kept."""


FIGURES: Final = (
    "tasks_per_second",
    "in_flight",
    "running",
    "active_sessions",
    "succeeded",
    "retried",
    "dead_lettered",
)
"""Fields of `consumer.stats` that are shown."""


class ConsumerNow(msgspec.Struct):
    """One consumer, by its last words."""

    index: int
    state: str = "starting"
    partitions: int = 0
    tasks_per_second: float = 0.0
    in_flight: int = 0
    running: int = 0
    active_sessions: int = 0
    succeeded: int = 0
    retried: int = 0
    dead_lettered: int = 0


class PartitionNow(msgspec.Struct):
    """One partition, by its consumer's last words."""

    number: int
    consumer: int
    lag: int | None
    commit_point: int | None
    committed: int | None
    gap: int
    active_sessions: int


class Watch:
    """Follows the log's file. One thread calls it.

    Args:
        log: JSON lines that the consumers append to.
        consumers: how many there are.
        partitions: of the topic.
        tasks: how many were produced.
    """

    def __init__(self, log: Path, consumers: int, partitions: int, tasks: int) -> None:
        self.consumers = [ConsumerNow(index) for index in range(consumers)]
        self.partitions: dict[int, PartitionNow] = {}
        self.throughput: deque[float] = deque(maxlen=HISTORY)
        self.tasks = tasks
        self.partition_count = partitions
        self._log = log
        self._read_until = 0
        self._rest = b""

    @property
    def settled(self) -> int:
        """Tasks done or dead-lettered, in all."""
        return sum(consumer.succeeded + consumer.dead_lettered for consumer in self.consumers)

    @property
    def lag(self) -> int:
        """Records that are not committed; all of them while no consumer has said otherwise."""
        if len(self.partitions) < self.partition_count:
            return self.tasks - self.settled
        return sum(partition.lag or 0 for partition in self.partitions.values())

    @property
    def is_done(self) -> bool:
        """Whether the group has committed all of it: the demo's offsets begin at 0 and have no holes.

        Not what consumers have counted: one that was killed and replaced counts anew.
        """
        return sum(partition.committed or 0 for partition in list(self.partitions.values())) >= self.tasks

    def total(self, field: str) -> float:
        """A figure of all consumers, summed."""
        return float(sum(getattr(consumer, field) for consumer in self.consumers))

    def look(self) -> None:
        """Reads what the log has got since the last look."""
        with self._log.open("rb") as log:
            log.seek(self._read_until)
            fresh = log.read()
        self._read_until += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        for line in lines:
            self._hear(line)
        if 0 < self.settled < self.tasks:
            self.throughput.append(self.total("tasks_per_second"))

    def _hear(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line)
            consumer = self.consumers[event["consumer"]]
        except (msgspec.DecodeError, KeyError, TypeError, IndexError):  # a line of Python's or of the fleet's parent
            return
        match event.get("event"):
            case "consumer.started":
                consumer.state = "joining"
            case "consumer.assigned":
                consumer.state = "working"
            case "consumer.stopping":
                consumer.state = "stopping"
            case "consumer.stopped":
                consumer.state, consumer.tasks_per_second = "stopped", 0.0
            case "consumer.stats":
                self._note(consumer, event)
            case "partition.stats":
                self._note_partition(consumer, event)

    def _note(self, consumer: ConsumerNow, stats: dict[str, Any]) -> None:
        for field in FIGURES:
            setattr(consumer, field, stats[field])
        consumer.partitions = stats["assigned_partitions"]

    def _note_partition(self, consumer: ConsumerNow, told: dict[str, Any]) -> None:
        number = told["partition"]
        self.partitions[number] = PartitionNow(
            number,
            consumer.index,
            told["lag"],
            told["commit_point"],
            told["committed"],
            told["gap"],
            told["active_sessions"],
        )
