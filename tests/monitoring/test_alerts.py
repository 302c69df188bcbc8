"""Each alert is fired by a fleet with its fault, and none by one without. A minute of the rules lasts two seconds."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from tests.monitoring.conftest import Pipeline
from tests.support import go_tools
from tests.support.kafka_jars import PROJECT
from tests.support.monitoring import Alerts, wait_until
from tests.support.scenario import MakeScenario, Scenario

RULES = PROJECT / "deploy" / "monitoring" / "rules" / "processor.yaml"
SECONDS = 2
"""That a minute lasts."""
QUICK = ("--stats-interval", "0.4", "--commit-interval", "0.2")


@pytest.fixture(scope="module")
def alerts(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerts]:
    """The shipped rules, but for the length of a minute."""
    folder = tmp_path_factory.mktemp("alerts")
    rules = re.sub(r"\b(\d+)m\b", lambda found: f"{int(found[1]) * SECONDS}s", RULES.read_text())
    rules = re.sub(r"> 900\b", f"> {15 * SECONDS}", rules)
    (folder / "rules.yaml").write_text(rules)
    with Alerts(go_tools.vmalert(), pipeline.store, folder / "rules.yaml", folder) as evaluated:
        yield evaluated


def wait_for(alerts: Alerts, name: str, work: Scenario, seconds: float = 60.0) -> None:
    wait_until(lambda: (name, work.group) in alerts.firing(), seconds, alerts.firing)


def test_a_fleet_that_is_killed_has_no_heartbeat(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    fleet = work.run("note", *QUICK)
    fleet.wait_for("consumer.stats", count=3, assigned=1)
    work.kill(fleet)
    wait_for(alerts, "ProcessorNoHeartbeat", work)


def test_a_fleet_that_works_and_stops_in_order_fires_nothing(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=2)
    fleet = work.run("note", *QUICK, "-p", "2")
    deadline = time.monotonic() + 12
    while time.monotonic() < deadline:
        work.produce_sessions(20, 5)
        assert {name for name, group in alerts.firing() if group == work.group} == set()
        time.sleep(0.2)
    assert fleet.stop() == 0
    quiet = time.monotonic() + 4 * SECONDS
    while time.monotonic() < quiet:
        assert {name for name, group in alerts.firing() if group == work.group} == set()
        time.sleep(0.2)


def test_a_dead_letter_is_told(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    fleet = work.run("fail", *QUICK)
    fleet.wait_for("consumer.stats", count=2)
    work.produce([(b"s", b"rejected")])
    wait_for(alerts, "ProcessorDeadLetters", work)
    assert fleet.stop() == 0


def test_attempts_that_go_on_failing_are_told(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    work.produce([(b"s", b"fails always")])
    fleet = work.run("fail", *QUICK, "--max-attempts", "100000", "--backoff", "0.1", "--backoff-max", "0.1")
    wait_for(alerts, "ProcessorFailureRatio", work)
    fleet.kill()


def test_a_task_that_holds_its_partition_is_told_as_a_stalled_commit_point_and_a_blocked_session(
    scenario: MakeScenario, alerts: Alerts
) -> None:
    work = scenario(partitions=1)
    work.produce([(b"stuck", b"")])
    work.produce([(b"s%d" % (n % 4), b"%d" % n) for n in range(4000)])
    fleet = work.run("stick", *QUICK, "-w", "5", "--timeout", "600", seconds=0.05)
    wait_for(alerts, "ProcessorCommitPointStalled", work)
    wait_for(alerts, "ProcessorSessionBlocked", work)
    fleet.kill()


def test_members_that_come_and_go_are_a_rebalance_storm(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=6)
    protocol = ("--group-protocol", "consumer")
    stays = work.run("note", *QUICK, *protocol)
    stays.wait_for("consumer.assigned")
    storm = "ProcessorRebalanceStorm"
    deadline = time.monotonic() + 90
    while (storm, work.group) not in alerts.firing():
        assert time.monotonic() < deadline, stays.heard("consumer.stats")[-1]["rebalances"]
        guests = [work.run("note", *QUICK, *protocol) for _ in range(2)]
        for guest in guests:
            guest.wait_for("consumer.assigned")
            guest.signal(signal.SIGTERM)
        for guest in guests:
            assert guest.wait() == 0
    assert stays.stop() == 0


def test_a_handler_that_does_not_stop_is_told(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    fleet = work.run("stick_once", *QUICK, "--timeout", "0.3", "--max-attempts", "1")
    fleet.wait_for("consumer.stats", count=2)
    work.produce([(b"s", b"first")])
    wait_for(alerts, "ProcessorStuckHandler", work)
    fleet.kill()


def test_a_stop_that_cuts_tasks_short_is_told(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    work.produce([(b"stuck", b"")])
    fleet = work.run("stick", *QUICK, "--timeout", "600", "--drain-timeout", "0.2")
    work.wait_begun()
    fleet.wait_for("fleet.stats", count=2)
    assert fleet.stop() == 3
    wait_for(alerts, "ProcessorForcedStop", work)


def test_lag_that_grows_is_told(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    fleet = work.run("note", *QUICK, "-w", "1", seconds=0.5)
    deadline = time.monotonic() + 100
    while ("ProcessorLagGrows", work.group) not in alerts.firing():
        assert time.monotonic() < deadline
        work.produce_sessions(50, 50)
        time.sleep(0.4)
    fleet.kill()


def test_consumers_that_end_again_and_again_are_told(scenario: MakeScenario, alerts: Alerts) -> None:
    work = scenario(partitions=1)
    fleet = work.run("note", *QUICK)
    for count in range(1, 5):
        fleet.wait_for("consumer.started", count=count)
        (pid,) = fleet.consumers()
        os.kill(pid, signal.SIGKILL)
        fleet.wait_for("fleet.consumer_ended", count=count)
    wait_for(alerts, "ProcessorConsumersRestart", work)
    fleet.kill()
