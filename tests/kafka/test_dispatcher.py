from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.codec.select import codec_for
from processor.engine.terms import Terms
from processor.errors import BrokerError, DeliveryError, EncodeError, RecordTooLarge, SettingsError
from processor.handlers.task import Task
from processor.handlers.terms import terms_of
from processor.kafka.config import producer_config
from processor.kafka.delivery_future import DeliveryFuture, RecordMetadata
from processor.kafka.dispatcher import Dispatcher
from processor.kafka.polled_producer import PolledProducer
from processor.kafka.task_producer import LOGGER
from processor.options.value_formats import ValueFormat
from tests.conftest import MakeTopic, Wired
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.until import until

NOWHERE = "127.0.0.1:1"


def murmur2(data: bytes) -> int:
    """Kafka's hash, written from its description (32-bit MurmurHash2, seed 0x9747b28c), as a signed number."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


@pytest.mark.parametrize(
    ("text", "known"), [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)]
)
def test_the_reference_murmur2_is_that_of_kafka(text: str, known: int) -> None:
    """The expected numbers are from the Java client's own test of `Utils.murmur2`."""
    assert murmur2(text.encode()) == known


def test_a_session_goes_to_the_partition_that_the_java_client_would_choose(broker: Broker, topic: MakeTopic) -> None:
    name, sessions = topic(7), ["21", "foobar", "a-little-bit-long-string", "é", *(f"session-{n}" for n in range(200))]
    with Dispatcher(broker.bootstrap_servers, name, value_format="json") as dispatcher:
        sent = {session: dispatcher.submit(session, None) for session in sessions}
    assert {session: sent[session].result().partition for session in sessions} == {
        session: (murmur2(session.encode()) & 0x7FFFFFFF) % 7 for session in sessions
    }


@pytest.mark.parametrize("value_format", ["avro", "json", "bytes"])
def test_a_consumer_reads_what_was_submitted(broker: Broker, topic: MakeTopic, value_format: ValueFormat) -> None:
    name = topic(1)
    payload: Any = b"\x00\xff" if value_format == "bytes" else {"amount": 12, "text": "ü"}
    headers: Mapping[str, str | bytes | None] = {"source": "till", "raw": b"\xff", "none": None}
    with Dispatcher(broker.bootstrap_servers, name, value_format=value_format) as dispatcher:
        place = dispatcher.submit("customer-17", payload, "charge", id="c-1", headers=headers).result(30)
    (record,) = cluster.read_all(broker.bootstrap_servers, name)
    content = codec_for(value_format).decode(record)  # type: ignore[arg-type]
    task = Task(record, content.payload, 1, 0.0, content)  # type: ignore[arg-type]
    assert (task.session_id, task.payload, task.name, task.id) == ("customer-17", payload, "charge", "c-1")
    assert headers.items() <= {**task.headers, "source": "till"}.items()
    assert task.headers["source"] == b"till"
    assert place == RecordMetadata(name, 0, 0)


def test_terms_become_headers_and_win_over_headers_of_the_same_name(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    moment = datetime(2026, 12, 1, 8, tzinfo=UTC)
    with Dispatcher(broker.bootstrap_servers, name, value_format="json") as dispatcher:
        dispatcher.submit("s", 1, priority=3, not_before=moment, headers={"task-priority": "7"}).result(30)
        with pytest.raises(ValueError, match="the task could never begin: it expires before its earliest start"):
            dispatcher.submit("s", 1, expires=moment, delay=10**9)
    (record,) = cluster.read_all(broker.bootstrap_servers, name)
    assert terms_of(record.headers() or []) == Terms(  # type: ignore[arg-type]  # what comes from a broker is bytes
        3, not_before=moment.timestamp()
    )


def test_a_task_without_an_id_is_sent_without_an_id_header(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    with Dispatcher(broker.bootstrap_servers, name, value_format="bytes") as dispatcher:
        dispatcher.submit("s", b"x")
    (record,) = cluster.read_all(broker.bootstrap_servers, name)
    assert record.headers() is None


def test_a_sessions_tasks_lie_in_the_order_of_submission(broker: Broker, topic: MakeTopic) -> None:
    name = topic(4)
    with Dispatcher(broker.bootstrap_servers, name, value_format="bytes", max_pending=500) as dispatcher:
        for number in range(5_000):
            dispatcher.submit(f"s{number % 50}", str(number))
    by_session: dict[bytes | None, list[int]] = {}
    for record in cluster.read_all(broker.bootstrap_servers, name):
        by_session.setdefault(record.key(), []).append(int(record.value() or b""))
    assert by_session == {f"s{n}".encode(): list(range(n, 5_000, 50)) for n in range(50)}


def test_a_failed_delivery_ends_the_future_with_the_reason(broker: Broker, topic: MakeTopic) -> None:
    with Dispatcher(broker.bootstrap_servers, topic(1), value_format="bytes") as dispatcher:
        with pytest.raises(
            RecordTooLarge, match=r"too large: raise max\.message\.bytes .* or set its compression\.type"
        ):
            dispatcher.submit("s", b"x" * 2_000_000).result(30)
        with pytest.raises(RecordTooLarge, match=r"too large for message\.max\.bytes of the client"):
            dispatcher.submit("s", b"x" * 65_000_000).result(30)
        assert dispatcher.submit("s", b"x").result(30).offset == 0


def test_a_lost_broker_is_reported_as_the_cause_of_the_failure() -> None:
    hasty = {"delivery.timeout.ms": "300"}
    with Dispatcher(NOWHERE, "t", value_format="bytes", kafka_config=hasty) as dispatcher:
        failure = dispatcher.submit("s", b"x").exception(30)
    assert isinstance(failure, DeliveryError)
    assert isinstance(failure.__cause__, BrokerError)


def test_submit_waits_while_too_many_are_pending_and_continues_when_there_is_room() -> None:
    """The first tasks time out, since there is no broker: this makes room."""
    slow = {"delivery.timeout.ms": "3000"}
    with Dispatcher(NOWHERE, "t", value_format="bytes", kafka_config=slow, max_pending=10) as dispatcher:
        started = time.monotonic()
        first = [dispatcher.submit("s", b"x") for _ in range(10)]
        assert dispatcher.pending() == 10  # not the client's own reports of a broker that is missing
        assert not any(sent.done() for sent in first)
        dispatcher.submit("s", b"x")
        assert time.monotonic() - started > 0.5
        assert any(sent.done() for sent in first)


def test_a_failing_log_handler_delays_no_task() -> None:
    """The handler is called in the thread that ends the futures."""

    class Broken(logging.Handler):
        calls = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.calls += 1
            raise OSError("no space left on device")

    handler, logger = Broken(), logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        with Dispatcher(NOWHERE, "t", value_format="bytes", kafka_config={"delivery.timeout.ms": "1000"}) as dispatcher:
            until(lambda: handler.calls > 0, "the client has reported that no broker is there")
            failure = dispatcher.submit("s", b"x").exception(30)
    finally:
        logger.removeHandler(handler)
    assert isinstance(failure, DeliveryError)


def test_pending_counts_tasks_and_not_the_clients_own_log_lines_and_errors() -> None:
    """Log lines and errors wait in the client while a callback occupies its thread."""
    returned = threading.Event()
    talkative = {"delivery.timeout.ms": "300", "debug": "broker,topic,msg"}
    with Dispatcher(NOWHERE, "t", value_format="bytes", kafka_config=talkative) as dispatcher:
        first = dispatcher.submit("s", b"x")
        first.add_done_callback(lambda _: returned.wait(30))
        until(first.done, "the first task has failed", 30)
        for _ in range(3):
            dispatcher.submit("s", b"x")
        assert dispatcher.pending() == 4
        returned.set()
        until(lambda: dispatcher.pending() == 0, "the others have failed, too", 30)


def test_close_flushes(broker: Broker, topic: MakeTopic) -> None:
    dispatcher = Dispatcher(broker.bootstrap_servers, topic(2), value_format="bytes")
    sent = [dispatcher.submit(f"s{n}", b"x") for n in range(1_000)]
    assert dispatcher.close() == 0
    assert all(future.done() and future.exception() is None for future in sent)
    assert dispatcher.close() == 0


def test_a_task_that_is_not_acknowledged_before_close_times_out_fails() -> None:
    dispatcher = Dispatcher(NOWHERE, "t", value_format="bytes")
    sent = dispatcher.submit("s", b"x")
    assert dispatcher.close(0.1) == 1
    with pytest.raises(DeliveryError, match="closed"):
        sent.result(0)


def test_a_client_ended_by_a_broker_fails_only_its_own_tasks_and_is_reported_once(
    wired: Wired, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed task may be in the log nevertheless: the caller decides whether to send it again."""
    name = cluster.create_topic(wired.broker.bootstrap_servers, group, 1)
    with Dispatcher(wired.wire.address, name, value_format="bytes") as dispatcher:
        assert dispatcher.submit("s", b"1").result(30).offset == 0
        wired.wire.refused_topics[name] = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
        failed = dispatcher.submit("s", b"2").exception(30)
        wired.wire.refused_topics.clear()
        sent = [dispatcher.submit("s", b"%d" % number) for number in range(3, 100)]
    assert isinstance(failed, DeliveryError)
    assert "out of order sequence number" in str(failed)
    assert [future.exception() for future in sent] == [None] * 97
    found = [record.value() for record in cluster.read_all(wired.broker.bootstrap_servers, name)]
    assert found == [b"1", *(b"%d" % number for number in range(3, 100))]
    logged = [record for record in caplog.records if record.name == "processor.kafka" and record.levelno > logging.INFO]
    assert len(logged) == 1
    assert "the next task opens a new one" in logged[0].getMessage()


def test_a_duplicate_recognised_by_a_broker_is_delivered_with_an_unknown_offset(wired: Wired, group: str) -> None:
    name = cluster.create_topic(wired.broker.bootstrap_servers, group, 1)
    with Dispatcher(wired.wire.address, name, value_format="bytes") as dispatcher:
        wired.wire.refused_topics[name] = KafkaError.DUPLICATE_SEQUENCE_NUMBER
        try:
            assert dispatcher.submit("s", b"1").result(30) == RecordMetadata(name, 0, -1)
        finally:
            wired.wire.refused_topics.clear()


def test_a_closed_dispatcher_accepts_no_task(broker: Broker) -> None:
    dispatcher = Dispatcher(broker.bootstrap_servers, "t", value_format="bytes")
    dispatcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        dispatcher.submit("s", b"x")


def test_no_future_is_left_open_when_one_thread_closes_and_others_submit(broker: Broker, topic: MakeTopic) -> None:
    dispatcher = Dispatcher(broker.bootstrap_servers, topic(1), value_format="bytes")

    def submit() -> list[DeliveryFuture]:
        sent = []
        try:
            while True:
                sent.append(dispatcher.submit("s", b"x"))
        except RuntimeError:
            return sent

    with ThreadPoolExecutor(3) as pool:
        submitting = [pool.submit(submit) for _ in range(3)]
        started = time.monotonic()
        while dispatcher.pending() < 100 and time.monotonic() - started < 30:
            pass
        dispatcher.close()
        assert all(sent.done() for thread in submitting for sent in thread.result())


@pytest.mark.parametrize(
    ("payload", "session", "error"),
    [({1, 2}, "s", EncodeError), ("x", "", ValueError), ("x", "\ud800", EncodeError), (b"\xff", "s", None)],
)
def test_a_value_that_cannot_be_encoded_raises_in_the_caller_at_once(
    payload: Any, session: str, error: type[Exception] | None
) -> None:
    dispatcher = Dispatcher(NOWHERE, "t", value_format="bytes")
    try:
        if error is None:
            dispatcher.submit(session, payload)
        else:
            with pytest.raises(error):
                dispatcher.submit(session, payload)
    finally:
        dispatcher.close(0)


def test_the_name_of_a_header_that_cannot_be_encoded_raises_before_it_comes_to_the_client() -> None:
    """The client's C code ends the process at such a name."""
    with Dispatcher(NOWHERE, "t") as dispatcher:
        with pytest.raises(EncodeError, match="UTF-8"):
            dispatcher.submit("s", 1, headers={"caf\udce9": b"x"})
        assert not dispatcher.pending()


def test_invalid_arguments_of_a_dispatcher_are_rejected_when_it_is_created() -> None:
    with pytest.raises(SettingsError, match="topic"):
        Dispatcher(NOWHERE)
    with pytest.raises(SettingsError, match="topic 'a b' is not a valid topic name"):
        Dispatcher(NOWHERE, "a b")
    with pytest.raises(SettingsError, match="max_pending"):
        Dispatcher(NOWHERE, "t", max_pending=0)
    with pytest.raises(SettingsError, match="acks"):
        Dispatcher(NOWHERE, "t", kafka_config={"acks": "1"})
    with pytest.raises(SettingsError, match=r"no\.such"):
        Dispatcher(NOWHERE, "t", kafka_config={"no.such": "1"})


class Report:
    """A delivery report's message."""

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


def future() -> DeliveryFuture:
    return DeliveryFuture(PolledProducer(producer_config(NOWHERE, {}), print, "unopened", "it was closed"))


def deliver(sent: DeliveryFuture, offset: int = 0) -> None:
    sent.on_delivery(None, Report(offset))  # type: ignore[arg-type]


def test_a_future_behaves_like_those_of_concurrent_futures() -> None:
    heard: list[Future[RecordMetadata]] = []
    sent = future()
    assert not sent.done()
    assert not sent.cancelled()
    assert not sent.cancel()
    sent.add_done_callback(heard.append)
    with pytest.raises(TimeoutError):
        sent.result(0)
    with pytest.raises(TimeoutError):
        sent.exception(0)
    deliver(sent, 7)
    assert sent.done()
    assert not sent.running()
    assert sent.result() == RecordMetadata("t", 0, 7)
    assert sent.exception() is None
    sent.add_done_callback(heard.append)
    assert heard == [sent, sent]
    assert "finished" in repr(sent)


def test_a_failed_future_raises_on_result_and_returns_the_error_on_exception() -> None:
    sent = future()
    sent.on_delivery(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), Report())  # type: ignore[arg-type]
    with pytest.raises(DeliveryError, match="t: "):
        sent.result()
    assert isinstance(sent.exception(), DeliveryError)


def test_wait_and_as_completed_receive_futures_that_end_later_and_earlier() -> None:
    early, late, failing = future(), future(), future()
    deliver(early)
    assert wait([early, late], timeout=0, return_when=FIRST_COMPLETED).done == {early}
    ended = as_completed([failing, late, early], timeout=30)
    assert next(ended) is early
    for sent, end in ((late, lambda: deliver(late)), (failing, lambda: failing.fail(DeliveryError("no")))):
        timer = threading.Timer(0.05, end)
        timer.start()
        assert next(ended) is sent
        timer.join()
    assert list(ended) == []
    assert wait([early, late, failing]).not_done == set()


def test_no_waiter_and_no_callback_is_missed_in_a_race_with_the_end() -> None:
    """The first thread that waits creates the lock, while another one ends the future: neither may miss the other."""
    for _ in range(3_000):
        sent, called, start = future(), threading.Event(), threading.Barrier(3)

        def end(sent: DeliveryFuture = sent, start: threading.Barrier = start) -> None:
            start.wait()
            deliver(sent)

        def call(
            sent: DeliveryFuture = sent, start: threading.Barrier = start, called: threading.Event = called
        ) -> None:
            start.wait()
            sent.add_done_callback(lambda _: called.set())

        threads = [threading.Thread(target=end), threading.Thread(target=call)]
        for thread in threads:
            thread.start()
        start.wait()
        assert sent.result(30).offset == 0
        for thread in threads:
            thread.join()
        assert called.is_set()
