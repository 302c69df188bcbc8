"""The queries of the dashboard, run in a store that a real fleet has filled."""

from __future__ import annotations

import json
import re
from functools import partial, reduce

import yaml

from deploy.monitoring import dashboard
from processor.telemetry.events import HeadOfLine, PartitionStats
from tests.monitoring.conftest import Pipeline
from tests.monitoring.test_files import METRICS
from tests.support.kafka_jars import PROJECT
from tests.support.monitoring import wait_until
from tests.support.scenario import MakeScenario

GRAFANA = PROJECT / "deploy" / "monitoring" / "grafana"


def test_the_dashboard_is_generated_from_the_code() -> None:
    assert dashboard.DASHBOARD.read_text() == dashboard.text()


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads(dashboard.text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_uses_only_metrics_that_exist_and_all_that_matter() -> None:
    asked = {name for query in dashboard.queries() for name in re.findall(r"\bprocessor_[a-z0-9_]+", query)}
    assert asked <= METRICS
    assert METRICS - asked <= {
        "processor_fleet_silent_consumers", "processor_handler_seconds_sum", "processor_lag_records",
        "processor_oldest_unsettled_seconds",
        "processor_partition_committed_offset", "processor_partition_dead_lettered_tasks_total",
        "processor_partition_failed_attempts_total", "processor_partition_head_paused",
        "processor_partition_in_flight_tasks",
        "processor_partition_active_sessions", "processor_results_total", "processor_suppressed_warnings_total",
        "processor_uptime_seconds", "processor_waiting_tasks",
    }  # fmt: skip


def test_the_log_queries_use_fields_that_are_logged() -> None:
    """As far as this can be tested without a Loki: nested fields are named as `| json` flattens them."""
    bound = {"group", "event", "level", "service_name"}
    fields = bound | set(PartitionStats.__struct_fields__) | {f"head_{name}" for name in HeadOfLine.__struct_fields__}
    for query in (dashboard.BLOCKING, dashboard.WARNINGS):
        asked = re.findall(r"\.([a-z_]+)\}\}|[|{] ?([a-z_]+)(?:=|>)", query)
        assert asked
        assert {name for pair in asked for name in pair if name} <= fields
    assert '"partition.stats"' in dashboard.BLOCKING


def test_every_number_has_thresholds_of_its_own() -> None:
    """By Grafana's default, numbers from 80 on are red."""
    for panel in json.loads(dashboard.text())["panels"]:
        if panel["type"] == "stat":
            first, *others = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert first["value"] is None
            assert all(step["value"] != 80 for step in others)


def test_grafana_is_provisioned_with_the_folder_and_the_stores_of_the_dashboard() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "processor.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "processor.yaml").read_text())["datasources"]
    assert {source["type"] for source in sources} == {
        variable["query"]
        for variable in dashboard.dashboard()["templating"]["list"]
        if variable["type"] == "datasource"
    }


def test_every_query_of_the_dashboard_has_an_answer(scenario: MakeScenario, pipeline: Pipeline) -> None:
    work = scenario(partitions=2)
    fleet = work.run("fail", "-p", "2", "--stats-interval", "0.3", "--backoff", "0.05")
    fleet.wait_for("consumer.stats", count=4)
    work.produce_sessions(200, 20)
    work.produce([(b"r", b"rejected"), (b"f", b"fails twice")])
    work.wait_done(201)
    dead = f'processor_fleet_consumers{{group="{work.group}"}} == 2'
    wait_until(lambda: pipeline.store.query(dead), 60)
    given = {"$group": work.group, "$topic": work.topic, "$__rate_interval": "30s", "$__range": "1m"}
    for query in dashboard.queries():
        filled = reduce(lambda text, name: text.replace(name, given[name]), given, query)
        assert "$" not in filled
        filled = filled.removesuffix(" > 0")  # such a panel leaves out values of 0, and here all may be 0
        wait_until(partial(pipeline.store.query, filled), 60, partial(str, filled))
    assert fleet.stop() == 0
