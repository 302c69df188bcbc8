"""The parts of the sink that are specific to Kafka. tests/ports checks the contract of all sinks."""

from __future__ import annotations

import queue
import random
import threading

import pytest

from processor.errors import DeliveryError, RecordTooLarge
from processor.kafka.config import sink_configs
from processor.kafka.sink import KafkaSink
from processor.telemetry.events import Event, KafkaClientError, OutputTooLarge
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.until import until

NOWHERE = "127.0.0.1:1"
Outcomes = queue.Queue[DeliveryError | None]


def test_a_record_that_cannot_be_queued_is_reported_and_not_raised(broker: Broker, topic: MakeTopic) -> None:
    config = sink_configs(broker.bootstrap_servers, {"message.max.bytes": "10000000"})
    sink, outcomes = KafkaSink(config, print), Outcomes()
    sink.send(topic(1), b"k", b"x" * 11_000_000, None, outcomes.put)
    sink.send("no topic name", b"k", b"v", None, outcomes.put)
    too_large, no_topic = outcomes.get(timeout=30), outcomes.get(timeout=30)
    assert "too large" in str(too_large)
    assert "no topic name" in str(no_topic)
    sink.close(5)
    assert outcomes.empty()


def test_a_full_buffer_is_reported_and_not_waited_for() -> None:
    sink, outcomes = (
        KafkaSink(sink_configs(NOWHERE, {"queue.buffering.max.messages": "2"}), lambda e: None),
        Outcomes(),
    )
    for _ in range(3):
        sink.send("t", b"k", b"v", None, outcomes.put)
    assert "queue is full" in str(outcomes.get(timeout=30))
    assert sink.close(0) == 2


def test_a_failing_callback_does_not_prevent_the_others(broker: Broker, topic: MakeTopic) -> None:
    events: list[Event] = []
    name, sink, outcomes = topic(1), KafkaSink(sink_configs(broker.bootstrap_servers, {}), events.append), Outcomes()

    def fail(error: DeliveryError | None) -> None:
        raise RuntimeError("a fault of the callback")

    sink.send(name, b"k", b"1", None, fail)
    sink.send(name, b"k", b"2", None, outcomes.put)
    assert outcomes.get(timeout=30) is None
    sink.close(5)
    assert KafkaClientError(code="callback", message="RuntimeError: a fault of the callback") in events


def test_a_fault_of_what_follows_acknowledgements_is_logged_and_ends_nothing() -> None:
    events: list[Event] = []
    sink = KafkaSink(sink_configs(NOWHERE, {}), events.append)

    def fail() -> None:
        raise RuntimeError("a fault of what follows")

    sink.after_reports(fail)
    sink.warm()
    until(lambda: events.count(KafkaClientError(code="callback", message="RuntimeError: a fault of what follows")) > 1)
    assert sink.close(5) == 0


def test_a_sink_that_sends_nothing_opens_no_client() -> None:
    before = set(threading.enumerate())  # one of an earlier test may end meanwhile
    sink = KafkaSink(sink_configs(NOWHERE, {}), print)
    assert not set(threading.enumerate()) - before
    assert sink.close(10) == 0


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
def test_a_close_without_time_succeeds_if_nothing_is_unacknowledged(broker: Broker, seconds: float) -> None:
    sink = KafkaSink(sink_configs(broker.bootstrap_servers, {}), print)
    sink.warm()
    assert sink.close(seconds) == 0


def hard_to_compress(size: int) -> bytes:
    return random.Random(1).randbytes(size)


CASES = {
    "a few repeated bytes, which gzip makes small": (b"x" * 3_000_000, 1_048_588),
    # gzip looks 32 KiB back, zstd some megabytes.
    "what repeats itself far away, which zstd makes small": (hard_to_compress(100_000) * 4, 200_000),
    "more than the client's own limit": (bytes(70_000_000), 1_048_588),
}


@pytest.mark.parametrize("case", CASES)
def test_an_output_that_its_topic_accepts_only_compressed_is_sent_compressed(
    broker: Broker, topic: MakeTopic, case: str
) -> None:
    value, limit = CASES[case]
    events: list[Event] = []
    name, outcomes = topic(1, max_message_bytes=limit), Outcomes()
    sink = KafkaSink(sink_configs(broker.bootstrap_servers, {}), events.append)
    sink.send(name, b"k", value, [("h", b"1")], outcomes.put)
    assert outcomes.get(timeout=60) is None
    assert sink.close(5) == 0
    ((key, headers, found),) = [
        (m.key(), m.headers(), m.value()) for m in cluster.read_all(broker.bootstrap_servers, name)
    ]
    assert (key, headers) == (b"k", [("h", b"1")])
    assert found == value
    assert not [event for event in events if event.level == "error"]


def test_small_records_that_are_too_large_as_one_batch_all_arrive(broker: Broker, topic: MakeTopic) -> None:
    name, outcomes = topic(1, max_message_bytes=20_000), Outcomes()
    sink = KafkaSink(sink_configs(broker.bootstrap_servers, {}), print)
    values = [b"%d" % number + hard_to_compress(1_000) for number in range(500)]
    for value in values:
        sink.send(name, b"k", value, None, outcomes.put)
    assert [outcomes.get(timeout=30) for _ in values] == [None] * 500
    assert sink.close(5) == 0
    assert sorted(m.value() or b"" for m in cluster.read_all(broker.bootstrap_servers, name)) == sorted(values)


def test_a_compression_that_was_chosen_stays_the_only_one(broker: Broker, topic: MakeTopic) -> None:
    """With gzip it would be small enough."""
    name, outcomes = topic(1, max_message_bytes=8_000), Outcomes()
    sink = KafkaSink(sink_configs(broker.bootstrap_servers, {"compression.type": "snappy"}), print)
    sink.send(name, b"k", b"x" * 1_000_000, None, outcomes.put)
    assert isinstance(outcomes.get(timeout=30), RecordTooLarge)
    sink.close(5)


def test_an_output_that_its_topic_never_accepts_names_the_limit_and_is_logged_once_per_topic(
    broker: Broker, topic: MakeTopic
) -> None:
    events: list[Event] = []
    name, other, outcomes = topic(1), topic(1), Outcomes()
    sink = KafkaSink(sink_configs(broker.bootstrap_servers, {}), events.append)
    limits = "raise max.message.bytes of the topic, or message.max.bytes of its brokers"
    for target in (name, name, other):
        sink.send(target, b"k", hard_to_compress(1_500_000), [("h", b"1")], outcomes.put)
        refused = outcomes.get(timeout=30)
        assert isinstance(refused, RecordTooLarge)
        assert str(refused) == f"{target}: Message size too large: {limits}"
    assert [event for event in events if event.level == "error"] == [
        OutputTooLarge(topic=target, record_bytes=1_500_003, error=f"{target}: Message size too large: {limits}")
        for target in (name, other)
    ]
    sink.send(name, b"k", b"small", None, outcomes.put)
    assert outcomes.get(timeout=30) is None
    assert sink.close(5) == 0


def test_a_record_that_is_refused_while_the_sink_closes_is_still_sent_compressed(
    broker: Broker, topic: MakeTopic
) -> None:
    name, outcomes = topic(1), Outcomes()
    sink = KafkaSink(sink_configs(broker.bootstrap_servers, {}), print)
    sink.send(name, b"k", b"x" * 3_000_000, None, outcomes.put)
    assert sink.close(30) == 0
    assert outcomes.get_nowait() is None
