"""W3C trace context in a record's header, and which tasks are logged one by one."""

from __future__ import annotations

import pytest

from processor.handlers.task import Task
from processor.runtime.task_log import in_sample
from processor.telemetry.events import TaskRetrying, TaskSucceeded
from processor.telemetry.trace_context import Trace, trace_context
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-more"])
def test_a_valid_trace_context_is_parsed(header: str) -> None:
    assert trace_context(header.encode()) == Trace(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"no",
        f"00-{TRACE}-{SPAN}".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{SPAN}-01\n".encode(),
        b"\xff" * 55,
    ],
)
def test_an_invalid_trace_header_has_no_context(header: bytes | None) -> None:
    assert trace_context(header) is None


class TracedRecord(FakeRecord):
    def headers(self) -> list[tuple[str, bytes | None]]:
        return [("traceparent", f"00-{TRACE}-{SPAN}-01".encode())]


def test_every_event_about_a_task_has_its_trace() -> None:
    def handler(task: Task) -> None:
        if task.attempt == 1:
            raise ValueError("no")

    with RunningConsumer(handler, log_level="debug") as run:
        run.push(TracedRecord(0, b"s"))
        run.settled(1)
        run.stop()
    (retrying,), (done,) = run.of(TaskRetrying), run.of(TaskSucceeded)
    assert [(e.trace_id, e.span_id) for e in (retrying, done)] == [(TRACE, SPAN)] * 2


def test_a_sample_has_the_same_tasks_each_time_with_all_their_events() -> None:
    def handler(task: Task) -> None:
        if task.attempt == 1:
            raise ValueError("no")

    records = [FakeRecord(n, b"s%d" % n) for n in range(200)]
    expected = {record.offset() for record in records if in_sample(record, 0.3)}
    assert 30 < len(expected) < 90
    with RunningConsumer(handler, log_level="debug", log_sample=0.3) as run:
        run.push(*records)
        run.settled(200)
        run.stop()
    assert {event.offset for event in run.of(TaskSucceeded)} == expected
    assert {event.offset for event in run.of(TaskRetrying)} == expected


def test_a_sample_of_0_is_empty() -> None:
    assert not in_sample(FakeRecord(0, b"s"), 0.0)
    with RunningConsumer(lambda task: None, log_level="debug", log_sample=0.0) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        run.stop()
    assert run.of(TaskSucceeded) == []
