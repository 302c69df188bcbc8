"""From `processor run --tracing` through a real collector into a store of traces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processor.kafka.dispatcher import Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from tests.monitoring.conftest import MONITORING
from tests.support import go_tools
from tests.support.addresses import free_ports
from tests.support.monitoring import Program, wait_until
from tests.support.run import Fleet
from tests.support.trace_store import TraceStore

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

CONFIG = """\
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{otlp_http: {{endpoint: "{store}", tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}
"""

FAILS_ONCE = """
def charge(task):
    if task.attempt == 1:
        raise ConnectionError("the bank does not respond")
"""


@pytest.fixture
def store() -> Iterator[TraceStore]:
    with TraceStore() as traces:
        yield traces


@pytest.fixture
def collector(store: TraceStore, tmp_path: Path) -> Iterator[str]:
    """The address of a collector that passes spans on to the store."""
    if os.environ.get(MONITORING) != "1":
        pytest.skip(f"needs a collector, which takes minutes to build: {MONITORING}=1 or make test-monitoring")
    if not go_tools.TRACES.path.exists():
        pytest.skip(f"{go_tools.TRACES.name} not built; make test-monitoring builds it with Go")
    (port,) = free_ports(1)
    (tmp_path / "collector.yaml").write_text(CONFIG.format(port=port, store=store.url))
    command = [str(go_tools.TRACES.path), "--config", str(tmp_path / "collector.yaml")]
    with Program(command, port, tmp_path / "collector.log", {**os.environ}) as program:
        yield program.url


def test_spans_of_a_fleet_pass_a_real_collector(
    collector: str, store: TraceStore, start_fleet: Callable[..., Fleet]
) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["orders", "orders.dlq"], partitions=1)
        with Dispatcher(broker.bootstrap_servers, "orders", value_format="json") as dispatcher:
            dispatcher.submit("anna", 1, "charge", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        to = ("-b", broker.bootstrap_servers, "-t", "orders", "-g", "shop", "--value-format", "json")
        fleet = start_fleet(
            "shop:charge",
            *(*to, "--group-protocol", "consumer", "--stop-at-end", "--tracing", "--backoff", "0"),
            modules={"shop": FAILS_ONCE},
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector},
        )
        assert fleet.wait() == 0
    wait_until(lambda: len(store.spans) == 2, 60, lambda: store.spans)
    assert {(span.name, span.trace_id, span.parent_id, span.service) for span in store.spans} == {
        ("process orders", TRACE, PARENT, "shop")
    }
    failed, succeeded = sorted(store.spans, key=lambda span: span.attributes["processor.task.attempt"])
    assert (failed.error, failed.attributes["error.type"]) == ("the bank does not respond", "builtins.ConnectionError")
    assert succeeded.error == ""
