"""The control topic without a broker."""

from __future__ import annotations

import threading
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

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
    """Delivers these records, and then nothing."""

    def __init__(self, *records: object, error: KafkaError | None = None) -> None:
        self.records = [list(records)]
        self.topic = SimpleNamespace(partitions={0: object()}, error=error)

    def list_topics(self, name: str, timeout: float) -> object:
        return SimpleNamespace(topics={name: self.topic})

    def assign(self, _: object) -> None: ...

    def consume(self, _: int, seconds: float) -> list[object]:
        threading.Event().wait(0.0 if self.records else seconds)
        return self.records.pop() if self.records else []

    def close(self) -> None: ...


def record(key: bytes, error: KafkaError | None = None) -> object:
    return SimpleNamespace(error=lambda: error, key=lambda: key, value=lambda: b"", partition=lambda: 0)


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
