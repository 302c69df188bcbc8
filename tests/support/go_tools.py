"""Go programs that test the monitoring and docker-compose.yml, built once into the cache folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.cache import cache_folder

BUILD_SECONDS: Final = 900.0
"""A build that takes longer is waiting for a network that does not answer."""

_VICTORIA = "github.com/VictoriaMetrics/VictoriaMetrics/app"
_CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
_CORE = "go.opentelemetry.io/collector"
_COLLECTOR = "v0.160.0"

BUILDER = f"""\
dist: {{name: otelcol, module: processor/otelcol, output_path: FOLDER}}
receivers: [{{gomod: {_CONTRIB}/receiver/filelogreceiver {_COLLECTOR}}}]
connectors: [{{gomod: {_CONTRIB}/connector/signaltometricsconnector {_COLLECTOR}}}]
processors: [{{gomod: {_CONTRIB}/processor/transformprocessor {_COLLECTOR}}}]
exporters: [{{gomod: {_CORE}/exporter/otlphttpexporter {_COLLECTOR}}}]
"""

TRACES_BUILDER = f"""\
dist: {{name: otelcol, module: processor/otelcol, output_path: FOLDER}}
receivers: [{{gomod: {_CORE}/receiver/otlpreceiver {_COLLECTOR}}}]
exporters: [{{gomod: {_CORE}/exporter/otlphttpexporter {_COLLECTOR}}}]
"""


class BuildError(Exception):
    """Go could not build a program; the message contains its output."""


class Tool(NamedTuple):
    """A program of one version."""

    name: str
    make: Callable[[Path, float], Path]
    """Builds the program in an empty folder before a deadline (monotonic clock), and returns its path."""

    @property
    def path(self) -> Path:
        """The path of the program in the cache."""
        return cache_folder() / "tools" / self.name

    def built(self, seconds: float = BUILD_SECONDS) -> Path:
        """Return the path of the program, which is built first if it is not in the cache.

        Raises:
            BuildError: Go is not installed, or could not build the program within `seconds`.
        """
        if not self.path.exists():
            if not available():
                raise BuildError(f"{self.name} is not in the cache, and there is no Go to build it")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
                self.make(Path(folder), time.monotonic() + seconds).rename(self.path)
        return self.path


def available() -> bool:
    """Return whether this machine can build Go programs."""
    return shutil.which("go") is not None


def install(package: str, folder: Path, until: float, *, options: tuple[str, ...] = ()) -> Path:
    """Build the program of a package (`PATH@VERSION`) in an empty folder, and return its path.

    `until` is the deadline on the monotonic clock.
    """
    go(["go", "install", *options, package], until, GOBIN=str(folder))
    (program,) = folder.iterdir()
    return program


def _collector(parts: str, folder: Path, until: float) -> Path:
    """Build a collector with the given components, of the versions in its contrib image."""
    builder = install(f"{_CORE}/cmd/builder@{_COLLECTOR}", folder, until)
    config = folder / "builder.yaml"
    config.write_text(parts.replace("FOLDER", str(folder)))
    go([str(builder), "--config", str(config)], until)
    return folder / "otelcol"


def go(command: list[str], until: float, cwd: Path | None = None, **env: str) -> None:
    """Runs a Go command in its own process group, so that its compilers end with it.

    Raises:
        BuildError: it fails, or has not ended by `until` (monotonic clock).
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=max(until - time.monotonic(), 0.0))
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"{' '.join(command)}: it has not ended in time") from None
            raise
    if process.returncode:
        raise BuildError(f"{' '.join(command)}: {said[-2000:]}")


VICTORIA_METRICS: Final = Tool("victoria-metrics-v1.151.0", partial(install, f"{_VICTORIA}/victoria-metrics@v1.151.0"))
"""A store that accepts OTLP and answers PromQL."""
VMALERT: Final = Tool("vmalert-v1.151.0", partial(install, f"{_VICTORIA}/vmalert@v1.151.0"))
"""Evaluates Prometheus rule files."""
PROMTOOL: Final = Tool(
    "promtool-v0.316.0",
    partial(install, "github.com/prometheus/prometheus/cmd/promtool@v0.316.0", options=("-tags", "remove_all_sd")),
)
"""Checks and tests Prometheus rule files. It is built without service discovery, whose modules are huge."""
COLLECTOR: Final = Tool(f"otelcol-{_COLLECTOR}", partial(_collector, BUILDER))
"""The OpenTelemetry Collector, which reads logs."""
TRACES: Final = Tool(f"otelcol-traces-{_COLLECTOR}", partial(_collector, TRACES_BUILDER))
"""The OpenTelemetry Collector, which receives traces."""
COMPOSE: Final = Tool("docker-compose-v5.0.2", partial(install, "github.com/docker/compose/v5/cmd@v5.0.2"))
"""Docker Compose as a standalone program. It takes a minute to build."""

SERVERS: Final = (VICTORIA_METRICS, VMALERT, COLLECTOR)
MONITORING: Final = (*SERVERS, PROMTOOL, TRACES)


def build(tools: Sequence[Tool], seconds: float) -> None:
    """Builds programs before the tests that need them, so that the tests do not take minutes.

    A program that cannot be built within the total time is reported, but this is not a failure: the tests that need it
    are skipped. Go caches compiled packages, so that the next build continues from there.
    """
    until = time.monotonic() + seconds
    for tool in tools:
        try:
            print(tool.built(until - time.monotonic()), flush=True)
        except BuildError as error:
            print(f"the tests that need {tool.name} will be skipped: {error}", file=sys.stderr, flush=True)
            return


if __name__ == "__main__":
    build(MONITORING, float(sys.argv[1]) if len(sys.argv) > 1 else BUILD_SECONDS)
