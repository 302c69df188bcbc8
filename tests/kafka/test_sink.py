from __future__ import annotations

import queue
import threading

import pytest

from processor.engine.record import Headers
from processor.errors import DeliveryError
from processor.kafka.config import producer_config
from processor.kafka.sink import KafkaSink
from processor.telemetry.events import Event, KafkaClientError
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker

NOWHERE = "127.0.0.1:1"
Outcomes = queue.Queue[DeliveryError | None]


def test_bytes_arrive_as_they_were_given(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    records: list[tuple[bytes | None, bytes | None, Headers | None]] = [
        (None, None, None),
        (b"", b"", [("empty", b""), ("null", None)]),
        (b"\xff\x00", b"\x00\xfe", [("twice", b"1"), ("twice", b"\xff"), ("a", b"z"), ("twice", b"1")]),
        (b"k", b"v", []),
    ]
    sink, outcomes = KafkaSink(producer_config(broker.bootstrap_servers, {}), print), Outcomes()
    for key, value, headers in records:
        sink.send(name, key, value, headers, outcomes.put)
    assert [outcomes.get(timeout=30) for _ in records] == [None] * 4
    assert sink.close(30) == 0
    arrived = [(m.key(), m.value(), m.headers() or None) for m in cluster.read_all(broker.bootstrap_servers, name)]
    assert arrived == [(key, value, headers or None) for key, value, headers in records]


def test_an_acknowledgement_arrives_without_anybody_polling(broker: Broker, topic: MakeTopic) -> None:
    sink, outcomes = KafkaSink(producer_config(broker.bootstrap_servers, {}), print), Outcomes()
    sink.send(topic(1), b"k", b"v", None, outcomes.put)
    assert outcomes.get(timeout=30) is None
    sink.close(5)


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


def test_what_is_not_acknowledged_at_the_end_is_told_so_exactly_once() -> None:
    sink, outcomes = KafkaSink(producer_config(NOWHERE, {}), lambda event: None), Outcomes()
    for _ in range(10):
        sink.send("t", b"k", b"v", None, outcomes.put)
    assert sink.close(0.2) == 10
    errors = [outcomes.get_nowait() for _ in range(10)]
    assert all("not acknowledged" in str(error) for error in errors)
    assert outcomes.empty()


def test_a_closed_sink_takes_nothing_more() -> None:
    sink, outcomes = KafkaSink(producer_config(NOWHERE, {}), print), Outcomes()
    assert sink.close(1) == 0
    sink.send("t", b"k", b"v", None, outcomes.put)
    assert "stopped" in str(outcomes.get_nowait())
    assert sink.close(1) == 0


def test_every_record_is_told_of_once_though_the_sink_closes_while_threads_send(
    broker: Broker, topic: MakeTopic
) -> None:
    name, sink, outcomes = topic(1), KafkaSink(producer_config(broker.bootstrap_servers, {}), print), Outcomes()
    sink.warm()

    def send() -> None:
        for _ in range(2_000):
            sink.send(name, b"k", b"v", None, outcomes.put)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert sink.close(30) == 0
    for thread in threads:
        thread.join()
    told = [outcomes.get_nowait() for _ in range(8_000)]
    assert outcomes.empty()
    assert sum(outcome is None for outcome in told) == len(cluster.read_all(broker.bootstrap_servers, name))


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
