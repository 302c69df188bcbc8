"""The control topic without a broker."""

from __future__ import annotations

import threading
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from processor.kafka import control_topic
from processor.kafka.control_topic import ControlTopic
from processor.kafka.errors import reason_of
from processor.options.connection import ConnectionOptions
from processor.telemetry.events import ControlFailed, Event
from tests.support.until import until


def test_a_failure_is_logged_once_for_each_reason() -> None:
    events: list[Event] = []
    topic = ControlTopic(ConnectionOptions(bootstrap_servers="127.0.0.1:1"), "commands", events.append)
    denied, missing = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with closing(topic._client):
        for error in (denied, denied, missing, missing):
            topic._report(error)
    reasons = [event.error for event in events if isinstance(event, ControlFailed)]
    assert reasons == [reason_of(denied), reason_of(missing)]


class Client:
    """Delivers these records, and then none. A call may raise instead, and then loses the records that it took."""

    def __init__(self, *records: object, error: KafkaError | None = None) -> None:
        self.records = [list(records)]
        self.topic = SimpleNamespace(partitions={0: object()}, error=error)
        self.faults: list[Exception] = []
        self.begun: list[int] = []
        """The offsets from which it was to read."""

    def list_topics(self, name: str, timeout: float) -> object:
        return SimpleNamespace(topics={name: self.topic})

    def assign(self, positions: list[TopicPartition]) -> None:
        self.begun += [position.offset for position in positions]

    def consume(self, _: int, seconds: float) -> list[object]:
        if self.faults:
            raise self.faults.pop()
        threading.Event().wait(0.0 if self.records else seconds)
        return self.records.pop() if self.records else []

    def close(self) -> None: ...


def record(key: bytes, error: KafkaError | None = None, offset: int = 0) -> object:
    return SimpleNamespace(
        error=lambda: error, key=lambda: key, value=lambda: b"", partition=lambda: 0, offset=lambda: offset
    )


def following(client: Client, events: list[Event]) -> ControlTopic:
    topic = ControlTopic(ConnectionOptions(bootstrap_servers="127.0.0.1:1"), "commands", events.append)
    topic._client.close()
    stand_in: Any = client
    topic._client = stand_in
    return topic


def test_a_failure_after_the_topic_was_read_again_is_logged_although_the_reason_is_the_same() -> None:
    events: list[Event] = []
    denied, end = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), KafkaError(KafkaError._PARTITION_EOF)
    with closing(following(Client(*(record(b"", error) for error in (denied, denied, end, denied))), events)) as topic:
        topic.start(lambda key, value: None)
        assert topic.wait(20)
    assert [event.error for event in events if isinstance(event, ControlFailed)] == 2 * [reason_of(denied)]


def test_a_command_that_cannot_be_obeyed_is_logged_and_the_next_ones_are_obeyed() -> None:
    events, obeyed = list[Event](), list[bytes | None]()

    def apply(key: bytes | None, _: bytes | None) -> None:
        if key == b"1":
            raise RuntimeError("a fault")
        obeyed.append(key)

    with closing(following(Client(record(b"1"), record(b"2")), events)) as topic:
        topic.start(apply)
        until(lambda: obeyed, "the second command")
    assert [event.error for event in events if isinstance(event, ControlFailed)] == ["builtins.RuntimeError: a fault"]


def test_a_client_that_raises_is_logged_and_read_on_from_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_topic, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(control_topic, "LOG_AGAIN_SECONDS", 600.0)
    events, obeyed = list[Event](), list[bytes | None]()
    client = Client(record(b"1", offset=7))
    fault = KafkaException(KafkaError(KafkaError._FAIL))
    with closing(following(client, events)) as topic:
        topic.start(lambda key, value: obeyed.append(key))
        until(lambda: obeyed == [b"1"], "the first command")
        client.faults += [fault, fault]
        until(lambda: len(client.begun) == 3, "two new beginnings")
        client.records.append([record(b"2", offset=8), record(b"", KafkaError(KafkaError._PARTITION_EOF))])
        assert topic.wait(20)
    assert obeyed == [b"1", b"2"]
    assert client.begun == [OFFSET_BEGINNING, 8, 8]
    (event,) = [event for event in events if isinstance(event, ControlFailed)]
    assert "KafkaException" in event.error


def test_a_topic_that_is_missing_at_the_start_is_logged_and_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_topic, "SETTLING_SECONDS", 0.0)
    events, missing = list[Event](), KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    end = record(b"", KafkaError(KafkaError._PARTITION_EOF))
    client = Client(end, error=missing)
    with closing(following(client, events)) as topic:
        topic.start(lambda key, value: None)
        until(lambda: events, "control.failed")
        client.topic.error = None
        assert topic.wait(20)
    assert [event.error for event in events if isinstance(event, ControlFailed)] == [reason_of(missing)]
