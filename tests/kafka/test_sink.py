"""What is Kafka's of the Kafka sink; what every sink promises is in tests/ports."""

from __future__ import annotations

import queue
import threading

import pytest

from processor.errors import DeliveryError
from processor.kafka.config import producer_config
from processor.kafka.sink import KafkaSink
from processor.telemetry.events import Event, KafkaClientError
from tests.conftest import MakeTopic
from tests.support.broker import Broker

NOWHERE = "127.0.0.1:1"
Outcomes = queue.Queue[DeliveryError | None]


def test_a_record_that_cannot_be_queued_is_reported_and_not_raised(broker: Broker, topic: MakeTopic) -> None:
    sink, outcomes = KafkaSink(producer_config(broker.bootstrap_servers, {}), print), Outcomes()
    sink.send(topic(1), b"k", b"x" * 65_000_000, None, outcomes.put)
    sink.send("no topic name", b"k", b"v", None, outcomes.put)
    too_large, no_topic = outcomes.get(timeout=30), outcomes.get(timeout=30)
    assert "too large" in str(too_large)
    assert "no topic name" in str(no_topic)
    sink.close(5)
    assert outcomes.empty()


def test_a_full_buffer_is_reported_and_not_waited_for() -> None:
    sink, outcomes = (
        KafkaSink(producer_config(NOWHERE, {"queue.buffering.max.messages": "2"}), lambda e: None),
        Outcomes(),
    )
    for _ in range(3):
        sink.send("t", b"k", b"v", None, outcomes.put)
    assert "too many" in str(outcomes.get(timeout=1))
    assert sink.close(0) == 2


def test_a_callback_that_fails_does_not_silence_the_others(broker: Broker, topic: MakeTopic) -> None:
    events: list[Event] = []
    name, sink, outcomes = topic(1), KafkaSink(producer_config(broker.bootstrap_servers, {}), events.append), Outcomes()

    def fail(error: DeliveryError | None) -> None:
        raise RuntimeError("a fault of the callback")

    sink.send(name, b"k", b"1", None, fail)
    sink.send(name, b"k", b"2", None, outcomes.put)
    assert outcomes.get(timeout=30) is None
    sink.close(5)
    assert KafkaClientError(code="callback", message="RuntimeError: a fault of the callback") in events


def test_a_sink_that_sends_nothing_opens_no_client() -> None:
    before = threading.active_count()
    sink = KafkaSink(producer_config(NOWHERE, {}), print)
    assert threading.active_count() == before
    assert sink.close(10) == 0


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
def test_no_time_to_close_is_time_enough_for_nothing_under_way(broker: Broker, seconds: float) -> None:
    sink = KafkaSink(producer_config(broker.bootstrap_servers, {}), print)
    sink.warm()
    assert sink.close(seconds) == 0
