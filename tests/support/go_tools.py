"""Programs in Go that the monitoring and docker-compose.yml are tried on, built once into a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.cache import cache_folder

VICTORIA_METRICS = "v1.151.0"
COLLECTOR = "v0.160.0"
COMPOSE = "v5.0.2"

_VICTORIA = "github.com/VictoriaMetrics/VictoriaMetrics/app"
_CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
_CORE = "go.opentelemetry.io/collector"

BUILDER = f"""\
dist: {{name: otelcol, module: processor/otelcol, output_path: FOLDER}}
receivers: [{{gomod: {_CONTRIB}/receiver/filelogreceiver {COLLECTOR}}}]
connectors: [{{gomod: {_CONTRIB}/connector/signaltometricsconnector {COLLECTOR}}}]
processors: [{{gomod: {_CONTRIB}/processor/transformprocessor {COLLECTOR}}}]
exporters: [{{gomod: {_CORE}/exporter/otlphttpexporter {COLLECTOR}}}]
"""


class BuildError(Exception):
    """Go could not build a program; the message holds what it said."""


def available() -> bool:
    """Whether this machine can build them."""
    return shutil.which("go") is not None


def victoria_metrics() -> Path:
    """A store that takes OTLP and answers PromQL. 15 seconds to build."""
    return _installed(f"victoria-metrics-{VICTORIA_METRICS}", f"{_VICTORIA}/victoria-metrics@{VICTORIA_METRICS}")


def vmalert() -> Path:
    """What evaluates Prometheus' rule files. 40 seconds to build."""
    return _installed(f"vmalert-{VICTORIA_METRICS}", f"{_VICTORIA}/vmalert@{VICTORIA_METRICS}")


def docker_compose() -> Path:
    """Docker Compose, as a program of its own. A minute to build.

    Raises:
        BuildError: Go is missing, or could not build it.
    """
    return _installed(f"docker-compose-{COMPOSE}", f"github.com/docker/compose/v5/cmd@{COMPOSE}")


def collector() -> Path:
    """The OpenTelemetry Collector with what our configuration asks for, as its contrib image has it. 3 minutes."""
    target = _cache() / f"otelcol-{COLLECTOR}"
    if not target.exists():
        builder = _installed(f"builder-{COLLECTOR}", f"{_CORE}/cmd/builder@{COLLECTOR}")
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            config = Path(folder, "builder.yaml")
            config.write_text(BUILDER.replace("FOLDER", folder))
            _go([str(builder), "--config", str(config)])
            Path(folder, "otelcol").rename(target)
    return target


def _installed(name: str, package: str) -> Path:
    target = _cache() / name
    if not target.exists():
        if not available():
            raise BuildError(f"{name} is not in the cache, and there is no Go to build it")
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            _go(["go", "install", package], GOBIN=folder)
            (built,) = Path(folder).iterdir()
            built.rename(target)
    return target


def _go(command: list[str], **env: str) -> None:
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")


def _cache() -> Path:
    folder = cache_folder() / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Builds what is not there yet: before the tests, since none of them should take minutes."""
    if not available():
        return  # the tests say so, and are skipped
    for program in (victoria_metrics, vmalert, collector):
        print(program(), flush=True)


if __name__ == "__main__":
    main()
