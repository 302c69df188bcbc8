"""A line is read back as the event that it was written from, also by an older or newer reader."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.telemetry import events
from processor.telemetry.events import Event, kinds
from processor.telemetry.reading import Envelope, LogEvent, read
from tests.telemetry.test_log_schema import line_of, values

STOPPING = {"timestamp": "2026-11-24T11:22:40Z", "event": "consumer.stopping"}


def found(**fields: Any) -> LogEvent:
    log_event = read(json.dumps(STOPPING | fields).encode())
    assert log_event is not None
    return log_event


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.event)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_an_event_that_is_written_and_read_is_the_same_event(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(values(kind))
    log_event = read(plain_line_of(event).encode())
    assert log_event is not None
    assert isinstance(log_event.event, kind)
    read_back = {name: msgspec.to_builtins(getattr(log_event.event, name)) for name in kind.__struct_fields__}
    assert read_back == msgspec.to_builtins(event)


def plain_line_of(event: Event) -> str:
    """A line without what the log hides or escapes."""
    return msgspec.json.encode(STOPPING | msgspec.to_builtins(event) | {"event": event.event}).decode()


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.event)
def test_an_event_without_any_of_its_fields_has_defaults(kind: type[Event]) -> None:
    event = found(event=kind.event).event
    assert isinstance(event, kind)
    assert {getattr(event, name) or None for name in kind.__struct_fields__} <= {None}


def test_a_part_of_an_event_has_defaults_too() -> None:
    event = found(event="partition.stats", head={"offset": 5}).event
    assert isinstance(event, events.PartitionStats)
    assert isinstance(event.head, events.HeadOfLine)
    assert (event.head.offset, event.head.session_id, event.head.error) == (5, "", None)


def test_fields_that_a_later_version_adds_are_ignored() -> None:
    event = found(event="consumer.stats", succeeded=3, from_the_future={"a": [1]}).event
    assert isinstance(event, events.ConsumerStats)
    assert event.succeeded == 3


def test_an_enum_value_of_a_later_version_is_read_unchanged() -> None:
    event = found(event="partition.stats", head={"state": "suspended"}).event
    assert isinstance(event, events.PartitionStats)
    assert event.head is not None
    assert str(event.head.state) == "suspended"


def test_an_event_that_a_later_version_adds_is_none_and_not_an_error() -> None:
    assert read(json.dumps(STOPPING | {"event": "task.levitated"}).encode()) is None


def test_the_envelope_has_the_fields_of_every_line() -> None:
    text = line_of(events.ConsumerStopping(reason="SIGTERM", running=1, waiting=2), group="shop", fleet=3, consumer=1)
    log_event = read(text.encode())
    assert log_event is not None
    envelope = log_event.envelope
    assert (envelope.group, envelope.fleet, envelope.consumer) == ("shop", 3, 1)
    assert envelope.log_version == events.LOG_VERSION
    assert envelope.host
    assert envelope.pid


def test_a_line_of_the_parent_has_no_consumer() -> None:
    assert found().envelope == Envelope(timestamp=found().envelope.timestamp)
    assert found().envelope.consumer is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b'{"event": "consumer.stopping"}',
        json.dumps(STOPPING | {"running": "many"}).encode(),
        b"\xff{",
    ],
)
def test_what_is_not_an_event_is_an_error(line: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        read(line)
