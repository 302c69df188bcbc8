from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from processor.errors import BrokerError
from processor.kafka.admin import TopicAdmin, await_topic, check_topics, ensure_topics
from processor.kafka.config import admin_config, producer_config
from processor.kafka.embedded import PARTITIONS, EmbeddedBroker
from tests.support.lifeline import die_with_parent

SOON = 60.0
"""Seconds for what takes few on a machine without other load. A classic group takes 88 of them here."""

CONSUMER = """
import json, sys, time
from confluent_kafka import Consumer
servers, protocol, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer({"bootstrap.servers": servers, "group.id": protocol, "group.protocol": protocol,
                     "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe(["tasks"])
values, deadline = [], time.monotonic() + 60
while len(values) < wanted and time.monotonic() < deadline:
    for message in consumer.consume(100, 0.2):
        if message.error() is None:
            values.append(message.value().decode())
offsets = consumer.commit(asynchronous=False)
print(json.dumps({"values": sorted(values), "committed": sum(max(place.offset, 0) for place in offsets)}))
consumer.close()
"""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_another_process_consumes_and_commits_in_a_group(protocol: str) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"])
        producer = Producer(producer_config(broker.bootstrap_servers, {"log_level": "0"}))
        for number in range(40):
            producer.produce("tasks", f"{number}", f"session-{number % 7}")
        assert producer.flush(30) == 0
        command = [sys.executable, "-c", CONSUMER, broker.bootstrap_servers, protocol, "40"]
        done = subprocess.run(command, capture_output=True, timeout=90, preexec_fn=die_with_parent(), check=True)
    assert json.loads(done.stdout) == {"values": sorted(str(number) for number in range(40)), "committed": 40}


def test_topics_have_four_partitions_or_the_requested_number() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["a", "b"])
        broker.create_topics(["one"], partitions=1)
        broker.create_topics(["many"], partitions=12)
        found = check_topics(TopicAdmin(admin_config(broker.bootstrap_servers, {})), ["a", "b", "one", "many"])
    assert found == {"a": 4, "b": 4, "one": 1, "many": 12}


def test_a_topic_is_created_once_and_with_at_least_one_partition() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["a"])
        with pytest.raises(BrokerError, match=r"topic a: .*already exists"):
            broker.create_topics(["a"], partitions=2)
        for count in (0, -1):
            with pytest.raises(BrokerError, match=f"the number of partitions must be at least 1, not {count}"):
                broker.create_topics(["b"], partitions=count)


def test_a_late_member_of_a_kip_848_group_gets_its_share_within_seconds() -> None:
    """A classic group would wait for two session time-outs: 88 seconds."""
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"])
        first = _Member(broker.bootstrap_servers)
        first.await_partitions(4)
        late = _Member(broker.bootstrap_servers)
        began = time.monotonic()
        while len(late.partitions) < 2:
            assert time.monotonic() - began < SOON
            first.poll()
            late.poll()
        first.close()
        late.await_partitions(4)
        late.close()
    assert time.monotonic() - began < SOON


class _Member:
    """A member of a KIP-848 group, polled by the test."""

    def __init__(self, servers: str) -> None:
        self.partitions: set[int] = set()
        config = {"bootstrap.servers": servers, "group.id": "g", "group.protocol": "consumer"}
        self._consumer = Consumer(config)
        self._consumer.subscribe(["tasks"], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.partitions |= {partition.partition for partition in partitions}
        consumer.incremental_assign(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.partitions -= {partition.partition for partition in partitions}
        consumer.incremental_unassign(partitions)

    def poll(self) -> None:
        self._consumer.poll(0.05)

    def await_partitions(self, count: int) -> None:
        deadline = time.monotonic() + SOON
        while len(self.partitions) < count:
            assert time.monotonic() < deadline
            self.poll()

    def close(self) -> None:
        self._consumer.close()


def test_a_topic_is_created_when_it_is_produced_to() -> None:
    """As a real broker does that creates topics automatically."""
    with EmbeddedBroker() as broker:
        assert await_topic(admin_config(broker.bootstrap_servers, {}), "new") == (PARTITIONS, None)


def test_topics_to_write_to_are_created_although_there_is_no_controller() -> None:
    """A client would wait for a controller until its timeout: ten seconds at each start of a consumer."""
    with EmbeddedBroker() as broker:
        own = TopicAdmin(admin_config(broker.bootstrap_servers, {}))
        ensured = ensure_topics(own, {"new": 4}, create=False)
        assert ensured.missing == {"new": "it does not exist"}
        began = time.monotonic()
        assert ensure_topics(own, {"new": 4}, create=True) == ((), {})
        assert time.monotonic() - began < 8
        assert check_topics(own, ["new"]) == {"new": 4}


def test_a_closed_broker_does_not_respond() -> None:
    with EmbeddedBroker() as broker:
        servers = broker.bootstrap_servers
    assert broker.bootstrap_servers == ""
    with pytest.raises(BrokerError):
        check_topics(TopicAdmin(admin_config(servers, {})), ["t"], timeout=1)
    with pytest.raises(BrokerError):
        broker.create_topics(["t"])
    broker.close()


def test_an_embedded_broker_prints_nothing() -> None:
    """In a process without any other client."""
    code = "from processor.kafka.embedded import EmbeddedBroker\nwith EmbeddedBroker() as it: it.create_topics(['t'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
