"""From a fleet's log through the collector into a store."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from pathlib import Path

from processor.telemetry.metrics import FAMILIES, HISTOGRAM
from tests.monitoring.conftest import Pipeline
from tests.support.monitoring import wait_until
from tests.support.scenario import MakeScenario

QUICK = ("--stats-interval", "0.3")


def test_every_metric_of_a_real_fleet_arrives_with_the_value_that_was_logged_last(
    scenario: MakeScenario, pipeline: Pipeline
) -> None:
    work = scenario(partitions=2)
    work.produce_sessions(200, 20)
    work.produce([(b"r", b"rejected"), (b"f", b"fails twice")])
    fleet = work.run("fail", "--backoff", "0.05", *QUICK)
    work.wait_done(201)
    assert fleet.stop() == 0
    store, group = pipeline.store, f'group="{work.group}"'
    wait_until(lambda: store.value(f"processor_fleet_consumers{{{group}}}") == 0, 60)
    stats = fleet.heard("consumer.stats")[-1]
    assert (stats["succeeded"], stats["failed_attempts"], stats["dead_lettered"]) == (201, 3, 1)

    def stored() -> dict[str, float | None]:
        return {name: store.value(f"{name}{{{group}}}") for name in logged}

    def by(label: str, metric: str) -> dict[str, float]:
        return {labels[label]: value for labels, value in store.query(f"{metric}{{{group}}}")}

    def missing() -> list[str]:
        names = (metric.name for family in FAMILIES for metric in family.metrics)
        return [name for name in names if not store.query(f"{name}{{{group}}}")]

    buckets = stats["handler_seconds_buckets"]
    logged = {
        "processor_succeeded_tasks_total": 201,
        "processor_dead_lettered_tasks_total": 1,
        "processor_failed_attempts_total": 3,
        f"{HISTOGRAM}_count": buckets["+Inf"],
    }
    points = {str(one["partition"]): one["commit_point"] for one in fleet.heard("partition.stats")}
    # What one report has may arrive in several requests, and in any order.
    wait_until(lambda: stored() == logged, 60, stored)
    wait_until(lambda: not missing(), 60, missing)
    wait_until(lambda: by("le", f"{HISTOGRAM}_bucket") == buckets, 60, partial(by, "le", f"{HISTOGRAM}_bucket"))
    commit_point = partial(by, "partition", "processor_partition_commit_point")
    wait_until(lambda: commit_point() == points, 60, commit_point)
    labels = {frozenset(labels) for labels, _ in store.query(f"processor_partition_lag_records{{{group}}}")}
    assert labels == {frozenset({"__name__", "group", "topic", "partition"})}


def test_the_head_of_a_partition_is_a_metric_that_returns_to_0(scenario: MakeScenario, pipeline: Pipeline) -> None:
    work = scenario(partitions=1)
    work.produce([(b"a", b"%d" % n) for n in range(5)])
    fleet = work.run("wait_for_go", *QUICK)
    head = f'processor_partition_head_session_waiting{{group="{work.group}"}}'
    wait_until(lambda: pipeline.store.value(head) == 4, 60)
    assert pipeline.store.value(f'processor_partition_head_attempt{{group="{work.group}"}}') == 1
    work.go()
    wait_until(lambda: pipeline.store.value(head) == 0, 60)
    assert fleet.stop() == 0


def stats_line(group: str) -> str:
    fields = {
        "level": "info",
        "event": "fleet.stats",
        "log_version": 1,
        "host": "h",
        "fleet": 1,
        "group": group,
        "consumers": 3,
    }
    return json.dumps({"timestamp": "2026-01-02T03:04:05.678Z", **fields})


def test_lines_in_the_formats_of_docker_and_kubernetes_are_read(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "docker.jsonl").write_text(
        json.dumps({"log": stats_line("docker") + "\n", "stream": "stderr", "time": "2026-01-02T03:04:05.7Z"}) + "\n"
    )
    (tmp_path / "cri.jsonl").write_text(f"2026-01-02T03:04:05.7Z stderr F {stats_line('cri')}\n")
    (tmp_path / "plain.jsonl").write_text(f"Traceback (most recent call last):\n{{no json\n{stats_line('plain')}\n")
    read = 'sum(processor_fleet_consumers{group=~"docker|cri|plain"})'
    wait_until(lambda: pipeline.store.value(read) == 9, 60)
    others = [record for record in pipeline.log_store.records if "log_version" not in str(record["body"])]
    assert others == []


def test_a_log_record_has_time_severity_trace_and_the_names_of_opentelemetry(
    scenario: MakeScenario, pipeline: Pipeline
) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    work = scenario(partitions=1)
    header = ("traceparent", f"00-{trace}-{span}-01".encode())
    work.produce([(b"anna", b"rejected", [header])])
    fleet = work.run("fail", *QUICK)
    line = fleet.wait_for("task.dead_lettered")
    wait_until(lambda: any(record.get("traceId") == trace for record in pipeline.log_store.records), 60)
    record = next(record for record in pipeline.log_store.records if record.get("traceId") == trace)
    attributes = {one["key"]: next(iter(one["value"].values()), None) for one in record["attributes"]}
    assert (record["spanId"], record["severityText"], record["severityNumber"]) == (span, "warning", 13)
    assert record["timeUnixNano"] == str(
        round(datetime.fromisoformat(line["timestamp"]).timestamp() * 1000) * 1_000_000
    )
    assert attributes["messaging.system"] == "kafka"
    assert attributes["messaging.destination.name"] == work.topic
    assert attributes["messaging.destination.partition.id"] == "0"
    assert attributes["messaging.kafka.offset"] == "0"
    assert attributes["messaging.consumer.group.name"] == work.group
    assert attributes["messaging.kafka.message.key"] == line["session_id"]
    assert attributes["error.type"] == "processor.Reject"
    assert fleet.stop() == 0
