"""Reading a topic without joining a group: its records, and the lag of a group."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processor.errors import BrokerError, LoadError
from processor.kafka import reading
from processor.kafka.reading import lag_of, records_of
from processor.runtime.ports import Partition
from tests.conftest import MakeTopic, Produce
from tests.support import cluster
from tests.support.addresses import free_ports
from tests.support.broker import Broker


def test_every_record_is_read_each_partition_in_its_order(broker: Broker, topic: MakeTopic, produce: Produce) -> None:
    name = topic(partitions=3)
    produce(name, [(b"a", str(number).encode()) for number in range(2500)], partition=0)
    produce(name, [(b"b", str(number).encode()) for number in range(10)], partition=2)
    found = records_of(broker.bootstrap_servers, {}, name)
    by_partition = {number: [r.value() for r in found if r.partition() == number] for number in range(3)}
    assert by_partition == {
        0: [str(number).encode() for number in range(2500)],
        1: [],
        2: [str(number).encode() for number in range(10)],
    }


def test_a_topic_without_records_has_none(broker: Broker, topic: MakeTopic) -> None:
    assert records_of(broker.bootstrap_servers, {}, topic()) == []


@pytest.mark.parametrize("read", [records_of, lambda servers, config, topic: lag_of(servers, config, "g", topic)])
def test_a_topic_that_does_not_exist_is_named(broker: Broker, read: object) -> None:
    with pytest.raises(LoadError, match="no-such-topic"):
        read(broker.bootstrap_servers, {}, "no-such-topic")  # type: ignore[operator]


def test_an_unavailable_broker_is_named() -> None:
    servers = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(BrokerError, match=servers):
        records_of(servers, {}, "orders", timeout=1)


def test_the_lag_is_what_the_group_has_not_committed(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce
) -> None:
    name = topic(partitions=3)
    produce(name, [(b"a", b"1")] * 10, partition=0)
    produce(name, [(b"b", b"1")] * 4, partition=1)
    assert lag_of(broker.bootstrap_servers, {}, group, name) == {Partition(name, 0): 10, Partition(name, 1): 4}
    cluster.commit(broker.bootstrap_servers, group, TopicPartition(name, 0, 7))
    assert lag_of(broker.bootstrap_servers, {}, group, name) == {Partition(name, 0): 3, Partition(name, 1): 4}


class StartingClient:
    """The client of a group whose coordinator starts: its first request is refused."""

    def __init__(self) -> None:
        self._refusals = [KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))]

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self._refusals:
            raise self._refusals.pop()
        return [TopicPartition(place.topic, place.partition, 7) for place in partitions]

    def poll(self, seconds: float) -> None: ...

    def close(self) -> None: ...


def test_the_lag_waits_for_a_coordinator_that_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "open_client", lambda *_: StartingClient())
    monkeypatch.setattr(reading, "_extents", lambda *_: {Partition("t", 0): (0, 10)})
    assert lag_of("127.0.0.1:1", {}, "g", "t") == {Partition("t", 0): 3}
