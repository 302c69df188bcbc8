"""`GroupView`: a group's offsets, members and lag, for the operating commands. It never joins the group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from processor.engine.offsets import Range
from processor.engine.progress_record import Reference, keys_of, reference_in, settled_in
from processor.engine.record import Record
from processor.engine.skipmap import SkipMapError
from processor.errors import LoadError, ProcessorError
from processor.handlers.links import JOIN
from processor.handlers.task import NO_CONTENT, identity_of, session_of
from processor.handlers.terms import terms_of
from processor.kafka.admin import ANSWER_SECONDS, TopicAdmin, missing_topics
from processor.kafka.census_reader import CensusReader
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.committed import commit_offsets, committed_offsets
from processor.kafka.config import admin_config, open_client, reader_config
from processor.kafka.elections import NO_LEADER, description_of, until_elected
from processor.kafka.errors import NO_TOPIC, error_of
from processor.kafka.progress_topic import read_places
from processor.kafka.scan import MEMORY
from processor.kafka.survey import survey_of
from processor.operate.census import Share
from processor.operate.lag import Oldest, Owner
from processor.operate.partition_view import PartitionView
from processor.operate.resets import OffsetChange
from processor.options.connection import ConnectionOptions
from processor.runtime.ports import Commit, MapRecord, Partition, Place, Survey

SLICE_SECONDS: Final = 0.1
"""How long a wait inside the client may delay a signal."""

RECORDED_SECONDS: Final = 5.0
"""Time limit for reading the skip maps that the commits of a topic refer to."""

OLDEST_SECONDS: Final = 5.0
"""Time limit for reading the oldest unsettled records of all partitions. The age of the others remains unknown."""

HAS_MEMBERS: Final = frozenset(
    (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS)
)
"""Refusals of a commit by a client that is not a member."""

ENDED: Final = frozenset((ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN))
"""States of a group that the coordinator does not have."""


class GroupState(NamedTuple):
    """A group as its coordinator describes it."""

    state: str
    """Such as `stable`, `empty`, `preparing-rebalancing`; `dead` for a group that does not exist."""
    owners: Mapping[Partition, Owner]
    members: Sequence[Owner]


class GroupView:
    """One group, over separate connections. Belongs to one thread, which its methods block.

    Every method raises BrokerError if no broker responds or access is denied.
    """

    def __init__(self, connection: ConnectionOptions, group: str) -> None:
        """Opens the clients.

        Raises:
            SettingsError: the client rejects a setting.
            LoadError: a file in the settings cannot be read.
        """
        self.group = group
        self.servers = connection.bootstrap_servers
        self._kafka_config = connection.kafka_config
        self._topics = TopicAdmin(admin_config(self.servers, self._kafka_config))
        self._consumer = self._open(**{"group.id": group, "isolation.level": "read_uncommitted"})
        self._admin: AdminClient | None = None

    def topics(self) -> list[str]:
        """The topics that the group has committed, or that its members have."""
        with self._translated(f"group {self.group}"):
            numbers = self._topics.all_topics(ANSWER_SECONDS)
            every = [TopicPartition(topic, number) for topic, count in numbers.items() for number in range(count)]
            found = committed_offsets(self._consumer, every, ANSWER_SECONDS) if every else []
        committed = {place.topic for place in found if place.offset >= 0}
        state = self.describe()
        return sorted(committed | {partition.topic for partition in (state.owners if state is not None else ())})

    def require(self, topics: Collection[str]) -> dict[str, int]:
        """Return the partition counts of the topics.

        Raises:
            LoadError: topics do not exist; the message names all of them.
        """
        found = self._topics.partitions(topics, ANSWER_SECONDS)
        missing = [topic for topic in topics if topic not in found]
        if missing:
            raise LoadError(missing_topics(missing, self.servers))
        return found

    def look(self, topics: Iterable[str]) -> list[PartitionView]:
        """Return every partition of the topics. A topic that was deleted is left out."""
        views: list[PartitionView] = []
        for topic in topics:
            with self._translated(f"group {self.group}, topic {topic}"):
                views += self._look(topic)
        return views

    def _look(self, topic: str) -> list[PartitionView]:
        survey = self._survey(topic)
        views: list[PartitionView] = []
        if survey is None:
            return views
        recorded = self._recorded(survey.committed.values())
        for partition, (start, end) in sorted(survey.bounds.items()):
            commit = survey.committed.get(partition)
            offset, metadata = (commit.offset, commit.metadata) if commit is not None else (None, "")
            views.append(PartitionView(partition, start, end, offset, metadata, recorded.get(partition)))
        return views

    def _recorded(self, commits: Iterable[Commit]) -> dict[Partition, Sequence[Range] | str]:
        """Read the skip maps that commits refer to. Return the ranges of each, or why it cannot be read."""
        references = {commit.partition: found for commit in commits if (found := _reference_in(commit)) is not None}
        if not references:
            return {}
        places = {Place(Partition(one.topic, one.number), one.offset) for one in references.values()}
        records = read_places(self.servers, self._kafka_config, places, RECORDED_SECONDS)
        return {
            partition: self._settled_in(partition, reference, records) for partition, reference in references.items()
        }

    def _settled_in(
        self, partition: Partition, reference: Reference, records: Mapping[Place, MapRecord | str]
    ) -> Sequence[Range] | str:
        place = Place(Partition(reference.topic, reference.number), reference.offset)
        found = records.get(place, f"no broker has responded within {RECORDED_SECONDS:g} s")
        where = f"the skip map of {partition} at {place.partition}@{place.offset}"
        if isinstance(found, str):
            return f"{where} cannot be read: {found}"
        try:
            return settled_in(reference, keys_of(self.group, *partition), *found)
        except SkipMapError as error:
            return f"{where} is ignored: {error}"

    def _survey(self, topic: str) -> Survey | None:
        """Survey a topic; None if it does not exist. Waits while its partitions have no leader."""
        try:
            return until_elected(lambda: survey_of(self._consumer, [topic]), NO_LEADER, ANSWER_SECONDS)
        except KafkaException as caught:
            if caught.args[0].code() in NO_TOPIC:
                return None
            raise

    def describe(self) -> GroupState | None:
        """Return the group's state and members; None if the cluster has no controller, as an embedded broker."""
        if not self._has_controller():
            return None
        with self._translated(f"group {self.group}"):
            if self._admin is None:
                config = admin_config(self.servers, self._kafka_config)
                self._admin = open_client(AdminClient, {**config, **client_hooks(discard)})
            try:
                return _state_of(description_of(self._admin, self.group, ANSWER_SECONDS))
            except KafkaException as caught:
                if caught.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return GroupState("dead", {}, ())
                raise

    def _has_controller(self) -> bool:
        if not self._topics.has_controller:
            self._topics.all_topics(ANSWER_SECONDS)
        return self._topics.has_controller

    def offsets_at(self, partitions: Sequence[Partition], milliseconds: int) -> dict[Partition, int]:
        """Return the offset of the first record from a time (since the epoch) on, where there is such a record.

        Raises:
            ProcessorError: the cluster is an embedded broker, which finds no times.
        """
        if not self._has_controller():
            raise ProcessorError("an embedded broker cannot look up times: give an offset, +N, -N, earliest or latest")
        asked = [TopicPartition(*partition, milliseconds) for partition in partitions]
        with self._translated(f"group {self.group}"):
            found = self._consumer.offsets_for_times(asked, timeout=ANSWER_SECONDS)
            offsets = {}
            for place in found:
                if place.error is not None:
                    raise KafkaException(place.error)
                if place.offset >= 0:
                    offsets[Partition(place.topic, place.partition)] = place.offset
        return offsets

    def reset(self, changes: Iterable[OffsetChange]) -> None:
        """Commits the new offsets without metadata, and so without skip maps. Brokers refuse while there are members.

        Raises:
            ProcessorError: the brokers refuse.
        """
        places = [TopicPartition(change.topic, change.partition, change.after) for change in changes]
        try:
            commit_offsets(self._consumer, places, ANSWER_SECONDS)
        except KafkaException as caught:
            error = caught.args[0]
            if error.code() in HAS_MEMBERS:
                raise ProcessorError(f"group {self.group} has members: stop them first") from None
            topics = ", ".join(sorted({place.topic for place in places}))
            raise error_of(error, self.servers, about=f"group {self.group}, topic {topics}") from None

    def oldest(self, views: Iterable[PartitionView], seconds: float = OLDEST_SECONDS) -> dict[Partition, Oldest | None]:
        """Read the oldest unsettled record of each partition that has a lag.

        Args:
            views: the partitions.
            seconds: time limit for all of them.

        Returns:
            The record by partition; None if no deliverable record is left up to the end. Partitions that were not read
            in time, or that this client may not read, are missing.
        """
        behind = {view.partition: view for view in views if view.first_unsettled(0) < view.end}
        if not behind:
            return {}
        reader = self._open(**{"max.partition.fetch.bytes": "16384", "queued.max.messages.kbytes": "4096"})
        try:
            with self._translated(f"group {self.group}"):
                return _OldestRecords(reader, behind).read(monotonic() + seconds)
        finally:
            reader.close()

    def shares(self, views: Iterable[PartitionView]) -> dict[Partition, Share]:
        """Read the first unsettled tasks of each partition. Return the session with the most of them, if there is one.

        See `census_reader` for how many tasks are read, and for how long.
        """
        reader = self._open(**MEMORY)
        try:
            with self._translated(f"group {self.group}"):
                return CensusReader(reader, views).read()
        finally:
            reader.close()

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, **own: str) -> Consumer:
        config = reader_config(self.servers, self._kafka_config)
        client: Consumer = open_client(Consumer, {**config, **own, **client_hooks(discard)})
        return client

    @contextmanager
    def _translated(self, about: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as caught:
            raise error_of(caught.args[0], self.servers, about=about) from None


class _OldestRecords:
    """Reads one record of each partition: the first one that is not settled."""

    def __init__(self, reader: Consumer, views: Mapping[Partition, PartitionView]) -> None:
        self._reader = reader
        self._views = views
        self._found: dict[Partition, Oldest | None] = {}
        self._denied: set[Partition] = set()

    def read(self, deadline: float) -> dict[Partition, Oldest | None]:
        begin = [TopicPartition(*place, view.first_unsettled(0)) for place, view in self._views.items()]
        self._reader.assign(begin)
        while len(self._found) + len(self._denied) < len(self._views) and monotonic() < deadline:
            for record in cast(list[Record], self._reader.consume(len(self._views), SLICE_SECONDS)):
                self._take(record)
        return self._found

    def _take(self, record: Record) -> None:
        partition = Partition(record.topic(), record.partition())
        view = self._views.get(partition)
        if view is None or partition in self._found:
            return
        error = cast(KafkaError | None, record.error())
        if error is not None:
            self._fail(error, view, record.offset())
            return
        offset = record.offset()
        unsettled = view.first_unsettled(offset)
        if offset >= view.end:
            self._finish(partition, None)
        elif unsettled > offset:
            self._reader.seek(TopicPartition(*partition, unsettled))
        else:
            self._finish(partition, _oldest_of(record))

    def _fail(self, error: KafkaError, view: PartitionView, offset: int) -> None:
        """Handles a partition's end, which may be before `end` while a transaction is open, or an error."""
        if error.code() == KafkaError._PARTITION_EOF and offset >= view.end:
            self._finish(view.partition, None)
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self._denied.add(view.partition)

    def _finish(self, partition: Partition, oldest: Oldest | None) -> None:
        self._found[partition] = oldest
        self._reader.incremental_unassign([TopicPartition(*partition)])


def _reference_in(commit: Commit) -> Reference | None:
    try:
        return reference_in(commit.metadata, commit.offset)
    except SkipMapError:
        return None


def _oldest_of(record: Record) -> Oldest:
    kind, timestamp = record.timestamp()
    headers = record.headers() or []
    terms, name = terms_of(headers), identity_of(record).name
    due = terms.due if terms is not None else -inf
    join = session_of(record, NO_CONTENT) if terms is not None and terms.arrives and JOIN in dict(headers) else None
    return Oldest(timestamp if kind else -1, due, record.key(), name or None, join)


def _state_of(description: ConsumerGroupDescription) -> GroupState:
    state = description.state
    if state in ENDED:
        return GroupState("dead", {}, ())
    owners: dict[Partition, Owner] = {}
    members = []
    for member in description.members:
        owner = Owner(member.member_id, member.client_id, member.host.lstrip("/"))
        members.append(owner)
        for place in member.assignment.topic_partitions:
            owners[Partition(place.topic, place.partition)] = owner
    return GroupState(state.name.lower().replace("_", "-"), owners, members)
