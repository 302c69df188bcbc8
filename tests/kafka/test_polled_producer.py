"""A producer whose client fails because of a broker: a new client replaces it once all its records are reported."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from processor.errors import BrokerError, DeliveryError
from processor.kafka import polled_producer
from processor.kafka.config import producer_config
from processor.kafka.dispatcher import Dispatcher
from processor.kafka.polled_producer import PolledProducer
from processor.telemetry.events import Event, KafkaClientError, KafkaProducerFailed
from tests.conftest import Wired
from tests.support import cluster
from tests.support.until import until

BATCH = 20
"""Records that are sent together, at once. Fewer wait for longer than a test lasts, where a test says so."""


class Sending:
    """A producer behind a proxy, the outcome of each record, and what it logs."""

    def __init__(self, wired: Wired, topic: str, **config: str) -> None:
        self.topic = topic
        self.events: list[Event] = []
        self.emitted_at: list[float] = []
        """When each event was emitted."""
        self.outcomes: queue.Queue[DeliveryError | None] = queue.Queue()
        spelled = {key.replace("_", "."): value for key, value in config.items()}
        self.producer = PolledProducer(
            producer_config(wired.wire.address, spelled), self._note, "producer", "the test closed it"
        )

    def _note(self, event: Event) -> None:
        self.emitted_at.append(time.monotonic())
        self.events.append(event)

    def send(self, value: bytes, topic: str | None = None) -> bool:
        """Hands one record over, and returns whether there was room."""

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            self.outcomes.put(None if error is None else self.producer.delivery_error(topic or self.topic, error))
            self.producer.reported(error)

        return self.producer.produce(topic or self.topic, value, b"k", None, on_delivery)

    def send_all(self, count: int, topic: str | None = None) -> None:
        """Hands over this many records."""
        for _ in range(count):
            assert self.send(b"x", topic)

    def send_when_there_is_room(self, value: bytes) -> None:
        until(lambda: self.send(value), "there is room", 30)

    def outcome(self) -> DeliveryError | None:
        return self.outcomes.get(timeout=30)

    @property
    def failures(self) -> list[KafkaProducerFailed]:
        return [event for event in self.events if isinstance(event, KafkaProducerFailed)]


@pytest.fixture
def sending(wired: Wired, group: str) -> Iterator[Sending]:
    """A `Sending` with its own topic. Afterwards the proxy refuses nothing."""
    sending = Sending(wired, cluster.create_topic(wired.broker.bootstrap_servers, group, 1))
    yield sending
    wired.wire.refused_topics.clear()
    wired.wire.refused_producers = None
    sending.producer.close(0)


def contents(wired: Wired, topic: str) -> list[bytes | None]:
    return [record.value() for record in cluster.read_all(wired.broker.bootstrap_servers, topic)]


def test_a_client_ended_by_a_broker_is_replaced_and_reported_once(wired: Wired, sending: Sending) -> None:
    sending.send(b"1")
    assert sending.outcome() is None
    wired.wire.refused_topics[sending.topic] = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    sending.send(b"2")
    failed = sending.outcome()
    assert "out of order sequence number" in str(failed)
    wired.wire.refused_topics.clear()
    for value in (b"3", b"4"):
        sending.send_when_there_is_room(value)
        assert sending.outcome() is None
    assert contents(wired, sending.topic) == [b"1", b"3", b"4"]
    (failure,) = sending.failures
    assert (failure.code, failure.reopen_in_seconds) == ("OUT_OF_ORDER_SEQUENCE_NUMBER", 0)
    assert "sequence desynchronization" in failure.message
    assert not [event for event in sending.events if isinstance(event, KafkaClientError)]


def test_a_record_reported_as_a_duplicate_ends_the_client_later_and_it_is_replaced(
    wired: Wired, sending: Sending
) -> None:
    """The proxy reports a record as a duplicate, but the broker has never seen it: the next one is out of order."""
    sending.send(b"1")
    assert sending.outcome() is None
    wired.wire.refused_topics[sending.topic] = KafkaError.DUPLICATE_SEQUENCE_NUMBER
    sending.send(b"2")
    assert sending.outcome() is None  # as the client has it
    wired.wire.refused_topics.clear()
    sending.send(b"3")
    assert "out of order" in str(sending.outcome())
    sending.send_when_there_is_room(b"3")
    assert sending.outcome() is None
    assert contents(wired, sending.topic) == [b"1", b"3"]
    assert len(sending.failures) == 1


def test_records_of_other_topics_fail_with_the_reason_and_none_is_left_unreported(
    wired: Wired, group: str, sending: Sending
) -> None:
    """They wait in the client for a full batch when it fails, and are purged."""
    waiting = Sending(wired, sending.topic, linger_ms="100000", batch_num_messages=str(BATCH))
    other = cluster.create_topic(wired.broker.bootstrap_servers, f"{group}-other", 1)
    for topic in (None, other):
        waiting.send_all(BATCH, topic)
    assert [waiting.outcome() for _ in range(2 * BATCH)] == [None] * (2 * BATCH)
    wired.wire.refused_topics[sending.topic] = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    waiting.send_all(BATCH - 1, other)
    waiting.send_all(BATCH)
    outcomes = [waiting.outcome() for _ in range(2 * BATCH - 1)]
    assert all(isinstance(outcome, DeliveryError) for outcome in outcomes)
    errors = sorted({str(outcome) for outcome in outcomes})
    assert len(errors) == 2
    assert errors[0].startswith(f"{other}: ") or errors[1].startswith(f"{other}: ")
    assert sum("OUT_OF_ORDER_SEQUENCE_NUMBER" in str(outcome) for outcome in outcomes) == BATCH - 1
    until(lambda: len(waiting.producer) == 0, "all are counted")
    assert waiting.outcomes.empty()
    assert len(contents(wired, other)) == BATCH
    waiting.producer.close(5)


def test_clients_that_fail_one_after_the_other_come_at_growing_intervals(wired: Wired, sending: Sending) -> None:
    """As if a broker did not allow idempotent producers. Meanwhile each record is refused with the reason."""
    wired.wire.refused_producers = KafkaError.CLUSTER_AUTHORIZATION_FAILED
    before, errors = wired.wire.producers, list[DeliveryError | None]()

    def send() -> DeliveryError | None:
        try:
            return sending.outcome() if sending.send(b"x") else DeliveryError("no room")
        except DeliveryError as error:
            return error

    def has_failed_three_times() -> bool:
        errors.append(send())
        return len(sending.failures) == 3

    until(has_failed_three_times, "three clients have failed")
    assert wired.wire.producers - before == 3
    assert [failure.reopen_in_seconds for failure in sending.failures] == [0.0, 1.0, 2.0]
    emitted = zip(sending.emitted_at, sending.events, strict=False)  # one may be on its way
    failed_at = [at for at, event in emitted if isinstance(event, KafkaProducerFailed)]
    assert failed_at[2] - failed_at[1] > 0.9
    assert isinstance(errors[0], DeliveryError)
    assert isinstance(errors[0].__cause__, BrokerError)
    assert "CLUSTER_AUTHORIZATION_FAILED" in str(errors[0])
    until(lambda: "a new one opens in" in str(send()), "a record is refused with the reason")
    wired.wire.refused_producers = None
    until(lambda: send() is None, "a client that works has taken the place of the others")
    assert contents(wired, sending.topic) == [b"x"]


def test_a_failed_client_whose_last_records_are_not_acknowledged_is_dropped_after_a_while(
    wired: Wired, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker hangs, and the proxy itself answers what it refuses."""
    monkeypatch.setattr("processor.kafka.polled_producer.LAST_REPORTS_SECONDS", 1.0)
    unanswered = cluster.create_topic(wired.broker.bootstrap_servers, f"{sending.topic}-unanswered", 1)
    for topic in (sending.topic, unanswered):
        sending.send(b"1", topic)
    assert [sending.outcome(), sending.outcome()] == [None, None]
    wired.wire.refused_topics[sending.topic] = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    wired.broker.pause()
    try:
        sending.send(b"2", unanswered)
        sending.send(b"2")
        refused, dropped = sending.outcome(), sending.outcome()
    finally:
        wired.broker.resume()
    assert str(refused) == f"{sending.topic}: Broker received an out of order sequence number"
    assert str(dropped) == (
        f"{unanswered}: the Kafka client failed before the acknowledgement: OUT_OF_ORDER_SEQUENCE_NUMBER"
    )
    wired.wire.refused_topics.clear()
    sending.send_when_there_is_room(b"3")
    assert sending.outcome() is None
    assert len(sending.failures) == 1


def test_a_client_that_ends_while_it_is_closed_reports_everything(wired: Wired, sending: Sending) -> None:
    sending.send(b"1")
    assert sending.outcome() is None
    wired.wire.refused_topics[sending.topic] = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    sending.send(b"2")
    assert sending.producer.close(10) == 0
    assert "out of order" in str(sending.outcomes.get_nowait())


# --- without a broker --------------------------------------------------------------------------------


class SlowClient:
    """A client that has failed. It reports its record as purged a while after it was purged, as on a busy machine."""

    POLLS = 20
    """Calls of `poll` without a report after the purge."""

    def __init__(self) -> None:
        self.is_purged = threading.Event()
        self._fault: KafkaException | None = None
        self._on_delivery: Callable[[KafkaError, Any], None] | None = None
        self._polls = 0

    def produce(self, *_: object, on_delivery: Callable[[KafkaError, Any], None], **__: object) -> None:
        self._on_delivery = on_delivery
        self._fault = KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "it failed", fatal=True))

    def poll(self, seconds: float) -> None:
        if (fault := self._fault) is not None:
            self._fault = None
            raise fault
        threading.Event().wait(min(seconds, 0.02))
        self._polls += self.is_purged.is_set()
        if self._polls > self.POLLS and (on_delivery := self._on_delivery) is not None:
            self._on_delivery = None
            on_delivery(KafkaError(KafkaError._PURGE_INFLIGHT), None)

    def purge(self) -> None:
        self.is_purged.set()

    def __len__(self) -> int:
        return int(self._on_delivery is not None)


def producer_of(monkeypatch: pytest.MonkeyPatch, client: SlowClient) -> tuple[PolledProducer, list[KafkaError | None]]:
    """A producer with this client, and what it reports of one record."""
    monkeypatch.setattr(polled_producer, "open_client", lambda *_: client)
    producer, reports = (
        PolledProducer({}, list[Event]().append, "producer", "the test closed it"),
        list[KafkaError | None](),
    )

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        reports.append(error)
        producer.reported(error)

    assert producer.produce("t", b"x", None, None, on_delivery)
    return producer, reports


def test_a_failed_client_is_kept_until_its_purged_records_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled_producer, "LAST_REPORTS_SECONDS", 0.0)
    client = SlowClient()
    producer, reports = producer_of(monkeypatch, client)
    until(lambda: reports, "the record is reported")
    assert client.is_purged.is_set()
    assert producer.close(5) == 0


def test_close_waits_for_the_reports_of_purged_records(monkeypatch: pytest.MonkeyPatch) -> None:
    producer, reports = producer_of(monkeypatch, SlowClient())
    assert producer.close(0) == 1
    assert len(reports) == 1


def test_a_producer_whose_thread_cannot_be_started_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise no outcome would be reported."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(polled_producer, "open_client", lambda *_: SlowClient())
    producer = PolledProducer({}, list[Event]().append, "producer", "the test closed it")
    for _ in range(2):
        with pytest.raises(DeliveryError, match="no thread can be started for the Kafka client: can't start"):
            producer.open()
    assert producer.close(0) == 0


def test_a_callback_that_raises_system_exit_does_not_end_the_thread_that_reports() -> None:
    config = {"delivery.timeout.ms": "1000", "linger.ms": "0"}
    with Dispatcher("127.0.0.1:1", "t", value_format="json", kafka_config=config) as dispatcher:

        def leave(_: object) -> None:
            raise SystemExit(1)

        first = dispatcher.submit("s", 1)
        first.add_done_callback(leave)
        assert first.exception(60) is not None
        assert dispatcher.submit("s", 2).exception(60) is not None  # without a flush: the thread reports it


POLLS_IN_A_CALLBACK = """
import sys
from processor import Dispatcher

config = {"delivery.timeout.ms": "1000", "linger.ms": "0"}
dispatcher = Dispatcher("127.0.0.1:1", "t", value_format="json", kafka_config=config)
sent = [dispatcher.submit("s", number) for number in range(3)]
sent[0].add_done_callback(lambda _: getattr(dispatcher, sys.argv[1])(0.2))
print([type(each.exception(60)).__name__ for each in sent])
dispatcher.close(0)
"""


@pytest.mark.parametrize("call", ["flush", "close"])
def test_a_callback_that_flushes_or_closes_does_not_abort_the_process(call: str) -> None:
    """The client ends the process at the next callback of a poll in which the same thread has polled."""
    command = [sys.executable, "-c", POLLS_IN_A_CALLBACK, call]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, str(["DeliveryError"] * 3))
