"""`processor run --tracing`, configured by OpenTelemetry's environment variables, on the embedded broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processor.kafka.dispatcher import Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from tests.support import cluster
from tests.support.run import Fleet
from tests.support.trace_store import TraceStore

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"

PAGE = Path(__file__).parents[2] / "docs" / "TRACING.md"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["orders", "orders.dlq", "results"], partitions=1)
        yield embedded


@pytest.fixture
def store() -> Iterator[TraceStore]:
    with TraceStore() as traces:
        yield traces


def options(broker: EmbeddedBroker, *more: str) -> tuple[str, ...]:
    to = ("-b", broker.bootstrap_servers, "-t", "orders", "-g", "shop", "--value-format", "json")
    return (*to, "--group-protocol", "consumer", "--stop-at-end", "--tracing", *more)


def send(broker: EmbeddedBroker, *names: str) -> None:
    with Dispatcher(broker.bootstrap_servers, "orders", value_format="json") as dispatcher:
        for name in names:
            dispatcher.submit("anna", 1, name, headers={"traceparent": TRACEPARENT})


def example() -> str:
    return PAGE.read_text().partition("```python\n")[2].partition("```")[0]


def test_a_task_that_a_handler_sends_is_below_the_attempt_that_sent_it(
    broker: EmbeddedBroker, store: TraceStore, start_fleet: Callable[..., Fleet]
) -> None:
    send(broker, "charge")
    fleet = start_fleet(
        "shop:app",
        *options(broker, "--results-topic", "results"),
        modules={"shop": example()},
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": store.url, "PROCESSOR_BOOTSTRAP_SERVERS": broker.bootstrap_servers},
    )
    # the follow-up may come after the end of the topic at the start
    assert fleet.wait() == 0
    again = start_fleet(
        "shop:app", *options(broker), env={"OTEL_EXPORTER_OTLP_ENDPOINT": store.url, "OTEL_SERVICE_NAME": "till"}
    )
    assert again.wait() == 0
    (bank,) = [span for span in store.spans if span.name == "bank"]
    by_task = {span.attributes["processor.task.name"]: span for span in store.spans if span.name == "process orders"}
    charge, notify = by_task["charge"], by_task["notify"]
    assert {span.trace_id for span in (charge, notify, bank)} == {TRACE}
    assert (charge.parent_id, bank.parent_id, notify.parent_id) == (PARENT, charge.span_id, charge.span_id)
    assert charge.service == "shop"
    assert notify.service in ("shop", "till")
    (result,) = cluster.read_all(broker.bootstrap_servers, "results")
    assert dict(result.headers() or ())["traceparent"] == f"00-{TRACE}-{charge.span_id}-01".encode()
    (line,) = fleet.heard("handler.log")
    assert (line["trace_id"], line["span_id"]) == (TRACE, charge.span_id)


FAILS = """
def charge(task):
    raise ValueError("no such card")
"""


def test_an_error_is_recorded_and_its_dead_letter_is_unchanged(
    broker: EmbeddedBroker, store: TraceStore, start_fleet: Callable[..., Fleet]
) -> None:
    send(broker, "charge")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": store.url, "OTEL_TRACES_EXPORTER": "otlp"}
    fleet = start_fleet(
        "shop:charge", *options(broker, "--max-attempts", "2", "--backoff", "0"), modules={"shop": FAILS}, env=env
    )
    assert fleet.wait() == 0
    assert [(span.parent_id, span.error) for span in store.spans] == [(PARENT, "no such card")] * 2
    (letter,) = cluster.read_all(broker.bootstrap_servers, "orders.dlq")
    headers = dict(letter.headers() or ())
    assert headers["traceparent"] == TRACEPARENT.encode()
    assert {name for name in headers if not name.startswith("dlq-")} == {"traceparent"}
    line = fleet.wait_for("task.dead_lettered")
    assert line["span_id"] == store.spans[-1].span_id


def test_an_unavailable_collector_fails_no_task_and_delays_no_stop(
    broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]
) -> None:
    send(broker, "charge")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    source = "def charge(task):\n    print('charged', flush=True)\n"
    fleet = start_fleet("shop:charge", *options(broker), modules={"shop": source}, env=env)
    fleet.wait_for("consumer.stopping")
    began = time.monotonic()
    assert fleet.wait() == 0
    assert time.monotonic() - began < 25
    assert fleet.stdout == "charged\n"


def test_an_application_that_has_set_a_provider_keeps_it(
    broker: EmbeddedBroker, store: TraceStore, start_fleet: Callable[..., Fleet]
) -> None:
    send(broker, "charge")
    source = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(sys.stdout)))
trace.set_tracer_provider(provider)

def charge(task):
    pass
"""
    fleet = start_fleet(
        "shop:charge",
        *options(broker),
        modules={"shop": source},
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": store.url},
    )
    assert fleet.wait() == 0
    assert '"name": "process orders"' in fleet.stdout
    assert store.spans == []


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"},
            "OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, grpc, not 'smoke'",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "pigeon"},
            "no exporter 'pigeon' for OpenTelemetry's traces is installed: see OTEL_TRACES_EXPORTER",
        ),
    ],
)
def test_an_unusable_tracing_variable_is_one_line_and_exit_code_5(
    variables: dict[str, str], line: str, broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]
) -> None:
    source = "def charge(task):\n    pass\n"
    fleet = start_fleet("shop:charge", *options(broker), modules={"shop": source}, env=variables)
    assert fleet.wait() == 5
    assert fleet.lines == [f"processor: {line}"]


def test_tracing_without_the_extra_is_one_line_and_exit_code_5(
    broker: EmbeddedBroker, start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not installed')\n")
    source = "def charge(task):\n    pass\n"
    fleet = start_fleet("shop:charge", *options(broker), modules={"shop": source})
    assert fleet.wait() == 5
    assert fleet.lines == [
        "processor: --tracing needs OpenTelemetry: pip install 'session-processor[otel]'",
    ]
