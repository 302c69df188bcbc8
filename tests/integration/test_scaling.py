"""Fleets that scale themselves, on a real broker."""

from __future__ import annotations

import signal

import pytest

from tests.support import cluster
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

TASKS, SESSIONS = 2000, 40


def instances_in(work: Scenario) -> list[str]:
    """The `group.instance.id` of each member, as the coordinator knows them."""
    return sorted(str(member.group_instance_id) for member in cluster.members(work.servers, work.group))


def test_automatic_scaling_of_workers_loses_and_repeats_no_task(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(TASKS, SESSIONS)
    fleet = work.run("note", "-w", "2..16", "--commit-interval", "0.2", seconds=0.004)
    started = fleet.wait_for("consumer.started")
    assert (started["workers"], started["workers_most"]) == (2, 16)
    changed = fleet.wait_for("consumer.workers_changed")
    assert (changed["workers_before"], changed["workers"]) == (2, 4)
    assert changed["reason"].startswith("tasks wait and all 2 workers are busy: ")
    work.wait_done(TASKS)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_fleet_adds_a_consumer_under_load_and_removes_it_without_repeating_a_task(
    scenario: MakeScenario, protocol: str
) -> None:
    work = scenario()
    work.produce_sessions(900, SESSIONS)
    options = ("-p", "1..2", "-w", "2", "--stats-interval", "0.3", "--commit-interval", "0.2")
    fleet = work.run("note", *options, "--group-protocol", protocol, seconds=0.02)
    changed = fleet.wait_for("fleet.processes_changed")
    assert (changed["processes_before"], changed["processes"]) == (1, 2)
    assert changed["reason"] == "tasks wait and the consumer is busy"
    work.wait_done(900)
    fleet.wait_for("consumer.assigned", consumer=1)
    fleet.signal(signal.SIGTTOU)
    assert fleet.wait_for("fleet.processes_changed", count=2)["processes"] == 1
    assert fleet.wait_for("consumer.stopped", consumer=1)["exit_code"] == 0
    work.produce_sessions(100, SESSIONS)
    work.wait_done(1000)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []


def test_a_consumer_that_is_taken_away_leaves_with_the_instance_id_of_the_user_and_the_others_keep_theirs(
    scenario: MakeScenario,
) -> None:
    """The session outlasts the test by far, so that only a member that leaves gives up its partitions."""
    work = scenario()
    options = ("-X", "group.instance.id=place", "-X", "session.timeout.ms=900000", "--commit-interval", "0.2")
    fleet = work.run("note", "-p", "2", *options)
    until(lambda: all(len(fleet.partitions_of(consumer)) == 2 for consumer in range(2)), "they share the topic", 60)
    work.produce_sessions(100, SESSIONS)
    work.wait_done(100)
    fleet.signal(signal.SIGTTOU)
    assert fleet.wait_for("consumer.stopped", consumer=1)["exit_code"] == 0
    work.produce_sessions(100, SESSIONS)
    work.wait_done(200)
    until(lambda: fleet.partitions_of(0) == {0, 1, 2, 3}, "the other one has logged that it has all partitions", 60)
    assert instances_in(work) == ["place-0"]
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert instances_in(work) == ["place-0"]
    assert work.faults() == {}
    assert work.repeated() == []
