from __future__ import annotations

import json
import subprocess
import sys

import pytest
from confluent_kafka import Producer

from processor.errors import BrokerError
from processor.kafka.admin import await_topic, check_topics
from processor.kafka.config import admin_config, producer_config
from processor.kafka.embedded import PARTITIONS, EmbeddedBroker
from tests.support.lifeline import die_with_parent

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


def test_topics_have_four_partitions() -> None:
    with EmbeddedBroker() as broker:
        assert broker.create_topics(["a", "b"]) == {"a": PARTITIONS, "b": PARTITIONS}
        assert check_topics(admin_config(broker.bootstrap_servers, {}), ["a", "b"]) == {"a": 4, "b": 4}


def test_a_topic_that_is_sent_to_is_made() -> None:
    """The same as a real broker does that makes topics on demand."""
    with EmbeddedBroker() as broker:
        assert await_topic(admin_config(broker.bootstrap_servers, {}), "new") == PARTITIONS


def test_a_closed_broker_answers_no_more() -> None:
    with EmbeddedBroker() as broker:
        servers = broker.bootstrap_servers
    assert broker.bootstrap_servers == ""
    with pytest.raises(BrokerError):
        check_topics(admin_config(servers, {}), ["t"], timeout=1)
    with pytest.raises(BrokerError):
        broker.create_topics(["t"])
    broker.close()


def test_it_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["t"])
    assert capfd.readouterr() == ("", "")
