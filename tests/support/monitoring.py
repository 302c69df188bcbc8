"""A collector that reads a fleet's log, and a store that it fills: what is shipped for monitoring, tried for real."""

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
    """A program that serves on a port of loopback from entering to leaving."""

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
        """Check that it still runs."""
        assert self._process.poll() is None, self._log.read_text()[-2000:]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Store(Program):
    """VictoriaMetrics: takes OTLP, answers PromQL."""

    def __init__(self, binary: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        command = [
            str(binary), f"-storageDataPath={folder / 'store'}", f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s", "-inmemoryDataFlushInterval=1s", "-memory.allowedBytes=128MB",
            "-opentelemetry.promoteScopeMetadata=false",
        ]  # fmt: skip
        super().__init__(command, port, folder / "store.log")

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series now.

        Raises:
            AssertionError: the store does not take the expression.
        """
        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=30):
            pass  # a series that is new would not be found for some seconds
        answer = _get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression, "nocache": 1}))
        assert answer["status"] == "success", answer
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def value(self, expression: str) -> float | None:
        """Of the only series; None where there is none."""
        found = self.query(expression)
        assert len(found) < 2, found
        return found[0][1] if found else None


class Alerts(Program):
    """vmalert: evaluates rule files against a store."""

    def __init__(self, binary: Path, store: Store, rules: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        command = [
            str(binary), f"-rule={rules}", f"-datasource.url={store.url}", f"-remoteWrite.url={store.url}",
            "-notifier.blackhole", f"-httpListenAddr=127.0.0.1:{port}", "-evaluationInterval=1s", "-rule.evalDelay=0s",
            "-remoteWrite.flushInterval=200ms",
        ]  # fmt: skip
        super().__init__(command, port, folder / "alerts.log")

    def firing(self) -> set[tuple[str, str]]:
        """Name and consumer group of every alert that fires now."""
        alerts = _get(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return {(one["name"], one["labels"]["group"]) for one in alerts if one["state"] == "firing"}


class LogStore(Receiver):
    """Takes OTLP log records as JSON, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def take(self, body: bytes) -> None:
        for resource in json.loads(body)["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                self.records.extend(scope["logRecords"])


def wait_until(condition: Callable[[], object], seconds: float, why: Callable[[], object] = lambda: "") -> None:
    """Waits for a condition; `why` describes what is the case instead after so many seconds."""
    until(condition, why, seconds, pause=0.1)


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)
