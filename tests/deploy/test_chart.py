"""The Helm chart: rendered output, rejected values, and validity for Kubernetes."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

helm_python = pytest.importorskip("helm_python", reason="Helm's library has no wheel for this platform")

from processor.cli import run as run_command  # noqa: E402 — after the skip
from processor.cli.main import main  # noqa: E402
from processor.kafka.secret_files import SECRETS  # noqa: E402
from processor.options.bounds import Bounds  # noqa: E402
from processor.options.connection import REFUSED_KAFKA_CONFIG  # noqa: E402
from processor.settings import Settings  # noqa: E402
from tests.deploy.chart import CASES, GOLDEN, golden, rendered, resources, values_of  # noqa: E402
from tests.deploy.custom_resources import DEFINITIONS, KAFKA_TRIGGER, schema_of  # noqa: E402
from tests.support import helm_chart  # noqa: E402
from tests.support.helm_chart import CHART  # noqa: E402
from tests.support.kafka_jars import PROJECT  # noqa: E402
from tests.support.run_options import TRIED  # noqa: E402

OLDEST, NEWEST = "1.25", kubernetes_validate.latest_version()
WRITE = "run `python -m tests.support.helm_chart` and `python -m tests.deploy.chart`, and look at what changed"


def basic(**changes: Any) -> dict[str, Any]:
    return merged(values_of("basic"), changes)


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    values = deepcopy(values)
    for key, value in changes.items():
        values[key] = merged(values[key], value) if isinstance(values.get(key), dict) and value else value
    return values


def pod(values: dict[str, Any]) -> dict[str, Any]:
    workload: dict[str, Any] = next(r for r in resources(values).values() if "template" in r.get("spec", {}))
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("case", CASES)
def test_rendering_matches_the_golden_file(case: str) -> None:
    assert (GOLDEN / f"{case}.yaml").read_text() == golden(case), WRITE


def test_every_golden_file_has_a_case() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_passes(case: str) -> None:
    report = helm_python.lint(CHART, values_of(case), strict=True, kube_version=f"v{NEWEST}.0")
    assert [m["error"] for m in report["messages"] if m["error"] != "icon is recommended"] + report["errors"] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_every_resource_is_valid_for_kubernetes(case: str, version: str) -> None:
    """Validation is strict: unknown fields are errors."""
    for resource in resources(values_of(case)).values():
        if resource["kind"] in DEFINITIONS:
            jsonschema.validate(resource, schema_of(resource["kind"]))
        else:
            kubernetes_validate.validate(resource, version, strict=True)


def test_every_key_of_the_keda_trigger_is_valid() -> None:
    for trigger in resources(values_of("keda"))["ScaledObject/r-processor"]["spec"]["triggers"]:
        assert trigger["type"] == "kafka"
        jsonschema.validate(trigger["metadata"], schema_of(KAFKA_TRIGGER))


@pytest.mark.parametrize(
    ("case", "name", "path"),
    [
        ("keda", "ScaledObject/r-processor", ("spec", "maxReplicas")),
        ("keda", "ScaledObject/r-processor", ("spec", "advanced", "horizontalPodAutoscalerConfig", "behaviour")),
        ("metrics", "PodMonitor/r-processor", ("spec", "podMetricsEndpoints", 0, "portName")),
    ],
)
def test_an_unknown_field_of_a_custom_resource_is_detected(case: str, name: str, path: tuple[Any, ...]) -> None:
    resource = resources(values_of(case))[name]
    *above, field = path
    reduce(lambda part, step: part[step], above, resource)[field] = "x"
    with pytest.raises(jsonschema.ValidationError, match=f"'{field}' was unexpected"):
        jsonschema.validate(resource, schema_of(resource["kind"]))


def test_kedas_behavior_is_valid_for_an_autoscaler() -> None:
    scaled = resources(values_of("keda"))["ScaledObject/r-processor"]["spec"]
    autoscaler = resources(basic(autoscaling={"enabled": True}))["HorizontalPodAutoscaler/r-processor"]
    autoscaler["spec"]["behavior"] = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    kubernetes_validate.validate(autoscaler, NEWEST, strict=True)


def test_the_schema_and_the_readme_are_up_to_date() -> None:
    assert helm_chart.SCHEMA.read_text() == helm_chart.schema(), WRITE
    assert helm_chart.README.read_text() == helm_chart.readme(), WRITE


def test_the_chart_has_the_projects_version() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    with helm_python.Chart.load(CHART) as chart:
        assert (chart.version, chart.metadata["appVersion"]) == (version, version)


# --- rejected values -------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a typo": ({"replica": 3}, "replica"),
    "a typo of an option": ({"config": {"worker": 3}}, "worker"),
    "a typo inside": ({"keda": {"maxReplica": 3}}, "maxReplica"),
    "a number as text": ({"config": {"workers": "many"}}, "workers"),
    "no worker at least": ({"config": {"workers": "0..8"}}, "workers"),
    "bounds of processes in the wrong order": ({"config": {"processes": "4..2"}}, "config.processes: 4..2 must have"),
    "more consumers than partitions at least": (
        {"partitions": 8, "config": {"processes": "4..8"}, "keda": {"enabled": True, "maxReplicas": 3}},
        "3 pods with 4 processes each exceed 8 partitions; set at most 2",
    ),
    "bounds in the wrong order": ({"config": {"workers": "9..8"}}, "config.workers: 9..8 must have its minimum first"),
    "an unknown choice": ({"config": {"value-format": "xml"}}, "value-format"),
    "a heartbeat file": ({"config": {"heartbeat-file": "/tmp/h"}}, "heartbeat-file"),
    "a secret as a value": ({"secretKafkaConfig": {"sasl.password": "hunter2"}}, "sasl.password"),
    "no app": ({"app": ""}, "app: it is required, as MODULE:ATTRIBUTE"),
    "an invalid app": ({"app": "shop"}, "app"),
    "no topic": ({"config": {"topic": []}}, "config.topic: it is required"),
    "no group": ({"config": {"group": ""}}, "config.group: it is required"),
    "no brokers": ({"config": {"bootstrap-servers": ""}}, "config.bootstrap-servers: it is required"),
    "a grace period that is too short": ({"terminationGracePeriodSeconds": 34}, "set at least 35"),
    "a grace period that is too short with a preStop delay": (
        {"terminationGracePeriodSeconds": 36, "preStopSeconds": 2},
        "set at least 37",
    ),
    "a grace period that is too short for a longer drain": (
        {"terminationGracePeriodSeconds": 59, "config": {"drain-timeout": 50}},
        "set at least 60",
    ),
    "a drain timeout outside of config": (
        {"extraEnv": [{"name": "PROCESSOR_DRAIN_TIMEOUT", "value": "300"}]},
        "set config.drain-timeout",
    ),
    "two autoscalers": ({"partitions": 4, "autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "only one"),
    "keda without partitions": ({"keda": {"enabled": True}}, "partitions: keda.enabled requires their number"),
    "more pods than partitions": ({"partitions": 4, "keda": {"enabled": True, "maxReplicas": 5}}, "set at most 4"),
    "more consumers than partitions": (
        {"partitions": 8, "config": {"processes": 4}, "keda": {"enabled": True, "maxReplicas": 3}},
        "set at most 2",
    ),
    "KEDA's minimum above its maximum": (
        {"partitions": 4, "keda": {"enabled": True, "minReplicas": 5}},
        "keda.minReplicas",
    ),
    "the autoscaler's minimum above its maximum": (
        {"autoscaling": {"enabled": True, "minReplicas": 9}},
        "autoscaling.minReplicas",
    ),
    "the autoscaler's maximum above the partitions": (
        {"partitions": 4, "autoscaling": {"enabled": True}},
        "exceeds the 4 pods",
    ),
    "a duplicate setting": (
        {
            "config": {"kafka-config": {"sasl.username": "x"}},
            "secretKafkaConfig": {"sasl.username": {"name": "s", "key": "k"}},
        },
        "both set sasl.username",
    ),
    "a setting that is not read from a file": (
        {"secretKafkaConfig": {"sasl.username": {"name": "s", "key": "k"}}},
        "`processor run` reads no sasl.username from a file, only sasl.password",
    ),
    "a duplicate setting as a file": (
        {
            "config": {"kafka-config": {"sasl.password.file": "/x"}},
            "secretKafkaConfig": {"sasl.password": {"name": "s", "key": "k"}},
        },
        "both set sasl.password",
    ),
    "a typo of a setting": (
        {"config": {"kafka-config": {"Fetch.Min Bytes": 1}}},
        "Fetch.Min Bytes is not a valid name",
    ),
    "a password in a ConfigMap": (
        {"config": {"kafka-config": {"sasl.password": "hunter2"}}},
        "sasl.password is a secret",
    ),
    "a key in a ConfigMap": ({"config": {"kafka-config": {"ssl.key.pem": "hunter2"}}}, "ssl.key.pem is a secret"),
    "a password in a URL": ({"config": {"schema-registry": "https://u:hunter2@r"}}, "schema-registry-user"),
    "zero workers": ({"config": {"workers": 0}}, "minimum: got 0, want 1"),
    "a timeout of zero": ({"config": {"timeout": 0}}, "/config/timeout"),
    "an invalid port": ({"config": {"metrics-port": 99999}, "podMonitor": {"enabled": True}}, "/config/metrics-port"),
    "a duplicate topic": ({"config": {"topic": ["a", "a"]}}, "/config/topic"),
    "a name that is invalid in Kubernetes": ({"fullnameOverride": "Foo_Bar"}, "/fullnameOverride"),
    "a typo in KEDA's metadata": ({"keda": {"metadata": {"slas": "plaintext"}}}, "'slas' not allowed"),
    "metadata that the chart sets": ({"keda": {"metadata": {"topic": "t"}}}, "'topic' not allowed"),
    "null for a required map": ({"keda": None}, "keda"),
    "a duplicate secret": (
        {
            "secretFiles": {"sasl.password": {"name": "s", "key": "k"}},
            "secretKafkaConfig": {"sasl.password": {"name": "s", "key": "k"}},
        },
        "both set sasl.password",
    ),
    "a pod monitor without a port": (
        {"podMonitor": {"enabled": True}},
        "podMonitor.enabled: it requires config.metrics-port",
    ),
    "two sources of handlers": ({"handlers": {"files": {"a.py": ""}, "configMap": "a"}}, "set only one of"),
    "an overwritten instance ID": (
        {"kind": "StatefulSet", "extraEnv": [{"name": "PROCESSOR_KAFKA_CONFIG", "value": "a.b=c"}]},
        "group.instance.id",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_values_are_rejected(name: str) -> None:
    changes, reason = REFUSED[name]
    with pytest.raises(helm_python.HelmError) as refused:
        rendered(basic(**changes))
    assert reason in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", REFUSED_KAFKA_CONFIG)
def test_the_chart_rejects_every_kafka_setting_that_the_program_refuses(key: str) -> None:
    with pytest.raises(helm_python.HelmError, match=f"{key} would break delivery"):
        rendered(basic(config={"kafka-config": {key: "x"}}))


@pytest.mark.parametrize("key", SECRETS)
def test_the_chart_mounts_every_secret_that_the_program_reads_from_a_file(key: str) -> None:
    secret = {"name": "kafka-credentials", "key": "k"}
    (config,) = [text for name, text in rendered(basic(secretKafkaConfig={key: secret})).items() if "configmap" in name]
    assert f'"{key}.file" = "/etc/processor-secrets/{key}"' in config


# --- pods ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("drain", "stop", "grace"), [(25, 2, 42), (40.5, 2, 58), (300, 0, 315)])
def test_the_grace_period_is_computed_from_the_drain_timeout(drain: float, stop: int, grace: int) -> None:
    values = basic(preStopSeconds=stop, config={"drain-timeout": drain})
    assert pod(values)["terminationGracePeriodSeconds"] == grace


def test_a_sufficient_grace_period_is_accepted() -> None:
    assert pod(basic(terminationGracePeriodSeconds=35))["terminationGracePeriodSeconds"] == 35


def test_the_pod_limit_accounts_for_the_consumers_per_pod() -> None:
    scaled = resources(values_of("keda"))["ScaledObject/r-processor"]["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 6)
    assert "replicas" not in resources(values_of("keda"))["Deployment/r-processor"]["spec"]


def test_notes_warn_of_idle_pods_and_persistent_lag() -> None:
    assert "WARNING" not in rendered(basic(partitions=2))["NOTES.txt"]
    assert (
        "2 partitions occupy only 2 of 3 pods; the others are idle"
        in rendered(basic(partitions=2, replicas=3))["NOTES.txt"]
    )
    persistent = basic(partitions=4, keda={"enabled": True, "excludePersistentLag": False})
    assert "a hanging session" in rendered(persistent)["NOTES.txt"]


@pytest.mark.parametrize("case", CASES)
def test_containers_do_not_run_as_root_and_have_a_read_only_root(case: str) -> None:
    spec = pod(values_of(case))
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = [container for container in spec["containers"] if container["name"] == "processor"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_secret_is_mounted_as_a_file() -> None:
    values = values_of("static")
    toml = resources(values)["ConfigMap/r-processor"]["data"]["processor.toml"]
    assert tomllib.loads(toml)["kafka-config"]["sasl.password.file"] == "/etc/processor-secrets/sasl.password"
    (mount,) = [mount for mount in pod(values)["containers"][0]["volumeMounts"] if mount["name"] == "secrets"]
    assert mount["mountPath"] == "/etc/processor-secrets"


def test_a_changed_configuration_rolls_the_pods() -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = resources(values)["Deployment/r-processor"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(basic()) != checksum(basic(config={"workers": 7}))


# --- options that reach the program ----------------------------------------------------------------


class Ran:
    settings: Settings
    app: str


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The settings that a pod's program parses."""
    ran = Ran()

    def run_fleet(settings: Settings, app: str) -> int:
        ran.settings, ran.app = settings, app
        return 0

    def settings_of(values: dict[str, Any]) -> Settings:
        toml = resources(values)
        text = next(r for r in toml.values() if "processor.toml" in r.get("data", {}))["data"]["processor.toml"]
        (tmp_path / "processor.toml").write_text(text)
        arguments = [word.replace("/etc/processor/", f"{tmp_path}/") for word in pod(values)["containers"][0]["args"]]
        assert main(arguments) == 0
        assert ran.app == values["app"]
        return ran.settings

    monkeypatch.setattr(run_command, "_run_fleet", run_fleet)
    monkeypatch.chdir(tmp_path)
    return settings_of


def test_every_option_reaches_the_program(settings_of: Any) -> None:
    unsuitable = ("heartbeat_file", "reload", "schemas")
    given = {name: option.value for name, option in TRIED.items() if name not in unsuitable}
    given["value_format"] = "avro"  # required by a schema registry
    given["schema_registry"] = "https://registry.example"  # a password must be referenced
    config = {name.replace("_", "-"): _plain(value) for name, value in given.items()}
    settings = settings_of(basic(config=config))
    assert {name: getattr(settings, name) for name in given} == given


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Bounds) else value


def test_text_with_toml_or_yaml_syntax_is_passed_unchanged(settings_of: Any) -> None:
    hostile = 'a="b"\n[c] # <&> {{ .Values }} \\ ü'
    settings = settings_of(basic(config={"kafka-config": {"client.id": hostile}, "max-in-flight-bytes": 2**40}))
    assert settings.kafka_config["client.id"] == hostile
    assert settings.max_in_flight_bytes == 2**40


def test_a_static_member_has_a_long_session_timeout(settings_of: Any) -> None:
    values = values_of("static")
    values["secretKafkaConfig"] = {}
    assert settings_of(values).kafka_config["session.timeout.ms"] == "120000"
    values["config"]["group-protocol"] = "consumer"  # there the broker sets the timeout
    assert "session.timeout.ms" not in settings_of(values).kafka_config
    (env,) = [env for env in pod(values)["containers"][0]["env"] if env["name"] == "PROCESSOR_KAFKA_CONFIG"]
    assert env["value"] == "group.instance.id=$(POD_NAME)"
