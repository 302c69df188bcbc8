"""One collector and one store for all tests of this folder. Each test has its own consumer group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import go_tools
from tests.support.addresses import free_ports
from tests.support.kafka_jars import PROJECT
from tests.support.monitoring import LogStore, Program, Store

MONITORING = "PROCESSOR_TEST_MONITORING"
"""`make test-monitoring` sets it to 1. The first build of the collector takes minutes."""

CONFIG = PROJECT / "deploy" / "monitoring" / "otel-collector.yaml"

QUICK = """\
receivers: {{file_log: {{start_at: beginning, poll_interval: 100ms}}}}
exporters: {{otlp_http/logs: {{encoding: json, compression: none}}}}
service:
  telemetry:
    metrics:
      level: basic
      readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]
"""


class Pipeline(NamedTuple):
    """The programs that a fleet's log passes through."""

    logs: Path
    """The folder whose `*.jsonl` files are read, with all its subfolders."""
    store: Store
    log_store: LogStore


@pytest.fixture(scope="session")
def tools() -> None:
    """Skips the test if the programs are not wanted, or have not been built."""
    if os.environ.get(MONITORING) != "1":
        pytest.skip(
            f"needs a collector and a store, which take minutes to build: {MONITORING}=1 or make test-monitoring"
        )
    if missing := [tool.name for tool in go_tools.SERVERS if not tool.path.exists()]:
        pytest.skip(f"{', '.join(missing)} not built; make test-monitoring builds them with Go")


@pytest.fixture(scope="session")
def pipeline(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The collector and the stores, with the shipped configuration except for the collector's poll interval."""
    folder = tmp_path_factory.getbasetemp()
    own = tmp_path_factory.mktemp("monitoring")
    (port,) = free_ports(1)
    (own / "quick.yaml").write_text(QUICK.format(port=port))
    with Store(go_tools.VICTORIA_METRICS.path, own) as store, LogStore() as log_store:
        env = {
            "PROCESSOR_LOGS": f"{folder}/**/*.jsonl",
            "METRICS_ENDPOINT": f"{store.url}/opentelemetry",
            "LOGS_ENDPOINT": log_store.url,
        }
        command = [str(go_tools.COLLECTOR.path), "--config", str(CONFIG), "--config", str(own / "quick.yaml")]
        with Program(command, port, own / "collector.log", {**os.environ, **env}):
            yield Pipeline(folder, store, log_store)
