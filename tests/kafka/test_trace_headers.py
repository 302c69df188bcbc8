"""Tasks that are sent inside an OpenTelemetry span carry its context."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from processor import AsyncDispatcher, Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from tests.support import cluster
from tests.support.lifeline import die_with_parent

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], partitions=1)
        yield embedded


def headers(broker: EmbeddedBroker) -> list[dict[str, Any]]:
    return [dict(record.headers() or ()) for record in cluster.read_all(broker.bootstrap_servers, "tasks")]


def traceparent_of(span: trace.Span) -> bytes:
    ids = span.get_span_context()
    trace_id, span_id = trace.format_trace_id(ids.trace_id), trace.format_span_id(ids.span_id)
    return f"00-{trace_id}-{span_id}-{ids.trace_flags:02x}".encode()


def test_a_task_has_the_header_of_the_current_span_unless_another_one_is_given(broker: EmbeddedBroker) -> None:
    tracer = TracerProvider().get_tracer("shop")
    with Dispatcher(broker.bootstrap_servers, "tasks", value_format="bytes") as dispatcher:
        dispatcher.submit("s", b"outside")
        with tracer.start_as_current_span("request") as span:
            dispatcher.submit("s", b"inside", headers={"source": "till"})
            dispatcher.submit("s", b"given", headers={"traceparent": TRACEPARENT})
    outside, inside, given = headers(broker)
    assert "traceparent" not in outside
    assert (inside["traceparent"], inside["source"]) == (traceparent_of(span), b"till")
    assert given["traceparent"] == TRACEPARENT.encode()


def test_coroutines_at_the_same_time_have_each_its_own_span(broker: EmbeddedBroker) -> None:
    tracer = TracerProvider().get_tracer("shop")
    sent: dict[bytes, int] = {}

    async def request(dispatcher: AsyncDispatcher) -> None:
        with tracer.start_as_current_span("request") as span:
            sent[traceparent_of(span)] = (await dispatcher.submit("s", b"x")).offset

    async def main() -> None:
        async with AsyncDispatcher(broker.bootstrap_servers, "tasks", value_format="bytes") as dispatcher:
            await asyncio.gather(*(request(dispatcher) for _ in range(5)))

    asyncio.run(main())
    assert {record["traceparent"]: offset for offset, record in enumerate(headers(broker))} == sent


def test_a_program_without_opentelemetry_does_not_import_it() -> None:
    program = """
import sys
from processor import Dispatcher
dispatcher = Dispatcher("127.0.0.1:1", "tasks", value_format="bytes")
dispatcher.submit("s", b"x")
dispatcher.close(0)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, preexec_fn=die_with_parent())
