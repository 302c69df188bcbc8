"""The contract of `MapLog` in `processor/runtime/ports.py`, checked on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.errors import DeliveryError
from processor.kafka.embedded import EmbeddedBroker
from processor.kafka.progress_topic import KafkaMapLog
from processor.runtime.ports import MapLog, MapRecord, Partition, Place
from processor.settings import Settings
from processor.testing.memory.cluster import MemoryCluster
from processor.testing.memory.map_log import MemoryMapLog
from tests.conftest import MakeTopic, Wired
from tests.support import cluster
from tests.support.broker import Broker

SECONDS = 30.0
OF = [Partition("tasks", number) for number in range(3)]


class Target(NamedTuple):
    """A log, and its topic."""

    log: MapLog
    topic: str


def kafka_log(servers: str, topic: str) -> Target:
    settings = Settings(bootstrap_servers=servers, topics=("tasks",), group="g", progress_topic=topic)
    return Target(KafkaMapLog(settings, lambda event: None), topic)


@pytest.fixture
def kafka(broker: Broker, topic: MakeTopic) -> Target:
    return kafka_log(broker.bootstrap_servers, topic(1))


@pytest.fixture
def embedded(embedded_broker: EmbeddedBroker, group: str) -> Target:
    embedded_broker.create_topics([group])
    return kafka_log(embedded_broker.bootstrap_servers, group)


@pytest.fixture
def in_memory() -> Target:
    memory = MemoryCluster()
    memory.create_topic("maps", 2)
    return Target(MemoryMapLog(memory, "maps"), "maps")


@pytest.fixture(params=["in_memory", "embedded", pytest.param("kafka", marks=pytest.mark.broker)])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    target: Target = request.getfixturevalue(request.param)
    yield target
    target.log.close()


def test_what_was_written_is_read_at_its_place(target: Target) -> None:
    records = {of: MapRecord(b"key %d" % of.number, bytes([of.number]) * 5_000) for of in OF}
    first = target.log.write(records).result(SECONDS)
    second = target.log.write({OF[0]: MapRecord(b"key 0", b"later")}).result(SECONDS)
    assert first.keys() == set(OF)
    assert {place.partition.topic for place in first.values()} == {target.topic}
    places = [*first.values(), *second.values()]
    assert len(set(places)) == 4
    found = target.log.read(places, SECONDS)
    assert [found[place] for place in places] == [*records.values(), MapRecord(b"key 0", b"later")]


def test_a_place_without_a_record_has_a_reason(target: Target) -> None:
    (place,) = target.log.write({OF[0]: MapRecord(b"k", b"v")}).result(SECONDS).values()
    nothing = place._replace(offset=place.offset + 1)
    found = target.log.read([place, nothing], SECONDS)
    assert found[place] == MapRecord(b"k", b"v")
    assert isinstance(found[nothing], str)
    far = place._replace(offset=place.offset + 1_000)
    assert isinstance(target.log.read([far], SECONDS)[far], str)


def test_nothing_is_read_of_no_place(target: Target) -> None:
    assert target.log.read([], SECONDS) == {}


@pytest.mark.parametrize("kind", ["in_memory", pytest.param("kafka", marks=pytest.mark.broker)])
def test_a_place_in_a_topic_that_does_not_exist_has_a_reason(request: pytest.FixtureRequest, kind: str) -> None:
    target: Target = request.getfixturevalue(kind)
    place = Place(Partition(f"{target.topic}-is-not-there", 0), 0)
    assert isinstance(target.log.read([place], SECONDS)[place], str)


def test_without_a_broker_a_write_fails_and_a_read_finds_nothing_in_time() -> None:
    log = kafka_log("127.0.0.1:1", "maps").log
    written = log.write({OF[0]: MapRecord(b"k", b"v")})
    assert log.read([Place(Partition("maps", 0), 0)], 0.3) == {}
    with pytest.raises(DeliveryError):
        written.result(SECONDS)
    log.close()


@pytest.mark.broker
def test_what_is_deleted_has_a_reason_and_hides_nothing_behind_it(broker: Broker, topic: MakeTopic) -> None:
    target = kafka_log(broker.bootstrap_servers, topic(1))
    places = [
        place
        for n in range(4)
        for place in target.log.write({OF[0]: MapRecord(b"k", b"%d" % n)}).result(SECONDS).values()
    ]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    (deleted,) = admin.delete_records([TopicPartition(target.topic, 0, places[2].offset)]).values()
    deleted.result(SECONDS)
    found = target.log.read(places, SECONDS)
    assert isinstance(found[places[0]], str)
    assert isinstance(found[places[1]], str)
    assert [found[place] for place in places[2:]] == [MapRecord(b"k", b"2"), MapRecord(b"k", b"3")]
    target.log.close()


@pytest.mark.broker
def test_a_record_that_is_acknowledged_without_its_offset_counts_as_not_written(wired: Wired, group: str) -> None:
    """A request was repeated, and the broker detects it too late to know where the records are."""
    topic = cluster.create_topic(wired.broker.bootstrap_servers, group, 1)
    log, _ = kafka_log(wired.wire.address, topic)
    wired.wire.refused_topics[topic] = KafkaError.DUPLICATE_SEQUENCE_NUMBER
    try:
        with pytest.raises(DeliveryError, match="does not return its offset"):
            log.write({OF[0]: MapRecord(b"k", b"v")}).result(SECONDS)
    finally:
        wired.wire.refused_topics.clear()
        log.close()
