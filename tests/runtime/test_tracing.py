"""One span an attempt, on the SDK's own exporter in memory."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from processor import BatchError, Processor, Reject, Task
from processor.telemetry.events import HandlerLog, TaskDeadLettered, TaskRetrying, TaskStuck, TaskSucceeded
from processor.telemetry.handler_logs import captured
from processor.telemetry.redaction import NOT_LOGGED, hashed
from processor.telemetry.spans import SCHEMA_URL, Spans
from tests.runtime.fakes import POISON, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.unconfigured_logging import unconfigured
from tests.support.until import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01".encode())


class Traced:
    """A consumer whose attempts are traced."""

    def __init__(self, app: object, *processors: SpanProcessor, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        for each in (*processors, SimpleSpanProcessor(self.exporter)):
            self.provider.add_span_processor(each)
        self.run = RunningConsumer(app, **options)
        self.run.consumer.trace(Spans(self.provider))

    def spans(self, count: int) -> list[ReadableSpan]:
        until(lambda: len(self.exporter.get_finished_spans()) >= count, f"{count} spans")
        return list(self.exporter.get_finished_spans())


@contextmanager
def traced(app: object, *processors: SpanProcessor, **options: Any) -> Iterator[Traced]:
    made = Traced(app, *processors, **options)
    with made.run:
        yield made


def record(
    offset: int, key: bytes = b"anna", value: bytes = b"v", name: str = "", *, traced: bool = True
) -> FakeRecord:
    made = FakeRecord(offset, key, value, name=name)
    if traced:
        (made.headers() or []).append(TRACEPARENT)
    return made


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_span_id(span.context.span_id)


def parent_id(span: ReadableSpan) -> str | None:
    return format_span_id(span.parent.span_id) if span.parent is not None else None


def current_span_id() -> str:
    return format_span_id(trace.get_current_span().get_span_context().span_id)


def sees(seen: list[tuple[int, str]]) -> Processor:
    app = Processor()

    @app.task("plain")
    def plain(task: Task) -> None:
        seen.append((task.offset, current_span_id()))

    @app.default
    async def coroutine(task: Task) -> None:
        await asyncio.sleep(0)
        seen.append((task.offset, current_span_id()))

    return app


@pytest.mark.parametrize("kind", ["threads", "coroutines", "both"])
def test_each_attempt_has_a_span_below_that_of_its_record_which_is_current_in_its_handler(kind: str) -> None:
    seen: list[tuple[int, str]] = []
    both = sees(seen)
    app = {"threads": both._handlers["plain"].function, "coroutines": both.sole_handler, "both": both}[kind]
    if kind == "coroutines":
        assert both._default is not None
        app = both._default.function
    with traced(app, workers=4) as consumer:
        consumer.run.push(*(record(n, b"k%d" % (n % 5), name="plain" if n % 2 else "") for n in range(20)))
        spans = consumer.spans(20)
    assert len(spans) == 20
    by_offset = {(span.attributes or {})["messaging.kafka.offset"]: span for span in spans}
    assert dict(seen) == {offset: span_id(span) for offset, span in by_offset.items()}
    for span in spans:
        assert span.context is not None
        assert (format_trace_id(span.context.trace_id), parent_id(span)) == (TRACE, PARENT)
        assert (span.name, span.kind, span.status.status_code) == ("process t", SpanKind.CONSUMER, StatusCode.UNSET)


def test_a_span_has_the_attributes_of_the_semantic_conventions() -> None:
    with traced(lambda task: None) as consumer:
        consumer.run.push(record(0, name="charge"))
        (span,) = consumer.spans(1)
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "g",
        "messaging.destination.name": "t",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.kafka.message.key": hashed("anna"),
        "messaging.message.id": "t-0-0",
        "messaging.message.body.size": 1,
        "processor.task.name": "charge",
        "processor.task.attempt": 1,
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == SCHEMA_URL


def test_a_record_without_a_trace_begins_one_and_a_session_is_shown_plain_where_the_log_shows_it() -> None:
    with traced(lambda task: None, log_sessions="plain") as consumer:
        consumer.run.push(record(0, traced=False), record(1, traced=False))
        spans = consumer.spans(2)
    assert [parent_id(span) for span in spans] == [None, None]
    assert len({span.context.trace_id for span in spans if span.context}) == 2
    assert [(span.attributes or {})["messaging.kafka.message.key"] for span in spans] == ["anna", "anna"]


def fails_once(task: Task) -> None:
    if task.attempt == 1:
        raise ConnectionError("the bank does not respond")


async def fails_once_async(task: Task) -> None:
    fails_once(task)


@pytest.mark.parametrize("handler", [fails_once, fails_once_async])
@pytest.mark.parametrize(("log_errors", "shown"), [("full", "the bank does not respond"), ("type", NOT_LOGGED)])
def test_a_failed_attempt_is_a_failed_span_and_the_next_attempt_is_another(
    handler: Any, log_errors: str, shown: str
) -> None:
    with traced(handler, log_errors=log_errors, log_level="debug") as consumer:
        consumer.run.push(record(0))
        failed, succeeded = consumer.spans(2)
        consumer.run.until_event(TaskSucceeded)
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, shown)
    (event,) = failed.events
    attributes = dict(event.attributes or {})
    assert "in fails_once" in str(attributes.pop("exception.stacktrace"))
    assert attributes == {"exception.type": "builtins.ConnectionError", "exception.message": shown}
    assert (failed.attributes or {})["error.type"] == "builtins.ConnectionError"
    assert (succeeded.status.status_code, succeeded.events) == (StatusCode.UNSET, ())
    assert [(span.attributes or {})["processor.task.attempt"] for span in (failed, succeeded)] == [1, 2]
    assert [parent_id(span) for span in (failed, succeeded)] == [PARENT, PARENT]
    for span, (line,) in ((failed, consumer.run.of(TaskRetrying)), (succeeded, consumer.run.of(TaskSucceeded))):
        assert (line.trace_id, line.span_id) == (TRACE, span_id(span))


def test_a_result_carries_the_span_on_and_a_dead_letter_is_unchanged() -> None:
    def handler(task: Task) -> bytes:
        if task.payload == b"bad":
            raise Reject("no")
        return b"done"

    with traced(handler, results_topic="results") as consumer:
        consumer.run.push(record(0), record(1, value=b"bad"))
        good, bad = consumer.spans(2)
        consumer.run.settled(2)
        letter = consumer.run.until_event(TaskDeadLettered)
    sent = {output.topic: output.headers for output in consumer.run.sink.sent}
    assert sent["results"]["traceparent"] == f"00-{TRACE}-{span_id(good)}-01".encode()
    assert sent["t.dlq"]["traceparent"] == TRACEPARENT[1]
    assert {name for name in sent["t.dlq"] if not name.startswith("dlq-")} == {"trace", "traceparent"}
    assert (letter.trace_id, letter.span_id) == (TRACE, span_id(bad))
    assert bad.status.status_code is StatusCode.ERROR


def test_what_a_handler_traces_itself_is_below_its_attempt_and_its_lines_have_the_ids_of_their_span() -> None:
    async def handler(task: Task) -> None:
        log.info("in the attempt")
        with consumer.provider.get_tracer("shop").start_as_current_span("bank"):
            await asyncio.to_thread(log.info, "in its own span")

    log = logging.getLogger("shop")
    with unconfigured(), traced(handler) as consumer:
        with captured(consumer.run.events.append, "info", wanted=True):
            consumer.run.push(record(0))
            bank, attempt = consumer.spans(2)
    assert parent_id(bank) == span_id(attempt)
    lines = [(line.message, line.trace_id, line.span_id) for line in consumer.run.of(HandlerLog)]
    assert lines == [
        ("in the attempt", TRACE, span_id(attempt)),
        ("in its own span", TRACE, span_id(bank)),
    ]


def test_an_attempt_that_takes_too_long_fails_with_its_limit() -> None:
    def handler(task: Task) -> None:
        while True:
            time.sleep(0.001)

    with traced(handler, timeout=0.05, max_attempts=1) as consumer:
        consumer.run.push(record(0))
        (span,) = consumer.spans(1)
    assert span.status.description == "the attempt took longer than 0.05 seconds"
    assert (span.attributes or {})["error.type"] == "processor.TaskTimeout"


def test_the_span_of_a_stuck_handler_ends_when_the_watchdog_gives_it_up() -> None:
    go = threading.Event()
    with traced(lambda task: go.wait(), timeout=0.05, workers=1) as consumer:
        consumer.run.push(record(0))
        (span,) = consumer.spans(1)
        stuck = consumer.run.until_event(TaskStuck)
        go.set()
    assert (span.attributes or {})["error.type"] == "processor.HandlerStuck"
    assert (stuck.trace_id, stuck.span_id) == (TRACE, span_id(span))
    assert len(consumer.exporter.get_finished_spans()) == 1


def test_a_handler_that_outlives_its_consumer_has_a_span_with_that_error() -> None:
    go = threading.Event()
    begun = threading.Event()

    def handler(task: Task) -> None:
        begun.set()
        go.wait()

    with traced(handler, drain_timeout=0.1, workers=1) as consumer:
        consumer.run.push(record(0))
        begun.wait(60)
        consumer.run.stop()
        (span,) = consumer.spans(1)
        go.set()
    assert span.status.description == "the handler still ran when its consumer stopped"


def test_a_value_that_cannot_be_decoded_has_no_span_since_no_handler_is_called() -> None:
    with traced(lambda task: None) as consumer:
        consumer.run.push(record(0, value=POISON), record(1))
        consumer.run.settled(2)
        (span,) = consumer.spans(1)
    assert (span.attributes or {})["messaging.kafka.offset"] == 1


class Broken(SpanProcessor):
    """Raises at the beginning or at the end of each span."""

    def __init__(self, at: str) -> None:
        self._at = at

    def on_start(self, span: object, parent_context: object = None) -> None:
        if self._at == "start":
            raise RuntimeError("the processor is broken")

    def on_end(self, span: object) -> None:
        if self._at == "end":
            raise RuntimeError("the processor is broken")


@pytest.mark.parametrize("at", ["start", "end"])
def test_an_sdk_that_raises_fails_no_task_and_is_reported_once(at: str) -> None:
    with unconfigured(), traced(lambda task: None, Broken(at)) as consumer:
        with captured(consumer.run.events.append, "info", wanted=True):
            consumer.run.push(*(record(n) for n in range(5)))
            consumer.run.settled(5)
    assert not consumer.run.of(TaskDeadLettered)
    (line,) = consumer.run.of(HandlerLog)
    assert (line.logger, line.error) == ("processor.tracing", "the processor is broken")


def test_a_task_that_follows_is_a_child_of_its_predecessors_span() -> None:
    given = record(0)
    (given.headers() or []).append(("task-then", b'[{"key": "next", "topic": "other"}]'))
    with traced(lambda task: None) as consumer:
        consumer.run.push(given)
        consumer.run.settled(1)
        (span,) = consumer.spans(1)
    (sent,) = consumer.run.sink.sent
    assert sent.headers["traceparent"] == f"00-{TRACE}-{span_id(span)}-01".encode()


def test_without_tracing_a_task_has_no_span_and_nothing_is_done_for_its_success() -> None:
    spans: list[object] = []
    with RunningConsumer(lambda task: spans.append(task._span)) as run:
        run.push(record(0))
        run.settled(1)
        assert run.consumer._settlement.note_success is None
    assert spans == [None]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_that_its_handlers_limit_holds_back_has_a_span_for_each_attempt_only(is_async: bool) -> None:
    def few(task: Task) -> None:
        time.sleep(0.01)

    async def few_async(task: Task) -> None:
        await asyncio.sleep(0.01)

    app = Processor()
    app.default(concurrency=1)(few_async if is_async else few)
    with traced(app, workers=4) as consumer:
        consumer.run.push(*(record(n, b"k%d" % n) for n in range(12)))
        consumer.run.settled(12)
        spans = consumer.spans(12)
    assert sorted((span.attributes or {})["messaging.kafka.offset"] for span in spans) == list(range(12))  # type: ignore[type-var]
    assert {parent_id(span) for span in spans} == {PARENT}
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}


def test_each_task_of_a_batch_has_a_span_and_none_is_the_current_one() -> None:
    app, seen = Processor(), list[str]()

    @app.batch("b", size=3, wait=60)
    def handle(tasks: list[Task]) -> None:
        seen.append(current_span_id())
        if any(task.offset == 1 for task in tasks) and tasks[0].attempt == 1:
            raise BatchError({1: ConnectionError("no")})

    with traced(app) as made:
        made.run.push(*[record(n, name="b") for n in range(3)])
        spans = made.spans(4)
        assert made.run.stop().exit_code == 0
    attributes = [dict(span.attributes or {}) for span in spans]
    ended = sorted(
        (each["messaging.kafka.offset"], each["processor.task.attempt"], each.get("error.type")) for each in attributes
    )
    assert ended == [(0, 1, None), (1, 1, "builtins.ConnectionError"), (1, 2, None), (2, 1, None)]
    assert {parent_id(span) for span in spans} == {PARENT}
    assert seen == ["0" * 16, "0" * 16]
    assert current_span_id() == "0" * 16
