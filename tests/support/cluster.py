"""Creates, fills and reads topics and groups of a cluster with plain clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, MemberDescription, NewPartitions, NewTopic, OffsetSpec

from tests.support.until import until

T = TypeVar("T")

Text = bytes | str | None
Headers = Sequence[tuple[str, bytes | None]] | None
Row = tuple[Text, Text] | tuple[Text, Text, Headers]
"""A record to produce: key, value and, optionally, headers."""

SECONDS = 60.0

NO_LEADER = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}
"""Errors of a partition that was just created, or whose leader was just elected and does not know it yet."""

NO_COORDINATOR = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
}
"""Errors of a group in a new cluster, after a broker's restart, or while a transaction with its offsets ends."""

# Not idempotent, since that takes half a second to start, and without retries, since they could duplicate a record: a
# failed send fails its test. A test that produces during faults passes `enable_idempotence=True, retries=1000`.
PRODUCER = {"partitioner": "murmur2_random", "acks": "all", "retries": 0, "linger.ms": 2, "log_level": 0}


def create_topic(bootstrap_servers: str, name: str, partitions: int = 4, **config: object) -> str:
    """Creates a topic and returns its name; `cleanup_policy="compact"` sets `cleanup.policy=compact`."""
    spelled = {key.replace("_", "."): str(value) for key, value in config.items()}
    return create(bootstrap_servers, NewTopic(name, num_partitions=partitions, replication_factor=1, config=spelled))


def create(bootstrap_servers: str, topic: NewTopic) -> str:
    """Creates a topic and returns its name."""
    admin = admin_of(bootstrap_servers)
    admin.create_topics([topic], operation_timeout=SECONDS)[topic.topic].result(SECONDS)
    wait_for_leaders(admin, topic.topic, topic.num_partitions)
    return topic.topic


def grow(bootstrap_servers: str, topic: str, partitions: int) -> None:
    """Increases a topic's partitions to this number, and returns once each has a leader."""
    admin = admin_of(bootstrap_servers)
    admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(SECONDS)
    wait_for_leaders(admin, topic, partitions)


def delete(bootstrap_servers: str, topic: str) -> None:
    """Deletes a topic, and returns once the broker no longer lists it."""
    admin_of(bootstrap_servers).delete_topics([topic])[topic].result(SECONDS)
    wait_gone(bootstrap_servers, topic)


def wait_gone(bootstrap_servers: str, name: str) -> None:
    """Waits until a deleted topic is gone."""
    admin = admin_of(bootstrap_servers)
    until(lambda: name not in admin.list_topics(timeout=SECONDS).topics, f"topic {name} is gone", SECONDS, pause=0.05)


def produce(
    bootstrap_servers: str,
    topic: str,
    records: Iterable[Row],
    *,
    partition: int | None = None,
    seconds: float = SECONDS,
    **config: object,
) -> list[tuple[int, int]]:
    """Produces records with this project's partitioner, waits for all, and returns (partition, offset) of each.

    Raises:
        AssertionError: some records are not acknowledged within `seconds`.
    """
    spelled: dict[str, object] = {key.replace("_", "."): value for key, value in config.items()}
    producer = Producer({"bootstrap.servers": bootstrap_servers, **PRODUCER, **spelled})
    places: list[Message | None] = []
    for index, (key, value, *headers) in enumerate(records):
        places.append(None)
        _queue(producer, topic, key, value, headers[0] if headers else None, partition, _keep(places, index))
    left = producer.flush(seconds)
    assert left == 0, f"{left} records were not acknowledged within {seconds:g} s"
    return [_place(place) for place in places]


def read_all(bootstrap_servers: str, topic: str) -> list[Message]:
    """Return every committed record that is now in the topic, by partition and offset."""
    wait_for_markers(bootstrap_servers, topic)
    consumer = _reader(bootstrap_servers)
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in end_offsets(bootstrap_servers, topic)])
        return sorted(_until_all_ends(consumer, topic), key=lambda m: (m.partition() or 0, m.offset() or 0))
    finally:
        consumer.close()


def wait_for_markers(bootstrap_servers: str, topic: str) -> None:
    """Waits until every transaction that now has records in the topic has ended there.

    Brokers acknowledge a commit or an abort before they write its markers to the partitions. Until then, no reader gets
    the transaction's records, and a marker can still move the end offset. The transaction of a killed producer ends
    with its timeout.
    """
    ends = end_offsets(bootstrap_servers, topic)

    def have_ended() -> bool:
        stable = end_offsets(bootstrap_servers, topic, IsolationLevel.READ_COMMITTED)
        return all(stable[number] >= end for number, end in ends.items())

    until(have_ended, f"the transactions in {topic} end", SECONDS, 0.02)


def headers_of(message: Message) -> dict[str, bytes]:
    """Return a record's headers; if a name repeats, the last value."""
    pairs = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return {name: text or b"" for name, text in pairs}


def end_offsets(
    bootstrap_servers: str, topic: str, isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
) -> dict[int, int]:
    """Return the end offset of each partition; with READ_COMMITTED, only up to the first open transaction."""
    return _ends(admin_of(bootstrap_servers), topic, isolation)


def _ends(
    admin: AdminClient, topic: str, isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
) -> dict[int, int]:
    numbers = admin.list_topics(topic, SECONDS).topics[topic].partitions
    latest = {TopicPartition(topic, number): OffsetSpec.latest() for number in numbers}

    def ask() -> dict[int, int]:
        answers = admin.list_offsets(latest, isolation_level=isolation)
        return {partition.partition: answer.result(SECONDS).offset for partition, answer in answers.items()}

    return _until_accepted(ask, NO_LEADER)


def committed(bootstrap_servers: str, group: str, topic: str) -> dict[int, TopicPartition]:
    """Return the group's committed offset for each partition of the topic, with its metadata.

    A coordinator confirms a transaction shortly before it shows the offsets. After a transaction, wait for the expected
    offsets.
    """
    asker = _asker(bootstrap_servers, group)
    numbers = asker.list_topics(topic, SECONDS).topics[topic].partitions
    wanted = [TopicPartition(topic, number) for number in numbers]
    places = _until_accepted(lambda: _without_errors(asker.committed(wanted, SECONDS)), NO_COORDINATOR)
    return {place.partition: place for place in places if place.offset >= 0}


def commit(bootstrap_servers: str, group: str, *places: TopicPartition) -> None:
    """Commits offsets as another tool would, for a group whose members have left or are about to leave."""
    client = _client_of(bootstrap_servers, group)
    errors = {*NO_COORDINATOR, KafkaError.UNKNOWN_MEMBER_ID}  # the last is the answer while the group has a member
    try:
        _until_accepted(lambda: _without_errors(client.commit(offsets=list(places), asynchronous=False) or []), errors)
    finally:
        client.close()


def wait_without_members(bootstrap_servers: str, group: str) -> None:
    """Waits until an existing group has no members."""
    until(lambda: not members(bootstrap_servers, group), lambda: f"group {group} has members", SECONDS, 0.05)


def members(bootstrap_servers: str, group: str) -> list[MemberDescription]:
    """Return the members of an existing group, as its coordinator knows them."""
    admin = admin_of(bootstrap_servers)

    def ask() -> list[MemberDescription]:
        return list(admin.describe_consumer_groups([group])[group].result(SECONDS).members)

    return _until_accepted(ask, NO_COORDINATOR)


def _until_accepted(ask: Callable[[], T], errors: Collection[int]) -> T:
    """Repeats a request while it fails with one of these errors."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return ask()
        except KafkaException as caught:
            if caught.args[0].code() not in errors or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _without_errors(places: list[TopicPartition]) -> list[TopicPartition]:
    """Return the answers about partitions, or raise the first error among them."""
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
    return places


def lag(bootstrap_servers: str, group: str, topic: str) -> int:
    """Return the records between the group's committed offsets and the end offsets, like `kafka-consumer-groups`."""
    places = committed(bootstrap_servers, group, topic)
    ends = end_offsets(bootstrap_servers, topic)
    return sum(end - (places[number].offset if number in places else 0) for number, end in ends.items())


@lru_cache(maxsize=4)
def admin_of(bootstrap_servers: str) -> AdminClient:
    """Return an admin client that logs nothing on stderr. All callers share it.

    A client that is closed after each request drops unanswered requests, and once crashed the whole process.
    """
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})


@lru_cache(maxsize=4)
def _asker(bootstrap_servers: str, group: str) -> Consumer:
    """Return a client that makes requests for the group without joining it.

    It is not an admin client: that can crash the process if the broker is killed while it requests a group's offsets.
    """
    return _client_of(bootstrap_servers, group)


def _client_of(bootstrap_servers: str, group: str) -> Consumer:
    return Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    )


def wait_for_leaders(admin: AdminClient, name: str, partitions: int) -> None:
    """Waits until the broker knows this number of partitions of the topic, and leads them.

    The broker confirms their creation earlier, and its metadata name a leader before that broker leads.
    """

    def has_leaders() -> bool:
        found = admin.list_topics(timeout=SECONDS).topics.get(name)
        leaders = [partition.leader for partition in found.partitions.values()] if found else []
        return len(leaders) == partitions and all(leader >= 0 for leader in leaders)

    until(has_leaders, f"topic {name} appears", SECONDS, 0.02)
    until(lambda: len(_ends(admin, name)) == partitions, f"each partition of {name} has a leader", SECONDS, 0.02)


def _queue(
    producer: Producer, topic: str, key: Text, value: Text, headers: Headers, partition: int | None, delivered: Any
) -> None:
    extra: dict[str, Any] = {} if partition is None else {"partition": partition}
    if headers:
        extra["headers"] = list(headers)
    while True:
        try:
            producer.produce(topic, key=key, value=value, on_delivery=delivered, **extra)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


def _keep(places: list[Message | None], index: int) -> Any:
    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, f"a record of the test could not be produced: {error}"
        places[index] = message

    return delivered


def _place(message: Message | None) -> tuple[int, int]:
    assert message is not None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def _reader(bootstrap_servers: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "never-joined",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # the first records may be deleted
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )


def _until_all_ends(consumer: Consumer, topic: str) -> list[Message]:
    messages: list[Message] = []
    open_partitions = {place.partition for place in consumer.assignment()}
    deadline = time.monotonic() + SECONDS
    while open_partitions:
        assert time.monotonic() < deadline, f"topic {topic} could not be read to its end within {SECONDS:g} s"
        message = consumer.poll(1)
        if message is None:
            continue
        error = message.error()
        if error is None:
            messages.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(message.partition())
        else:
            raise AssertionError(f"topic {topic} cannot be read: {error}")
    return messages
