"""The shipped files for monitoring fit the events that are logged. These tests need no collector."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring import collector
from processor.telemetry.metrics import FAMILIES, HISTOGRAM
from tests.monitoring.conftest import CONFIG
from tests.support import go_tools
from tests.support.kafka_jars import PROJECT

RULES = PROJECT / "deploy" / "monitoring" / "rules" / "processor.yaml"
RULE_TESTS = RULES.parent / "tests" / "processor_test.yaml"
METRICS = {metric.name for family in FAMILIES for metric in family.metrics} | {
    f"{HISTOGRAM}_{part}" for part in ("bucket", "sum", "count")
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_configuration_of_the_collector_is_generated_from_the_code() -> None:
    assert CONFIG.read_text() == collector.text()


def test_each_metric_has_a_name_of_its_own_that_ends_in_its_unit_or_in_total_for_a_counter() -> None:
    metrics = [metric for family in FAMILIES for metric in family.metrics]
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert [one.name for one in metrics if one.name.endswith("_total") != (one.kind == "counter")] == []
    assert [one.name for one in metrics if ("seconds" in one.field) != one.name.endswith("_seconds")] == []


def test_every_metric_is_a_field_of_its_event() -> None:
    for family in FAMILIES:
        fields = set(family.event.__struct_fields__)
        assert {metric.field.split(".")[0] for metric in family.metrics} <= fields


def test_rules_use_only_metrics_that_exist() -> None:
    known = METRICS | {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for rule in rules() for name in re.findall(r"\bprocessor[_:][a-z0-9_:]+", rule["expr"])}
    assert asked - known == set()


def test_every_alert_has_a_description_and_is_tested_with_promtool_and_with_a_fleet() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert all(rule["annotations"]["summary"] and rule["annotations"]["description"] for rule in alerts)
    names = {rule["alert"] for rule in alerts}
    assert {name for name in names if name not in RULE_TESTS.read_text()} == set()
    fired = (PROJECT / "tests" / "monitoring" / "test_alerts.py").read_text()
    assert {name for name in names if name not in fired} == set()


PROMTOOL = shutil.which("promtool") or str(go_tools.PROMTOOL.path)


@pytest.mark.skipif(
    not Path(PROMTOOL).exists(),
    reason="promtool is missing: Debian's package prometheus has it, and make test-monitoring builds it with Go",
)
@pytest.mark.parametrize("command", [["check", "rules", str(RULES)], ["test", "rules", str(RULE_TESTS)]])
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
