"""The programs of the chart and of docker-compose.yml, with their own arguments and environment, on a real broker.

There is neither a container engine nor a cluster: mounted files are written to temporary folders.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import MakeTopic, Produce
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.kafka_jars import PROJECT
from tests.support.lifeline import die_with_parent
from tests.support.until import until

BOUND = 100.0


class Program:
    """A container's process and its health check. A process that still runs is killed on exit."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self._env = {"PATH": os.environ["PATH"], **env}
        self._folder = folder
        self._log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "processor", *arguments],
            cwd=folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def is_healthy(self, probe: Sequence[str]) -> bool:
        """Return whether a probe passes; `probe` is `processor` and its arguments."""
        assert probe[0] == "processor"
        command = [sys.executable, "-m", *probe]
        return not subprocess.run(command, env=self._env, cwd=self._folder, check=False, capture_output=True).returncode

    def wait_healthy(self, probe: Sequence[str]) -> None:
        deadline = time.monotonic() + BOUND
        while not self.is_healthy(probe):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()

    def stop(self, seconds: float) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def log(self) -> str:
        return (self._folder / "log").read_text()


def wait_done(broker: Broker, group: str, topic: str) -> None:
    lag = partial(cluster.lag, broker.bootstrap_servers, group, topic)
    until(lambda: lag() == 0, lambda: f"the lag is {lag()}", BOUND, 0.1)


def test_a_pod_of_the_chart_becomes_ready_runs_tasks_and_stops_within_its_grace_period(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce, tmp_path: Path
) -> None:
    chart = pytest.importorskip("tests.deploy.chart", reason="Helm's library has no wheel for this platform")
    name = topic(2)
    produce(name, [(b"anna", b'{"payload": "Hello"}')])
    values = chart.values_of("handlers")
    values["config"] |= {"bootstrap-servers": broker.bootstrap_servers, "topic": [name], "group": group}
    del values["probes"]
    resources = chart.resources(values)
    pod = resources["Deployment/r-processor"]["spec"]["template"]["spec"]
    for mounted in ("ConfigMap/r-processor", "ConfigMap/r-processor-handlers"):
        for file, text in resources[mounted]["data"].items():
            (tmp_path / file).write_text(text)
    (container,) = pod["containers"]
    arguments = [word.replace("/etc/processor/", f"{tmp_path}/") for word in container["args"]]
    env = {each["name"]: each["value"].replace("/run/processor/", f"{tmp_path}/") for each in container["env"]}
    with Program(arguments, env, tmp_path) as program:
        program.wait_healthy(container["readinessProbe"]["exec"]["command"])
        assert program.is_healthy(container["livenessProbe"]["exec"]["command"])
        wait_done(broker, group, name)
        assert program.stop(pod["terminationGracePeriodSeconds"]) == 0
        assert "anna Hello" in program.log()


def test_the_fleet_of_docker_compose_runs_its_customers_orders(
    broker: Broker, topic: MakeTopic, group: str, tmp_path: Path
) -> None:
    services: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    consumer, customers = services["consumer"], services["customers"]
    name = topic(4)
    results = topic(4)
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    arguments = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in consumer["command"]]
    env = {
        **consumer["environment"],
        "PROCESSOR_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "PROCESSOR_TOPIC": name,
        "PROCESSOR_GROUP": group,
        "PROCESSOR_RESULTS_TOPIC": results,
        "PROCESSOR_HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
    }
    with Program(arguments, env, tmp_path) as program:
        program.wait_healthy(consumer["healthcheck"]["test"][1:])
        words = [word.replace("/app/", "") for word in customers["entrypoint"]]
        command = [sys.executable, words[1], broker.bootstrap_servers, "--topic", name]
        command += ["--rate", "1000", "--tasks", "200", "--sessions", "5"]  # the slow customer is not among them
        subprocess.run(command, cwd=tmp_path, check=True, timeout=BOUND)
        wait_done(broker, group, name)
        assert program.stop(float(consumer["stop_grace_period"].removesuffix("s"))) == 0
    charged = sum(cluster.end_offsets(broker.bootstrap_servers, results).values())
    assert 90 <= charged <= 100, shlex.join(arguments)
