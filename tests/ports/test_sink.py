"""The contract of `Sink` in `processor/runtime/ports.py`, checked on every implementation."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from processor.engine.record import Headers
from processor.errors import DeliveryError
from processor.kafka.config import sink_configs
from processor.kafka.embedded import EmbeddedBroker
from processor.kafka.sink import KafkaSink
from processor.runtime.ports import Sink
from processor.testing.memory.cluster import MemoryCluster
from processor.testing.memory.sink import MemorySink
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.scripted_kafka import ScriptedSink

SECONDS = 30.0
NOWHERE = "127.0.0.1:1"

Outcomes = queue.Queue[DeliveryError | None]
Row = tuple[bytes | None, bytes | None, Headers]


class Target(NamedTuple):
    """A sink, a topic to send to, and a way to read what has arrived there."""

    sink: Sink
    topic: str
    arrived: Callable[[], list[Row]]
    """By partition, and there in the order of the log."""


@pytest.fixture
def kafka(broker: Broker, topic: MakeTopic) -> Target:
    return kafka_target(broker.bootstrap_servers, topic(2))


@pytest.fixture
def embedded(embedded_broker: EmbeddedBroker, group: str) -> Target:
    embedded_broker.create_topics([group])
    return kafka_target(embedded_broker.bootstrap_servers, group)


def kafka_target(bootstrap_servers: str, topic: str) -> Target:
    def arrived() -> list[Row]:
        messages = cluster.read_all(bootstrap_servers, topic)
        return [(m.key(), m.value(), m.headers() or []) for m in messages]  # type: ignore[misc]

    return Target(KafkaSink(sink_configs(bootstrap_servers, {}), print), topic, arrived)


@pytest.fixture
def in_memory() -> Target:
    cluster = MemoryCluster()
    return in_memory_target(MemorySink(cluster), cluster)


@pytest.fixture
def scripted() -> Target:
    cluster = MemoryCluster()
    return in_memory_target(ScriptedSink(cluster), cluster)


def in_memory_target(sink: Sink, cluster: MemoryCluster) -> Target:
    cluster.create_topic("t", 4)
    return Target(sink, "t", lambda: [(r.key(), r.value(), r.headers() or []) for r in cluster.records("t")])


@pytest.fixture(params=["in_memory", "scripted", "embedded", pytest.param("kafka", marks=pytest.mark.broker)])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    target: Target = request.getfixturevalue(request.param)
    yield target
    target.sink.close(0.0)


@pytest.fixture
def kafka_nowhere() -> Sink:
    return KafkaSink(sink_configs(NOWHERE, {}), lambda event: None)


@pytest.fixture
def scripted_silent() -> Sink:
    sink = ScriptedSink(MemoryCluster())
    sink.holding = True
    return sink


@pytest.fixture(params=["kafka_nowhere", "scripted_silent"])
def unanswered(request: pytest.FixtureRequest) -> Iterator[Sink]:
    """A sink that gets no acknowledgements."""
    sink: Sink = request.getfixturevalue(request.param)
    yield sink
    sink.close(0.0)


def test_bytes_arrive_as_they_were_sent(target: Target) -> None:
    outcomes = Outcomes()
    rows: list[tuple[bytes | None, bytes | None, Headers | None]] = [
        (None, None, None),
        (b"", b"", [("empty", b""), ("null", None)]),
        (b"\xff\x00", b"\x00\xfe", [("twice", b"1"), ("twice", b"\xff"), ("a", b"z"), ("twice", b"1")]),
        (b"k", b"v", []),
    ]
    for key, value, headers in rows:
        target.sink.send(target.topic, key, value, headers, outcomes.put)
    assert [outcomes.get(timeout=SECONDS) for _ in rows] == [None] * 4
    assert target.sink.close(SECONDS) == 0
    assert sorted(target.arrived(), key=repr) == sorted([(k, v, h or []) for k, v, h in rows], key=repr)


def test_records_of_one_key_arrive_in_the_order_in_which_they_were_sent(target: Target) -> None:
    outcomes = Outcomes()
    for number in range(500):
        target.sink.send(target.topic, b"k", b"%d" % number, None, outcomes.put)
    assert target.sink.close(SECONDS) == 0
    assert target.arrived() == [(b"k", b"%d" % number, []) for number in range(500)]


def test_a_record_goes_to_the_partition_that_it_was_given(target: Target) -> None:
    outcomes = Outcomes()
    for number in range(20):
        target.sink.send(target.topic, b"%d" % number, b"v", None, outcomes.put, number % 2)
    assert target.sink.close(SECONDS) == 0
    keys = [b"%d" % number for number in range(20)]
    assert [key for key, _, _ in target.arrived()] == keys[::2] + keys[1::2]


def test_an_acknowledgement_comes_by_itself_and_from_another_thread(target: Target) -> None:
    threads: queue.Queue[int] = queue.Queue()
    target.sink.send(target.topic, b"k", b"v", None, lambda error: threads.put(threading.get_ident()))
    assert threads.get(timeout=SECONDS) != threading.get_ident()


def test_the_callback_after_acknowledgements_runs_after_them_in_their_thread(target: Target) -> None:
    reported, calls = list[int](), queue.Queue[tuple[int, int]]()
    target.sink.after_reports(lambda: calls.put((len(reported), threading.get_ident())))
    for _ in range(3):
        target.sink.send(target.topic, b"k", b"v", None, lambda error: reported.append(threading.get_ident()))
    while (call := calls.get(timeout=SECONDS))[0] < 3:
        pass
    assert call == (3, reported[-1])


def test_a_close_waits_for_what_is_under_way(target: Target) -> None:
    outcomes = Outcomes()
    for _ in range(100):
        target.sink.send(target.topic, b"k", b"v", None, outcomes.put)
    assert target.sink.close(SECONDS) == 0
    assert [outcomes.get_nowait() for _ in range(100)] == [None] * 100
    assert outcomes.empty()
    assert len(target.arrived()) == 100


def test_what_is_not_acknowledged_when_its_time_is_over_is_counted_and_reported_once(unanswered: Sink) -> None:
    outcomes = Outcomes()
    for _ in range(10):
        unanswered.send("t", b"k", b"v", None, outcomes.put)
    assert unanswered.close(0.2) == 10
    errors = [outcomes.get_nowait() for _ in range(10)]
    assert all("not acknowledged" in str(error) for error in errors)
    assert outcomes.empty()
    assert unanswered.close(0.2) == 0


def test_a_closed_sink_accepts_no_record(target: Target) -> None:
    outcomes = Outcomes()
    assert target.sink.close(1.0) == 0
    target.sink.send(target.topic, b"k", b"v", None, outcomes.put)
    assert "stopped" in str(outcomes.get_nowait())
    assert target.sink.close(1.0) == 0
    assert target.arrived() == []


def test_every_record_is_reported_once_though_the_sink_closes_while_threads_send(target: Target) -> None:
    outcomes, begun = Outcomes(), threading.Event()

    def send() -> None:
        for _ in range(2_000):
            target.sink.send(target.topic, b"k", b"v", None, outcomes.put)
            begun.set()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(SECONDS)
    assert target.sink.close(SECONDS) == 0
    for thread in threads:
        thread.join()
    reported = [outcomes.get_nowait() for _ in range(8_000)]
    assert outcomes.empty()
    assert sum(outcome is None for outcome in reported) == len(target.arrived()) > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises_does_not_keep_the_others_from_being_called(target: Target) -> None:
    outcomes = Outcomes()

    def fail(error: DeliveryError | None) -> None:
        raise RuntimeError("a fault of the callback")

    target.sink.send(target.topic, b"k", b"1", None, fail)
    target.sink.send(target.topic, b"k", b"2", None, outcomes.put)
    assert outcomes.get(timeout=SECONDS) is None
