"""The interfaces that the runtime needs, as protocols that Kafka and the in-memory Kafka of tests implement.

Only the poller's thread calls a `Source`, and is called by it as the listener. Any thread may call a `Sink`. The tests
in tests/ports check every implementation against the contracts in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, Protocol, Self

from processor.engine.record import Headers, Record
from processor.errors import DeliveryError
from processor.handlers.task import Content, Decoded

__all__ = [
    "RELEASE_MARGIN_SECONDS",
    "Codec",
    "Commit",
    "Content",
    "Delivered",
    "End",
    "Headers",
    "Listener",
    "Lost",
    "MapLog",
    "MapRecord",
    "MetadataTooLarge",
    "OutputRecord",
    "OutputsRefused",
    "Partition",
    "Place",
    "Reader",
    "Record",
    "Sink",
    "Source",
    "Start",
    "Survey",
]

RELEASE_MARGIN_SECONDS: Final = 30.0
"""What a drain leaves of `Source.poll_seconds` for its last commit and for the messages between it and the group."""


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Start(NamedTuple):
    """The start of an assigned partition: what the group has committed for it."""

    partition: Partition
    offset: int | None
    """None if the group has committed nothing yet."""
    metadata: str
    end: int | None = None
    """The end of the partition after that commit was read; None if it was not requested, or no broker has responded."""


class Commit(NamedTuple):
    """The commit of one partition."""

    partition: Partition
    offset: int
    metadata: str


class Place(NamedTuple):
    """The position of a record."""

    partition: Partition
    offset: int


class MapRecord(NamedTuple):
    """A skip map that does not fit into a commit's metadata, as a record of the progress topic."""

    key: bytes | None
    value: bytes | None


class End(NamedTuple):
    """The end of a partition: no further record below `offset` will be delivered."""

    partition: Partition
    offset: int


class Lost(NamedTuple):
    """The log of a partition begins at `offset` now: everything below is deleted."""

    partition: Partition
    offset: int


class MetadataTooLarge(str):
    """Why a commit was refused: the brokers do not accept this much metadata for these partitions."""

    partitions: frozenset[Partition]

    def __new__(cls, reason: str, partitions: Iterable[Partition]) -> Self:
        """Return the broker's reason as a text, with the partitions that it is about."""
        made = super().__new__(cls, reason)
        made.partitions = frozenset(partitions)
        return made


class NotSent(str):
    """Why a commit was not sent to the group. It does not count as a failure: the next commit covers the same tasks."""

    __slots__ = ()


class OutputRecord(NamedTuple):
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    """None for the partition of its key."""

    @property
    def size(self) -> int:
        """Size of key, value and headers in bytes."""
        headers = sum(len(name) + len(text or b"") for name, text in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class OutputsRefused(str):
    """Why a commit was refused: topics do not accept some of its outputs. Without these it may be accepted."""

    refused: Mapping[int, str]
    """The reason for each refused output, by its index among the commit's outputs."""

    def __new__(cls, refused: Mapping[int, str]) -> Self:
        """Return the first reason, with all of them."""
        made = super().__new__(cls, next(iter(refused.values())))
        made.refused = refused
        return made


class Survey(NamedTuple):
    """The bounds of all partitions of some topics, and what the group has committed of them."""

    bounds: Mapping[Partition, tuple[int, int]]
    """The lowest offset of each partition, and the one at which the next record is written, open transactions
    included."""
    committed: Mapping[Partition, Commit]
    """The commits of those partitions that have one."""


class Listener(Protocol):
    """Receives the group's decisions, in the poller's thread, from inside `Source.take` or `Source.close`."""

    def on_assign(self, starts: Sequence[Start]) -> None:
        """Takes newly assigned partitions, in addition to those that it has. Their records come after this returns."""

    def on_revoke(self, partitions: Sequence[Partition], release: Callable[[], None]) -> None:
        """Gives up these partitions in order: drain, commit with `Source.commit_now`, forget, then call `release`.

        They belong to this consumer until then: no other member gets them before. `release` may be called from inside
        this call, or later between two calls of `take`. Meanwhile `take` delivers the partitions that stay, and none of
        these. Until the release, the only other decision of the group can be that it evicts the member: `on_lose` then
        includes these partitions. `Source.close` releases what is left. A second call of `release` does nothing.
        """

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        """Forgets partitions that are lost, without a commit: the group refuses commits of an evicted member."""

    def on_reset(self, partition: Partition, offset: int) -> None:
        """Continues a partition at `offset`, since its next offset does not exist, or no longer exists."""

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """Takes the result of commits that were not waited for. Each commit is answered once.

        If the client refuses at once, this is called from inside `Source.commit`. An error does not prove that the
        group has none of them: those of one `commit` may be accepted in part, and are then all answered as refused.
        """

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        """Takes the result of a survey; each is answered once. If it failed, `survey` is None and `error` says why."""


class Reader(Protocol):
    """Reads records of any partition once more, outside of the group. One thread calls it."""

    def begin(self, partition: Partition, offset: int) -> None:
        """Delivers the partition from this offset on, whatever was delivered of it before.

        Raises:
            ProcessorError: the client cannot continue.
        """

    def end(self, partition: Partition) -> None:
        """Delivers nothing more of a partition that was begun."""

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records, those of a partition in the order of their offsets. Waits at most `seconds`.

        A record whose `error()` is not None has no content: pass it to `interpret`.

        Raises:
            ProcessorError: the client cannot continue.
        """

    def interpret(self, record: Record) -> End | Lost | None:
        """Return what a record with an error reports; None if nothing follows from it. After `Lost`, call `begin`
        again.

        Raises:
            BrokerError: the brokers deny this client access, or do not report the start of the log.
            LoadError: the topic no longer exists.
        """

    def close(self) -> None:
        """Delivers nothing more."""


class Source(Protocol):
    """The consumer group's side of Kafka. One thread calls it."""

    session_seconds: float
    """How long the group waits for a silent member, in seconds; a lower bound if the client does not know it."""
    poll_seconds: float
    """How long the client waits for the next `take` before it leaves the group, in seconds, and how long the group
    waits for a release. A listener that takes longer loses its partitions to another member."""

    begins_at_start: bool
    """Whether a partition without a commit begins with its lowest offset; else at its end when it is assigned."""

    def open(self, listener: Listener) -> None:
        """Subscribes, and returns before a broker has answered. The topics are checked elsewhere."""

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records, those of a partition in the order of their offsets, each once per assignment.

        It waits only for the first record, at most `seconds`. Meanwhile it calls the listener. A record may be of a
        partition that was given up during this call: ignore it. A record whose `error()` is not None has no content:
        pass it to `interpret`.

        Raises:
            BrokerError: the brokers deny this client access, from the start or since a change.
            ProcessorError: the client failed and cannot continue.
        """

    def interpret(self, record: Record) -> End | None:
        """Return what a record with an error reports: a partition's end, or None if nothing follows from it.

        An end comes behind all records below it, and again once later ones have been delivered.

        Raises:
            BrokerError: the brokers deny this client access, from the start or since a change.
            ProcessorError: the client failed and cannot continue.
        """

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        """Commits without waiting; `Listener.on_committed` receives the result.

        A commit replaces an earlier one of the partition, even one of a higher offset. A commit that the client sends
        again may replace a later one.

        Args:
            commits: of assigned partitions.
            outputs: only for a source that was made for exactly-once, which has one commit under way at a time. Either
                readers of committed records get all outputs and the group has the commits, or neither. Outputs with the
                same key arrive in their order.
        """

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        """Commits and waits. Return None if all is committed, else why not. `Listener.on_committed` is not called.

        Not for a source that was made for exactly-once, see `await_commit`.
        """

    def await_commit(self, seconds: float) -> None:
        """Waits at most `seconds` for a commit that is under way. `Listener.on_committed` receives its result.

        Only for a source that was made for exactly-once.
        """

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stops delivering these partitions. A pause may outlast the assignment in which it was made."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Delivers these partitions again, from the first record that was not delivered. It is not an error if one is
        not paused.
        """

    def ends(self) -> dict[Partition, int]:
        """Return the present end offset of every partition of the subscribed topics that is not empty.

        Raises:
            BrokerError: no broker answers, or it denies this client access.
        """

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed; partitions without one are left out. Empty while no broker
        answers.
        """

    def survey(self, topics: Sequence[str]) -> None:
        """Requests a survey of these topics without waiting; `Listener.on_survey` receives it from inside a `take`.

        All of its requests are sent after this call. There is at most one survey at a time, and it ends within seconds.
        """

    def high_watermark(self, partition: Partition) -> int | None:
        """Return the last known end offset, without a request; None before the first fetch of the partition."""

    def open_reader(self) -> Reader:
        """Return a reader, which belongs to the calling thread. Any thread may call this.

        Raises:
            ProcessorError: its client cannot be opened.
        """

    def close(self, seconds: float = 0.0, *, for_good: bool = False) -> None:
        """Leaves the group, which assigns the partitions to others at once. Those still assigned are revoked first.

        If a rebalance is known to be under way, this waits at most `seconds` for its end, and calls the listener
        meanwhile. A second call does nothing.

        Args:
            seconds: how long to wait for the end of a rebalance.
            for_good: whether no successor takes the member's place. Otherwise, the group keeps the partitions of a
                member that it expects to return, for as long as its session lasts.
        """


Delivered = Callable[[DeliveryError | None], None]
"""Called once for each record, when it is acknowledged or given up. It must not block.

The sink's own thread calls it, or the thread that is inside `send` or `close`. An exception of it affects no other
record.
"""


class Sink(Protocol):
    """Sends dead letters and results. Any thread may call it."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        delivered: Delivered,
        partition: int | None = None,
    ) -> None:
        """Sends a record without waiting; never raises. `delivered` gets the result, perhaps before this returns.

        Without a `partition`, the record goes to the partition of its key. Records with the same key arrive in the
        order in which they were sent.
        """

    def after_reports(self, call: Callable[[], None]) -> None:
        """Has `call` called after acknowledgements, by the thread that has called `delivered` for one or several."""

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for records in flight. Return how many were not acknowledged.

        These are reported from inside this call; a record that is sent later is reported from inside `send`. A record
        whose `delivered` still runs in another thread counts as not acknowledged.
        """


class MapLog(Protocol):
    """The progress topic. The poller's thread calls it; any thread may complete a future."""

    topic: str | None
    """The topic that records are written to; None if they are only read."""

    def write(self, records: Mapping[Partition, MapRecord]) -> Future[Mapping[Partition, Place]]:
        """Writes records, and returns before they are acknowledged. The future has the place of each record.

        It fails with a `DeliveryError` if one of them is not acknowledged within a few seconds.
        """

    def read(self, places: Collection[Place], seconds: float) -> Mapping[Place, MapRecord | str]:
        """Reads the records at these places, in at most `seconds`. Some may be in other topics than `topic`.

        Returns:
            The record at each place, or the reason why this client cannot read one there. A place for which no broker
            has responded in time is missing.
        """

    def close(self) -> None:
        """Closes its clients. Records that are not acknowledged by then may fail."""


class Codec(Protocol):
    """Values in one format. Any thread may call it."""

    @property
    def passes_values(self) -> bool:
        """Whether a record's value is always the unchanged payload, and sets no other field."""

    def decode(self, record: Record) -> Decoded:
        """Return the decoded value of a record. The payload of a record without a value is None.

        It must not block, since workers call it.

        Raises:
            DecodeError: the value cannot be decoded.
            NotReady: something that decoding needs, such as a schema, is unavailable for now.
        """

    def encode_result(self, task: Any, result: Any) -> bytes:
        """Return a handler's return value as a value for the results topic.

        Raises:
            EncodeError: it cannot be written in this format.
        """
