"""Runs the monitoring that this project ships: a collector that reads a fleet's log, and the store that it fills."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.addresses import free_ports, listens
from tests.support.lifeline import die_with_parent
from tests.support.receiver import Receiver
from tests.support.until import until

START_SECONDS = 120.0


class Program:
    """A program that serves on a port of loopback inside the `with` block."""

    def __init__(self, command: list[str], port: int, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command, self._port, self._log, self._env = command, port, log, env

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._env, preexec_fn=die_with_parent()
            )
        wait_until(lambda: self._process.poll() is not None or listens(self._port), START_SECONDS)
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        return self

    def check(self) -> None:
        """Check that the program is still running."""
        assert self._process.poll() is None, self._log.read_text()[-2000:]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Store(Program):
    """VictoriaMetrics, which accepts OTLP and answers PromQL."""

    def __init__(self, binary: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        command = [
            str(binary), f"-storageDataPath={folder / 'store'}", f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s", "-inmemoryDataFlushInterval=1s", "-memory.allowedBytes=128MB",
            "-opentelemetry.promoteScopeMetadata=false",
        ]  # fmt: skip
        super().__init__(command, port, folder / "store.log")

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the current value of each series.

        Raises:
            AssertionError: the store rejects the expression.
        """
        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=30):
            pass  # otherwise a new series would not be found for some seconds
        answer = _get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression, "nocache": 1}))
        assert answer["status"] == "success", answer
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def value(self, expression: str) -> float | None:
        """Return the value of the only series; None if there is none."""
        found = self.query(expression)
        assert len(found) < 2, found
        return found[0][1] if found else None


class Alerts(Program):
    """vmalert, which evaluates rule files against a store."""

    def __init__(self, binary: Path, store: Store, rules: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        command = [
            str(binary), f"-rule={rules}", f"-datasource.url={store.url}", f"-remoteWrite.url={store.url}",
            "-notifier.blackhole", f"-httpListenAddr=127.0.0.1:{port}", "-evaluationInterval=1s", "-rule.evalDelay=0s",
            "-remoteWrite.flushInterval=200ms",
        ]  # fmt: skip
        super().__init__(command, port, folder / "alerts.log")

    def firing(self) -> set[tuple[str, str]]:
        """Return the name and the consumer group of every alert that is firing."""
        alerts = _get(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return {(one["name"], one["labels"]["group"]) for one in alerts if one["state"] == "firing"}


class LogStore(Receiver):
    """Accepts OTLP log records as JSON, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def take(self, body: bytes) -> None:
        for resource in json.loads(body)["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                self.records.extend(scope["logRecords"])


def wait_until(condition: Callable[[], object], seconds: float, why: Callable[[], object] = lambda: "") -> None:
    """Waits for a condition; after `seconds`, fails with the description that `why` returns."""
    until(condition, why, seconds, pause=0.1)


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)
