"""The progress topic: `KafkaMapLog` writes skip maps that do not fit into commits, and reads them again."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AclOperation

from processor.errors import DeliveryError, ProcessorError
from processor.kafka.admin import ANSWER_SECONDS, Ensured, TopicAdmin
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.config import Config, open_client, producer_config, reader_config
from processor.kafka.errors import ACCESS_DENIED, NO_TOPIC, reason_of
from processor.kafka.polled_producer import OnDelivery, PolledProducer
from processor.runtime.commits.map_records import WRITE_SECONDS
from processor.runtime.ports import MapRecord, Partition, Place, Record
from processor.settings import Settings
from processor.telemetry.events import Emit

TOPIC_CONFIG: Final = {
    "cleanup.policy": "compact",
    # Compaction skips the newest segment, and a map may have hundreds of kilobytes. Kafka's default is 1 GiB.
    "segment.bytes": "104857600",
}

POLICY: Final = "cleanup.policy"

CLOSE_SECONDS: Final = 0.5
"""How long `close` waits for acknowledgements. The last commit has waited for those that it needs."""

_POLL_SECONDS: Final = 0.1

END_SECONDS: Final = 1.0
"""How long the reader waits for a requested record after a broker has reported the end of the partition in front of it.
A new leader knows which records are committed only after its followers have fetched them, which they do twice a second
(`replica.fetch.wait.max.ms`). Until then, it reports an earlier end."""

GONE: Final = frozenset((KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE))
"""Errors for an offset that the broker no longer has."""


class KafkaMapLog:
    """The `MapLog` port. A producer is opened by the first record, and a consumer for each `read`."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self.topic = settings.progress_topic
        self._servers, self._kafka_config = settings.bootstrap_servers, settings.kafka_config
        self._emit = emit
        self._producer = PolledProducer(_producer_config(settings), emit, "progress", "the consumer stopped")

    def write(self, records: Mapping[Partition, MapRecord]) -> Future[Mapping[Partition, Place]]:
        """See `processor.runtime.ports.MapLog`."""
        assert self.topic is not None, "there is no topic to write to"
        writing = _Writing(set(records))
        for partition, (key, value) in records.items():
            error = self._refusal(self.topic, key, value, self._on_delivery(self.topic, writing, partition))
            if error is not None:
                writing.fail(error)
                break
        return writing.result

    def read(self, places: Collection[Place], seconds: float) -> Mapping[Place, MapRecord | str]:
        """See `processor.runtime.ports.MapLog`."""
        return read_places(self._servers, self._kafka_config, places, seconds, self._emit)

    def close(self) -> None:
        """See `processor.runtime.ports.MapLog`."""
        self._producer.close(CLOSE_SECONDS)

    def _refusal(
        self, topic: str, key: bytes | None, value: bytes | None, on_delivery: OnDelivery
    ) -> DeliveryError | None:
        """Pass a record to the producer. Return why it does not accept it, or None."""
        try:
            has_room = self._producer.produce(topic, value, key, None, on_delivery)
        except KafkaException as caught:
            return self._producer.delivery_error(topic, caught.args[0])
        except ProcessorError as caught:
            return DeliveryError(f"{topic}: {caught}")
        return None if has_room else DeliveryError(f"{topic}: the Kafka client has failed, or its queue is full")

    def _on_delivery(self, topic: str, writing: _Writing, partition: Partition) -> OnDelivery:
        producer = self._producer

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            try:
                offset = message.offset()
                if error is not None:
                    writing.fail(producer.delivery_error(topic, error))
                elif offset is None:  # a repeat that the broker has detected, for which it returns no offset
                    writing.fail(DeliveryError(f"{topic}: the broker has the record, but does not return its offset"))
                else:
                    writing.end(partition, Place(Partition(topic, cast(int, message.partition())), offset))
            finally:
                producer.reported(error)

        return on_delivery


class _Writing:
    """Records that are written together."""

    def __init__(self, partitions: set[Partition]) -> None:
        self.result: Future[Mapping[Partition, Place]] = Future()
        self._guard = threading.Lock()
        self._missing = partitions
        self._places: dict[Partition, Place] = {}

    def end(self, partition: Partition, place: Place) -> None:
        """Notes that the record of a partition is acknowledged."""
        with self._guard:
            self._missing.discard(partition)
            self._places[partition] = place
            is_last = not self._missing
        if is_last:
            with suppress(InvalidStateError):
                self.result.set_result(self._places)

    def fail(self, error: DeliveryError) -> None:
        """Notes that a record is not accepted, so that all of them count as not written."""
        with suppress(InvalidStateError):
            self.result.set_exception(error)


def _producer_config(settings: Settings) -> Config:
    config = producer_config(settings.bootstrap_servers, settings.kafka_config)
    config.pop("message.timeout.ms", None)  # the older name of the setting
    return {
        **config,
        "client.id": "processor-progress",
        "linger.ms": "0",
        "delivery.timeout.ms": str(int(WRITE_SECONDS * 1000)),
        "topic.metadata.propagation.max.ms": "3000",
    }


# --- reading -----------------------------------------------------------------------------------------


def read_places(
    servers: str, kafka_config: Mapping[str, Any], places: Collection[Place], seconds: float, emit: Emit | None = None
) -> dict[Place, MapRecord | str]:
    """Read the records at these places, without a group.

    Records of transactions count before these have ended: a commit refers only to what was acknowledged.

    Args:
        servers: the bootstrap servers.
        kafka_config: the settings of `-X`.
        places: of any topics.
        seconds: time limit for all of them.
        emit: receives the client's log lines and errors.

    Returns:
        What `MapLog.read` does.

    Raises:
        SettingsError, LoadError, BrokerError: the client cannot be opened.
    """
    if not places:
        return {}
    config = {**reader_config(servers, kafka_config), "isolation.level": "read_uncommitted"}
    client: Consumer = open_client(Consumer, {**config, **client_hooks(emit or discard)})
    try:
        return _Reading(client, places).run(monotonic() + seconds)
    finally:
        client.close()


class _Reading:
    """Reads the places of each partition in the order of their offsets."""

    def __init__(self, client: Consumer, places: Collection[Place]) -> None:
        self._client = client
        self._found: dict[Place, MapRecord | str] = {}
        self._wanted: dict[Partition, list[int]] = {}
        self._ends: dict[Partition, float] = {}
        """When the reader believes an end that a broker reported in front of a requested record."""
        for partition, offset in sorted(set(places), reverse=True):
            self._wanted.setdefault(partition, []).append(offset)

    def run(self, deadline: float) -> dict[Place, MapRecord | str]:
        """Read until the deadline, in seconds of the monotonic clock."""
        for topic in {partition.topic for partition in self._wanted}:
            self._look_up(topic, deadline)
        self._assign()
        while self._wanted and monotonic() < deadline:
            record = cast(Record | None, self._client.poll(_POLL_SECONDS))
            if record is not None:
                self._take(record)
            self._believe_ends(monotonic())
        self._believe_ends(inf)
        return self._found

    def _believe_ends(self, now: float) -> None:
        for partition in [partition for partition, due in self._ends.items() if now >= due]:
            self._end(partition, "there is no record")

    def _assign(self) -> None:
        """Fetch the next record that is wanted of each partition. A seek is refused after an error of the partition."""
        self._client.assign([TopicPartition(*partition, wanted[-1]) for partition, wanted in self._wanted.items()])

    def _look_up(self, topic: str, deadline: float) -> None:
        """End partitions that cannot be read. The client would wait forever for those that do not exist."""
        try:
            found = self._client.list_topics(topic, timeout=max(deadline - monotonic(), _POLL_SECONDS)).topics[topic]
        except KafkaException:
            return  # no broker responds
        for partition in [p for p in self._wanted if p.topic == topic]:
            if found.error is not None and found.error.code() in ACCESS_DENIED | NO_TOPIC:
                self._end(partition, reason_of(found.error))
            elif found.error is None and partition.number not in found.partitions:
                self._end(partition, "there is no such partition")

    def _take(self, record: Record) -> None:
        error = cast(KafkaError | None, record.error())
        partition = Partition(record.topic(), record.partition())
        if error is not None and error.code() in ACCESS_DENIED | NO_TOPIC:
            # an error of a whole topic may name no partition
            for wanted in [p for p in self._wanted if p.topic == partition.topic]:
                self._end(wanted, reason_of(error))
        elif partition not in self._wanted:
            return
        elif error is None:
            self._ends.pop(partition, None)
            self._take_record(partition, record)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._ends.setdefault(partition, monotonic() + END_SECONDS)
        elif error.code() in GONE:
            self._next(partition, "it is deleted")

    def _take_record(self, partition: Partition, record: Record) -> None:
        while partition in self._wanted and (wanted := self._wanted[partition][-1]) <= record.offset():
            is_it = wanted == record.offset()
            self._next(partition, MapRecord(record.key(), record.value()) if is_it else "it is deleted")

    def _next(self, partition: Partition, found: MapRecord | str) -> None:
        """Note the record at the lowest requested offset of the partition, and continue with the next one."""
        wanted = self._wanted[partition]
        self._found[Place(partition, wanted.pop())] = found
        if wanted:
            self._assign()
        else:
            self._end(partition, "")

    def _end(self, partition: Partition, reason: str) -> None:
        """Note this reason for all offsets that are still wanted of a partition. Its further records are ignored."""
        self._ends.pop(partition, None)
        for offset in self._wanted.pop(partition):
            self._found[Place(partition, offset)] = reason


# --- the topic at the start --------------------------------------------------------------------------


def ensure_progress_topic(admin: TopicAdmin, topic: str, *, create: bool) -> Ensured:
    """Creates a missing progress topic, of one partition and compacted.

    One that cannot be created is not an error: skip maps are cut until it is there.

    Args:
        admin: a client for the cluster.
        topic: its name.
        create: create it if it is missing.

    Raises:
        BrokerError: no broker responds, or this client may not read, write or create it.
        LoadError: the brokers reject its name.
    """
    is_missing = topic not in admin.partitions([topic], ANSWER_SECONDS, tolerant=True)
    ensured = Ensured((), {})
    if is_missing and not create:
        ensured = Ensured((), {topic: "it does not exist"})
    elif is_missing:
        ensured = admin.create({topic: 1}, {}, ANSWER_SECONDS, TOPIC_CONFIG)
    if not ensured.missing:
        admin.require(AclOperation.WRITE, [topic])
        admin.require(AclOperation.READ, [topic])
    return ensured


def policy_of(admin: TopicAdmin, topic: str) -> str | None:
    """Return the topic's cleanup policy; None if this client may not read it."""
    return admin.settings([topic], POLICY).get(topic)
