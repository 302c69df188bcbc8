"""docker-compose.yml: its contents, and its validation by Docker Compose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from processor.boot.load_app import load
from processor.options.option_set import entries_of
from processor.settings import Settings
from tests.conftest import MakeTopic
from tests.support import cluster, go_tools
from tests.support.broker import Broker
from tests.support.kafka_jars import KAFKA_VERSION, PROJECT

FILE = PROJECT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_every_image_has_an_exact_version() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.\d+|:\$\{PROCESSOR_VERSION:-\d+\.\d+\.\d+\}$", service["image"]), name


def test_the_versions_match_those_of_the_tests() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert SERVICES["consumer"]["image"] == f"session-processor:${{PROCESSOR_VERSION:-{version}}}"


def test_ports_are_bound_to_the_loopback_interface() -> None:
    assert [
        port for service in SERVICES.values() for port in service.get("ports", ()) if "127.0.0.1:" not in port
    ] == []


def test_kafka_has_separate_addresses_for_host_and_containers() -> None:
    environment = SERVICES["kafka"]["environment"]
    advertised = dict(each.split("://") for each in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised == {"INSIDE": "kafka:19092", "OUTSIDE": "localhost:9092"}
    for name, address in advertised.items():
        assert f"{name}://:{address.split(':')[1]}" in environment["KAFKA_LISTENERS"].split(",")
    assert SERVICES["consumer"]["environment"]["PROCESSOR_BOOTSTRAP_SERVERS"] == advertised["INSIDE"]


def test_kafka_and_the_fleet_run_without_a_profile() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"kafka", "topics", "consumer"}


def test_the_consumer_waits_for_its_topic_and_has_a_read_only_root() -> None:
    consumer = SERVICES["consumer"]
    assert consumer["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
    assert f"--topic={consumer['environment']['PROCESSOR_TOPIC']}" in SERVICES["topics"]["command"]
    assert (consumer["read_only"], consumer["cap_drop"]) == (True, ["ALL"])


def test_every_mounted_path_exists() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    own = [volume.split(":")[0] for volume in mounted if volume.startswith("./")]
    assert [name for name in own if not (PROJECT / name).exists()] == []


def test_the_monitoring_services_fit_together() -> None:
    """The collector has every variable that its configuration uses, and every host name is a service."""
    config = (PROJECT / "deploy" / "monitoring" / "otel-collector.yaml").read_text()
    environment = SERVICES["collector"]["environment"]
    assert set(re.findall(r"\$\{env:(\w+)\}", config)) == set(environment)
    grafana = SERVICES["grafana"]
    sources = (PROJECT / "deploy/monitoring/grafana/provisioning/datasources/processor.yaml").read_text()
    assert set(re.findall(r"url: \$(\w+)", sources)) <= set(grafana["environment"])
    dashboards = yaml.safe_load(
        (PROJECT / "deploy/monitoring/grafana/provisioning/dashboards/processor.yaml").read_text()
    )
    (path,) = [provider["options"]["path"] for provider in dashboards["providers"]]
    assert f"./deploy/monitoring/grafana/dashboards:{path}:ro" in grafana["volumes"]
    said = " ".join([*environment.values(), *SERVICES["rules"]["command"], *grafana["environment"].values()])
    assert set(re.findall(r"http://([\w-]+):", said)) <= set(SERVICES)


def test_the_stop_grace_period_covers_the_drain() -> None:
    consumer = SERVICES["consumer"]
    drain = int(consumer["environment"]["PROCESSOR_DRAIN_TIMEOUT"])
    assert seconds(consumer["stop_grace_period"]) >= drain + 10


def test_every_variable_of_the_consumer_is_an_option() -> None:
    known = {entry.variable for entry in entries_of(Settings)}
    assert set(SERVICES["consumer"]["environment"]) - known == set()


def test_the_application_of_the_compose_file_is_one_of_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    (app,) = re.findall(r":-(.*)\}", SERVICES["consumer"]["command"][1])
    monkeypatch.chdir(PROJECT)
    assert load(app).handlers


def test_the_customers_produce_the_requested_tasks(broker: Broker, topic: MakeTopic) -> None:
    name = topic(2)
    command = [sys.executable, "examples/shop.py", broker.bootstrap_servers, "--topic", name, "--tasks", "50"]
    command += ["--rate", "5000", "--sessions", "3"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sum(cluster.end_offsets(broker.bootstrap_servers, name).values()) == 50


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Docker Compose, from the cache or built; the test is skipped if neither is possible."""
    folder = tmp_path_factory.mktemp("docker")
    try:
        program = go_tools.COMPOSE.built()
    except go_tools.BuildError as error:
        pytest.skip(str(error))
    (folder / "docker-compose").symlink_to(program)
    return folder / "docker-compose"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("profile", [None, *sorted(PROFILES)])
def test_docker_compose_accepts_the_file(compose: Path, profile: str | None) -> None:
    """Runs Compose as a standalone program, without an engine or the docker command."""
    options = ["--profile", profile] if profile else []
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSOR_", "COMPOSE_"))}
    done = subprocess.run(
        [compose, "-f", FILE, *options, "config"], env=clean, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = set(yaml.safe_load(done.stdout)["services"])
    assert found == {name for name, service in SERVICES.items() if service.get("profiles", [profile]) == [profile]}
