"""What a group refuses, against real coordinators: a wrong setting ends the fleet, a temporary state is waited for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer

from processor.kafka.admin import broker_settings
from processor.kafka.config import admin_config
from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.kafka_jars import OLD_VERSIONS
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario

PROTOCOLS = ("classic", "consumer")

SOON = 120.0
"""Seconds for the start, a refusal and the end of a fleet on a busy machine."""

SESSION_SECONDS = 45
"""The session of a member that dies: longer than another fleet takes to start on a busy machine."""


@contextmanager
def member(work: Scenario, **config: str) -> Iterator[None]:
    """A member of the group that another program runs."""
    spelled = {key.replace("_", "."): value for key, value in config.items()}
    consumer = Consumer({"bootstrap.servers": work.servers, "group.id": work.group, "log_level": 0, **spelled})
    assigned, left = threading.Event(), threading.Event()

    def poll() -> None:
        while not left.is_set():
            consumer.poll(0.05)

    consumer.subscribe([work.topic], on_assign=lambda *_: assigned.set())
    thread = threading.Thread(target=poll)
    thread.start()
    try:
        assert assigned.wait(SOON), "the other member has not joined"
        yield
    finally:
        left.set()
        thread.join()
        consumer.close()


@pytest.fixture
def on_own_broker(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> Callable[..., Scenario]:
    """Scenarios on brokers with properties, or of a version, of the test's own: one broker for the same of them."""
    brokers: dict[tuple[str | None, str], Broker] = {}
    groups = (f"{group}-{number}" for number in itertools.count())

    def make(version: str | None = None, **properties: str) -> Scenario:
        spelled = {key.replace("_", "."): value for key, value in properties.items()}
        if (chosen := (version, str(spelled))) not in brokers:
            brokers[chosen] = own_broker(spelled, version=version) if version else own_broker(spelled)
        broker, name = brokers[chosen], next(groups)
        (tmp_path / name).mkdir()
        topic = cluster.create_topic(broker.bootstrap_servers, name, 2)
        return Scenario(broker, topic, name, tmp_path / name, start_fleet)

    return make


def assert_refused(fleet: Fleet, *told: str) -> None:
    """It has ended with exit code 5 and one sentence on standard error, which holds all that is `told`."""
    assert fleet.wait(SOON) == 5
    (line,) = fleet.lines
    assert all(words in line for words in told), line


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_a_cluster_too_old_for_kip_848_is_reported_and_serves_the_classic_protocol(
    on_own_broker: Callable[..., Scenario], version: str
) -> None:
    refused = on_own_broker(version)
    fleet = refused.run("note", "--group-protocol", "consumer")
    assert_refused(fleet, refused.servers, "--group-protocol classic")
    assert not fleet.heard("consumer.started")
    work = on_own_broker(version)
    work.produce_sessions(200, 10)
    assert work.run("note", "--stop-at-end", "-p", "2").wait() == 0
    assert work.faults() == {}
    work.wait_lag(0)


def test_a_cluster_with_kip_848_disabled_is_reported(on_own_broker: Callable[..., Scenario]) -> None:
    work = on_own_broker(group_coordinator_rebalance_protocols="classic")
    assert_refused(work.run("note", "--group-protocol", "consumer"), work.servers, "--group-protocol classic")


@pytest.mark.parametrize("milliseconds", [500, 3_600_000])
def test_a_session_timeout_outside_the_broker_bounds_ends_the_fleet_and_reports_the_bounds(
    scenario: MakeScenario, milliseconds: int
) -> None:
    fleet = scenario().run("note", "-p", "2", "-X", f"session.timeout.ms={milliseconds}")
    assert_refused(fleet, f"session.timeout.ms={milliseconds}", "(1000)", "(1800000)")


def test_the_default_session_timeout_is_raised_to_the_minimum_of_the_brokers(
    on_own_broker: Callable[..., Scenario],
) -> None:
    work = on_own_broker(group_min_session_timeout_ms="30000")
    work.produce_sessions(20, 2)
    fleet = work.run("note")
    assert "45000" in fleet.wait_for("consumer.joining")["reason"]
    work.wait_done(20)
    assert fleet.stop() == 0


def test_a_group_whose_members_use_another_assignor_is_reported(scenario: MakeScenario) -> None:
    work = scenario()
    with member(work, partition_assignment_strategy="range"):
        assert_refused(work.run("note"), work.group, "partition.assignment.strategy", "another --group")


def test_an_unknown_assignor_ends_the_fleet_and_reports_the_available_ones(
    scenario: MakeScenario,
) -> None:
    fleet = scenario().run("note", "--group-protocol", "consumer", "-X", "group.remote.assignor=nearest")
    assert_refused(fleet, "group.remote.assignor=nearest", "uniform,range")


def test_a_group_of_the_other_protocol_that_the_cluster_does_not_convert_is_reported(
    on_own_broker: Callable[..., Scenario],
) -> None:
    for protocol, other in itertools.permutations(PROTOCOLS):
        work = on_own_broker(group_consumer_migration_policy="disabled")
        with member(work, group_protocol=other):
            assert_refused(work.run("note", "--group-protocol", protocol), work.group, "stop them first")


def test_a_consumer_waits_while_its_group_is_full(on_own_broker: Callable[..., Scenario]) -> None:
    for protocol in PROTOCOLS:
        work = on_own_broker(group_max_size="1", group_consumer_max_size="1")
        work.produce_sessions(20, 2)
        with member(work, group_protocol=protocol):
            fleet = work.run("note", "--group-protocol", protocol)
            joining = fleet.wait_for("consumer.joining")
            assert "group.max.size" in joining["reason"], protocol
            assert not fleet.heard("consumer.assigned"), protocol
        fleet.wait_for("consumer.assigned")
        work.wait_done(20)
        assert fleet.stop() == 0, protocol


def test_a_consumer_waits_for_an_instance_id_whose_owner_has_died(on_own_broker: Callable[..., Scenario]) -> None:
    """With KIP-848 the coordinator holds it until the dead member's session ends, and the client gives up."""
    work = on_own_broker(group_consumer_session_timeout_ms=f"{SESSION_SECONDS}000")
    work.produce_sessions(20, 2)
    options = ("--group-protocol", "consumer", "-X", "group.instance.id=box")
    first = work.run("note", *options)
    work.wait_done(20)
    work.kill(first)
    second = work.run("note", *options)
    joining = second.wait_for("consumer.joining")
    assert "group.instance.id" in joining["reason"]
    second.wait_for("consumer.assigned", SESSION_SECONDS + 60.0)
    work.produce_sessions(20, 2)
    work.wait_done(40)
    assert second.stop() == 0


def test_a_wait_for_a_dead_member_is_reported(scenario: MakeScenario) -> None:
    """The coordinator admits no member until it has evicted the silent one."""
    work = scenario()
    first = work.run("note", "-X", f"session.timeout.ms={SESSION_SECONDS}000")
    first.wait_for("consumer.assigned")
    (silent,) = map(psutil.Process, first.consumers())
    silent.suspend()
    try:
        second = work.run("note")
        joining = second.wait_for("consumer.joining")
        assert joining["seconds"] >= 10
        assert not second.heard("consumer.assigned")
        second.wait_for("consumer.assigned", SESSION_SECONDS + 60.0)
    finally:
        silent.resume()
    assert second.stop() == 0
    assert first.stop() == 0


def test_bounds_that_cannot_be_read_are_omitted() -> None:
    assert broker_settings(admin_config("127.0.0.1:1", {}), ["group.max.session.timeout.ms"], timeout=0.1) == {}
