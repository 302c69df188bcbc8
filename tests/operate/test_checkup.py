"""The verdicts of `processor doctor`, from findings that are made up."""

from __future__ import annotations

import pytest

from processor.operate.checkup import (
    GroupFacts,
    Probe,
    TopicState,
    capacity_verdict,
    clock_verdict,
    control_verdict,
    expiry_verdict,
    failure,
    files_verdict,
    group_verdict,
    listeners_verdict,
    names_verdict,
    ok,
    policy_verdict,
    report_of,
    servers_verdict,
    topic_verdict,
    variables_verdict,
    warning,
)

UP = [Probe("a:9092"), Probe("b:9092"), Probe("c:9092")]
DOWN = Probe("d:9092", "connection refused")
DAY = 86_400.0


OPTIONS = ("PROCESSOR_WORKERS", "PROCESSOR_TOPIC", "PROCESSOR_PORT")


def test_variables_that_are_options_or_name_a_service_of_kubernetes_are_in_no_doubt() -> None:
    service = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_METRICS", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    given = [f"PROCESSOR_{part}{name}" for part in ("", "SHOP_") for name in service]
    assert variables_verdict(["PROCESSOR_WORKERS", *given], OPTIONS) is None


def test_variables_that_are_no_option_are_a_warning_with_the_option_that_may_be_meant() -> None:
    finding = variables_verdict(["PROCESSOR_WORKRES", "PROCESSOR_ANY", "PROCESSOR_TOPIC"], OPTIONS)
    assert finding is not None
    assert finding.level == "warning"
    assert finding.found == "no option has the variable PROCESSOR_ANY, PROCESSOR_WORKRES"
    assert finding.remedy is not None
    assert finding.remedy.endswith("remove the variables (PROCESSOR_WORKRES: perhaps PROCESSOR_WORKERS)")


@pytest.mark.parametrize("verdict", [names_verdict, servers_verdict])
def test_one_bootstrap_server_that_works_is_enough(verdict: object) -> None:
    assert callable(verdict)
    assert verdict(UP).level == "ok"
    assert verdict(UP).remedy is None
    some = verdict([*UP[:2], DOWN])
    assert some.level == "warning"
    assert "1 of 3 " in some.found
    assert some.found.endswith(": d:9092 (connection refused)")
    assert verdict([DOWN]).level == "failure"
    assert verdict([DOWN, Probe("e:9092", "no answer")]).level == "failure"


def test_every_advertised_address_must_be_reachable() -> None:
    assert listeners_verdict(UP).level == "ok"
    found = listeners_verdict([*UP, DOWN])
    assert found.level == "failure"
    assert found.found == "advertised by the brokers: 1 of 4 not reachable: d:9092 (connection refused)"
    assert "advertised.listeners" in (found.remedy or "")


@pytest.mark.parametrize(
    ("policy", "level"),
    [("compact", "ok"), ("delete", "warning"), ("compact,delete", "warning"), (None, "ok")],
)
def test_a_control_topic_must_not_forget_its_commands(policy: str | None, level: str) -> None:
    found = control_verdict("shop.control", policy)
    assert found.level == level
    assert (found.remedy is None) == (level == "ok")


@pytest.mark.parametrize(("days", "level"), [(90, "ok"), (13, "warning"), (0.5, "warning")])
def test_a_certificate_that_expires_soon_is_a_warning(days: float, level: str) -> None:
    assert expiry_verdict(days * DAY).level == level


@pytest.mark.parametrize(
    ("topic", "level", "part"),
    [
        (TopicState("t", 4, 3), "ok", "t: 4 partitions, 3 replicas"),
        (TopicState("t", 1, 1), "warning", "t: 1 partition, a single replica"),
        (TopicState("t", 4, 3, under_replicated=2), "warning", "2 with replicas that are not in sync"),
        (TopicState("t", 4, 3, without_leader=1, under_replicated=1), "failure", "1 without a leader"),
        (TopicState("t", 4, 1, without_leader=1), "failure", "1 without a leader"),
    ],
)
def test_a_topic_needs_leaders_and_should_have_replicas(topic: TopicState, level: str, part: str) -> None:
    found = topic_verdict(topic)
    assert found.level == level
    assert part in found.found
    assert (found.remedy is None) == (level == "ok")


@pytest.mark.parametrize("policy", [None, "compact"])
def test_a_progress_topic_that_is_compacted_is_right(policy: str | None) -> None:
    assert policy_verdict("progress", policy) is None


@pytest.mark.parametrize("policy", ["delete", "compact,delete", "delete,compact"])
def test_a_progress_topic_whose_records_are_deleted_is_a_warning(policy: str) -> None:
    found = policy_verdict("progress", policy)
    assert found is not None
    assert (found.check, found.level, found.remedy) == ("topics", "warning", "set cleanup.policy=compact")
    assert f"progress: cleanup.policy is {policy}" in found.found


def test_consumers_without_a_partition_are_a_warning() -> None:
    assert capacity_verdict(4, 4) is None
    found = capacity_verdict(4, 6)
    assert found is not None
    assert (found.level, found.found) == ("warning", "6 consumers for 4 partitions: 2 of them get none")


@pytest.mark.parametrize(
    ("group", "protocol", "level"),
    [
        (GroupFacts("g", "new", 0, None, ""), "classic", "ok"),
        (GroupFacts("g", "empty", 0, "classic", "range"), "consumer", "ok"),
        (GroupFacts("g", "stable", 2, "classic", "cooperative-sticky"), "classic", "ok"),
        (GroupFacts("g", "stable", 2, "consumer", "uniform"), "consumer", "ok"),
        (GroupFacts("g", "stable", 2, None, "cooperative-sticky"), "classic", "ok"),
        (GroupFacts("g", "stable", 2, "consumer", "uniform"), "classic", "warning"),
        (GroupFacts("g", "stable", 2, "classic", "cooperative-sticky"), "consumer", "warning"),
        (GroupFacts("g", "stable", 2, "classic", "range"), "classic", "failure"),
    ],
)
def test_a_group_must_have_the_same_protocol_and_assignor(group: GroupFacts, protocol: str, level: str) -> None:
    assert group_verdict(group, protocol).level == level


@pytest.mark.parametrize(
    ("limit", "brokers", "processes", "workers", "level"),
    [
        (1024, 3, 2, 32, "ok"),
        (256, 3, 2, 512, "warning"),
        (80, 3, 2, 1, "failure"),
        (256, 3, 100, 1, "failure"),
    ],
)
def test_open_files_are_compared_with_brokers_processes_and_workers(
    limit: int, brokers: int, processes: int, workers: int, level: str
) -> None:
    assert files_verdict(limit, brokers, processes, workers).level == level


def test_a_record_from_the_future_shows_that_a_clock_is_wrong() -> None:
    assert clock_verdict([], 1000.0).level == "ok"
    assert clock_verdict([10.0, 1004.0], 1000.0).level == "ok"
    found = clock_verdict([10.0, 4600.0], 1000.0)
    assert (found.level, found.found) == ("warning", "the newest record is dated 1 h 00 m after this host's time")


def test_a_report_counts_failures_and_warnings() -> None:
    report = report_of([ok("a", "x"), warning("b", "x", "y"), failure("c", "x", "y"), failure("d", "x", "y")])
    assert (report.failures, report.warnings) == (2, 1)
    assert [finding.check for finding in report.findings] == ["a", "b", "c", "d"]
