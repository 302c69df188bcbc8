"""What the runtime needs from outside, as protocols that Kafka and the in-memory Kafka of tests implement.

`Source` is called by the poller's thread only, its listener too. `Sink` may be called by every thread. tests/ports
holds every implementation to what stands here.
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
    """None where the group has committed nothing yet."""
    metadata: str
    end: int | None = None
    """Where the partition ended after that commit was read; None if that was not asked, or no broker has responded."""


class Commit(NamedTuple):
    """The commit of one partition."""

    partition: Partition
    offset: int
    metadata: str


class Place(NamedTuple):
    """Where a record is."""

    partition: Partition
    offset: int


class MapRecord(NamedTuple):
    """A skip map that does not fit into a commit's metadata, as a record of the progress topic."""

    key: bytes | None
    value: bytes | None


class End(NamedTuple):
    """Everything below `offset` that will ever be delivered of a partition has been, for now."""

    partition: Partition
    offset: int


class Lost(NamedTuple):
    """The log of a partition begins at `offset` now: everything below is deleted."""

    partition: Partition
    offset: int


class MetadataTooLarge(str):
    """Why a commit was refused: the brokers do not accept so much metadata for these partitions."""

    partitions: frozenset[Partition]

    def __new__(cls, reason: str, partitions: Iterable[Partition]) -> Self:
        """Return the reason, which names nothing but what the broker says, and the partitions that it is about."""
        made = super().__new__(cls, reason)
        made.partitions = frozenset(partitions)
        return made


class OutputRecord(NamedTuple):
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    """None is that of its key."""

    @property
    def size(self) -> int:
        """Size of key, value and headers in bytes."""
        headers = sum(len(name) + len(text or b"") for name, text in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class OutputsRefused(str):
    """Why a commit was refused: topics do not accept some of its outputs. Without these it may be accepted."""

    refused: Mapping[int, str]
    """The reason of each, by its place among the commit's outputs."""

    def __new__(cls, refused: Mapping[int, str]) -> Self:
        """Return the first reason, with all of them."""
        made = super().__new__(cls, next(iter(refused.values())))
        made.refused = refused
        return made


class Survey(NamedTuple):
    """What all partitions of some topics hold, and what the group has committed of them."""

    bounds: Mapping[Partition, tuple[int, int]]
    """The lowest offset of each partition, and the one at which the next record is written, open transactions
    included."""
    committed: Mapping[Partition, Commit]
    """Of those of which the group has committed anything."""


class Listener(Protocol):
    """Receives the group's decisions, in the poller's thread, from inside `Source.take` or `Source.close`."""

    def on_assign(self, starts: Sequence[Start]) -> None:
        """These partitions are the consumer's now, beside those that it has. Their records come after this returns."""

    def on_revoke(self, partitions: Sequence[Partition], release: Callable[[], None]) -> None:
        """These are to be given up in order: drain, commit with `Source.commit_now`, forget, then call `release`.

        They are the consumer's until then: no other member gets them before. The call may come from inside this one, or
        between two calls of `take`, which delivers the partitions that stay meanwhile, and none of these. The group
        decides nothing else until then, but that it gives the member up; `on_lose` then has these too, if it comes
        before the release. `Source.close` releases what is left. A second call of `release` does nothing.
        """

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        """These are gone already: forget, commit nothing. The group refuses commits of a member that it gave up."""

    def on_reset(self, partition: Partition, offset: int) -> None:
        """The next offset of the partition does not exist (any more): its records continue at `offset`."""

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """Commits that were not waited for have ended, with an error or without; each is answered once.

        Where the client refuses at once, this is called from inside `Source.commit`. An error does not prove that the
        group has nothing of them: those of one `commit` may be accepted in part, and are then all answered as refused.
        """

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        """A survey has ended; each is answered once. `survey` is None where `error` is why there is none."""


class Reader(Protocol):
    """Reads records of any partition once more, outside of the group. One thread calls it."""

    def begin(self, partition: Partition, offset: int) -> None:
        """Delivers the partition from this offset on, whatever was delivered of it before.

        Raises:
            ProcessorError: the client cannot go on.
        """

    def end(self, partition: Partition) -> None:
        """Delivers nothing more of a partition that was begun."""

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """At most `limit` records, those of a partition in the order of their offsets. It waits at most `seconds`.

        A record whose `error()` is not None has no content: give it to `interpret`.

        Raises:
            ProcessorError: the client cannot go on.
        """

    def interpret(self, record: Record) -> End | Lost | None:
        """What a record with an error reports; None where nothing follows from it. After `Lost`, begin again.

        Raises:
            BrokerError: this client is not let in, or the start of the log cannot be asked for.
            LoadError: the topic does not exist any more.
        """

    def close(self) -> None:
        """Delivers nothing more."""


class Source(Protocol):
    """The consumer group's side of Kafka. One thread calls it."""

    session_seconds: float
    """How long the group waits for a silent member, in seconds; a lower bound where the client does not know it."""
    poll_seconds: float
    """How long the client waits for the next `take` before it leaves the group, in seconds, and how long the group
    waits for a release. A listener that takes longer loses its partitions to another member."""

    begins_at_start: bool
    """Whether a partition without a commit begins with its lowest offset; else at its end when it is assigned."""

    def open(self, listener: Listener) -> None:
        """Subscribes, and returns before a broker has answered. That the topics exist is checked elsewhere."""

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """At most `limit` records, those of a partition in the order of their offsets, each once in an assignment.

        It waits for the first one, at most `seconds`, and not for more. Meanwhile it calls the listener. A record may
        be of a partition that was given up inside the same call: leave it out. A record whose `error()` is not None
        has no content: give it to `interpret`.

        Raises:
            BrokerError: this client is not let in (any more).
            ProcessorError: the client failed and cannot continue.
        """

    def interpret(self, record: Record) -> End | None:
        """What a record with an error reports: a partition's end, or None where nothing follows from it.

        An end comes behind all records below it, and again once later ones have been delivered.

        Raises:
            BrokerError: this client is not let in (any more).
            ProcessorError: the client failed and cannot continue.
        """

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        """Commits without waiting; `Listener.on_committed` receives how it ended.

        A commit replaces an earlier one of the partition, also one of a higher offset. One that was sent again may
        replace a later one.

        Args:
            commits: of assigned partitions.
            outputs: only for a source that was made for exactly-once, which has one commit under way at a time. Readers
                of committed records get all of them and the group has the commits, or neither. Those of a key arrive
                in their order.
        """

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        """Commits and waits: None when all of it is done, else why not. `Listener.on_committed` is not called.

        Not for a source that was made for exactly-once, see `await_commit`.
        """

    def await_commit(self, seconds: float) -> None:
        """Waits at most so long for the commit that is under way, if one is. `Listener.on_committed` receives it.

        Only for a source that was made for exactly-once.
        """

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stops delivering these. A pause may outlast the assignment in which it was made."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Delivers these again, from the first record on that was not delivered. Partitions may not be paused."""

    def ends(self) -> dict[Partition, int]:
        """The end offset of every partition of the subscribed topics now, where any offset below it is left.

        Raises:
            BrokerError: no broker answers, or it does not let this client in.
        """

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """What the group has committed of these, where it has; nothing while no broker answers."""

    def survey(self, topics: Sequence[str]) -> None:
        """Asks for a survey of these topics without waiting; `Listener.on_survey` receives it from inside a `take`.

        All of it is asked after this call. There is at most one at a time, and it ends within seconds.
        """

    def high_watermark(self, partition: Partition) -> int | None:
        """The last known end offset, without asking the broker; None before the first fetch of the partition."""

    def open_reader(self) -> Reader:
        """A reader that belongs to the thread that calls this, which may be any.

        Raises:
            ProcessorError: its client cannot be opened.
        """

    def close(self, seconds: float = 0.0) -> None:
        """Leaves the group, which gives the partitions to others at once; those still assigned are revoked first.

        Where a rebalance is known to be under way, its end is waited for, at most so many seconds, with calls of the
        listener meanwhile. A second call does nothing.
        """


Delivered = Callable[[DeliveryError | None], None]
"""Called once for each record, when it is acknowledged or given up. It must not block.

The sink's own thread calls it, or the one inside `send` or `close`. What it raises harms no other record.
"""


class Sink(Protocol):
    """Where dead letters and results go. Any thread may call it."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        delivered: Delivered,
        partition: int | None = None,
    ) -> None:
        """Sends a record and returns; never raises. `delivered` receives how it ended, perhaps before this returns.

        Without a `partition`, it goes to that of its key.
        Records with the same key arrive in the order in which they were sent.
        """

    def after_reports(self, call: Callable[[], None]) -> None:
        """Has `call` called after acknowledgements, by the thread that has called `delivered` for one or several."""

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for what is under way; returns how many records were not acknowledged.

        Those are reported from inside this call, and a record that is sent after it from inside `send`. A record whose
        `delivered` still runs in another thread counts as not acknowledged.
        """


class MapLog(Protocol):
    """The progress topic. The poller's thread calls it; a future may be completed by any."""

    topic: str | None
    """Where records are written; None where they are only read."""

    def write(self, records: Mapping[Partition, MapRecord]) -> Future[Mapping[Partition, Place]]:
        """Writes records, and returns before they are acknowledged. The future has the place of each.

        It fails with a `DeliveryError` where one of them is not acknowledged in time, a few seconds.
        """

    def read(self, places: Collection[Place], seconds: float) -> Mapping[Place, MapRecord | str]:
        """Reads the records at these places, in at most so many seconds. Topics other than `topic` may be among them.

        Returns:
            The record at each place, or the reason that there is none that this client may read. A place for which no
            broker has responded in time is missing.
        """

    def close(self) -> None:
        """Releases its clients. What is not acknowledged by then may fail."""


class Codec(Protocol):
    """Values in one format. Any thread may call it."""

    @property
    def passes_values(self) -> bool:
        """Whether a record's value is always the unchanged payload, and sets no other field."""

    def decode(self, record: Record) -> Decoded:
        """Return what the record's value says. The payload of a record without a value is None.

        Raises:
            DecodeError: the value cannot be read.
            NotReady: what is needed to read it cannot be had at the moment. Workers wait here: it must not block.
        """

    def encode_result(self, task: Any, result: Any) -> bytes:
        """A handler's return value as the results topic's value.

        Raises:
            EncodeError: it cannot be written in this format.
        """
