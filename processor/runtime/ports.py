"""What the runtime needs from outside, as protocols: Kafka and a test's fakes fit the same sockets.

`Source` is called by the poller's thread only, its listener too. `Sink` may be called by every thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from processor.engine.record import Headers, Record
from processor.errors import DeliveryError
from processor.handlers.task import Content

__all__ = [
    "Codec",
    "Commit",
    "Content",
    "Delivered",
    "End",
    "Headers",
    "Listener",
    "Partition",
    "Record",
    "Sink",
    "Source",
    "Start",
]


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Start(NamedTuple):
    """Where an assigned partition goes on: what the group has committed for it."""

    partition: Partition
    offset: int | None
    """None where the group has committed nothing yet."""
    metadata: str


class Commit(NamedTuple):
    """What is to be committed for one partition."""

    partition: Partition
    offset: int
    metadata: str


class End(NamedTuple):
    """Everything below `offset` that will ever be delivered of a partition has been, for now."""

    partition: Partition
    offset: int


class Listener(Protocol):
    """Told of the group's decisions, in the poller's thread, from inside `Source.take` or `Source.close`."""

    def on_assign(self, starts: Sequence[Start]) -> None:
        """These partitions are the consumer's now."""

    def on_revoke(self, partitions: Sequence[Partition]) -> None:
        """These are to be given up in order: drain, commit, forget."""

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        """These are gone already: forget, commit nothing."""

    def on_reset(self, partition: Partition, offset: int) -> None:
        """What the consumer asked for next is not there (any more): the partition goes on at `offset`."""

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """A commit that was not waited for has ended, with an error or without; told once for those that were accepted,
        then once for those that were not.
        """


class Source(Protocol):
    """The consumer group's side of Kafka. One thread calls it."""

    session_seconds: float
    """How long the group waits for a member that is silent."""

    def open(self, listener: Listener) -> None:
        """Subscribes.

        Raises:
            BrokerError: no broker answers, or it does not let this client in.
            LoadError: a topic does not exist.
        """

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """At most `limit` records, waiting at most `seconds` for the first, and not for more.

        A record whose `error()` is not None is no record: give it to `interpret`.
        """

    def interpret(self, record: Record) -> End | None:
        """What a record with an error says: a partition's end, or nothing that matters.

        Raises:
            BrokerError: this client is not let in (any more).
        """

    def commit(self, commits: Sequence[Commit]) -> None:
        """Commits without waiting; the listener hears how it ended."""

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        """Commits and waits: None when it is done, else why not."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stops fetching these."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetches these again."""

    def ends(self) -> dict[Partition, int]:
        """The end offset of every partition of the subscribed topics now, where there is anything below it."""

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """What the group has committed, where it has."""

    def high_watermark(self, partition: Partition) -> int | None:
        """The last end offset that the client has heard of, without asking the broker."""

    def close(self) -> None:
        """Leaves the group."""


Delivered = Callable[[DeliveryError | None], None]
"""Called once a record is acknowledged, or is given up; from the sink's own thread; it must not block."""


class Sink(Protocol):
    """Where dead letters and results go. Any thread may call it."""

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, delivered: Delivered
    ) -> None:
        """Sends a record and returns; `delivered` hears how it ended, also when it could not even be queued."""

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for what is under way; how many records were not acknowledged."""


class Codec(Protocol):
    """Values in one format. Any thread may call it."""

    def decode(self, record: Record) -> Content:
        """What the record's value says; for a record without a value, a `Content` whose payload is None.

        Raises:
            DecodeError: the value cannot be read.
            NotNow: what is needed to read it cannot be had at the moment. Workers wait here: it must not block.
        """

    def encode_result(self, task: Any, result: Any) -> bytes:
        """A handler's return value as the results topic's value.

        Raises:
            EncodeError: it cannot be written in this format.
        """
