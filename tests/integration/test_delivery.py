"""What is promised about delivery, against a real broker, checked from a ledger that the handlers write."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from processor.engine.build import BUILD
from processor.fleet.supervisor import ONE_SIGNAL
from processor.telemetry.redaction import hashed
from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.ledger import Place
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.until import until

BOTH = pytest.mark.parametrize("protocol", ["classic", "consumer"])


@BOTH
def test_every_task_runs_once_and_in_the_order_of_its_session(scenario: MakeScenario, protocol: str) -> None:
    work = scenario()
    work.produce_sessions(2000, 50)
    fleet = work.run("note", "--stop-at-end", "-p", "2", "-w", "8", "--group-protocol", protocol)
    assert fleet.wait() == 0
    assert {event["engine"] for event in fleet.heard("consumer.started")} == {BUILD}
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)


def test_an_async_handler_has_the_same_guarantees(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(2000, 50)
    assert work.run("note_async", "--stop-at-end", "-w", "200", seconds=0.005).wait() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)


@BOTH
def test_after_a_clean_stop_nothing_runs_again(scenario: MakeScenario, protocol: str) -> None:
    work = scenario()
    work.produce_sessions(3000, 50)
    options = ("-w", "16", "--group-protocol", protocol)
    for done in (500, 1500):
        fleet = work.run("note", *options, seconds=0.005)
        fleet.wait_for("fleet.started")  # the one before it may have done as many already
        work.wait_done(done)
        assert fleet.stop() == 0
    assert work.run("note", *options, "--stop-at-end").wait() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)


@BOTH
def test_a_kill_repeats_only_what_ran_since_the_last_commit(scenario: MakeScenario, protocol: str) -> None:
    """One task hangs, everything behind it is done and committed in the skip map: a kill repeats none of that."""
    work = scenario(partitions=2)
    work.produce([(b"stuck", b"")])
    work.produce_sessions(3000, 60)
    options: tuple[str, ...] = ("-w", "16", "--group-protocol", protocol, "--commit-interval", "0.2")
    options += ("-X", "session.timeout.ms=6000") if protocol == "classic" else ()
    fleet = work.run("stick", *options)
    work.wait_done(3000)
    until(lambda: len(work.known_done()) == 3000, "the group knows what is done", 30, pause=0.05)
    work.kill(fleet)
    again = work.run("note", *options, "--stop-at-end")
    assert again.wait(120) == 0
    assert work.faults() == {}
    assert {finding.place for finding in work.repeated()} <= {work.places[0]}
    work.wait_lag(0)


def test_kills_under_load_lose_no_task(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(4000, 40)
    options = ("-w", "16", "--commit-interval", "0.2", "-X", "session.timeout.ms=6000")
    for done in (300, 1200):
        fleet = work.run("note", *options, seconds=0.005)
        work.wait_done(done)
        work.kill(fleet)
    assert work.run("note", *options, "--stop-at-end").wait(120) == 0
    assert work.faults() == {}
    work.wait_lag(0)


@BOTH
def test_consumers_that_come_and_go_neither_lose_tasks_nor_let_them_overlap(
    scenario: MakeScenario, protocol: str
) -> None:
    work = scenario(partitions=6)
    work.produce_sessions(4000, 60)
    options = ("-w", "8", "--group-protocol", protocol)
    first = work.run("note", *options, seconds=0.01)
    work.wait_done(300)
    second = work.run("note", *options, seconds=0.01)
    second.wait_for_partitions()
    work.wait_done(1200)
    assert first.stop() == 0
    third = work.run("note", *options, "-p", "2", seconds=0.01)
    third.wait_for("fleet.started")  # where it starts slowly, the second one has done all meanwhile
    work.wait_done(4000, 90)
    work.wait_lag(0)
    assert second.stop() == 0
    assert third.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []


def test_a_killed_consumer_is_replaced(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(2000, 40)
    fleet = work.run("note", "-w", "8", "-X", "session.timeout.ms=6000", seconds=0.005)
    work.wait_done(200)
    (consumer,) = fleet.consumers()
    work.deaths[consumer] = time.monotonic_ns()
    psutil.Process(consumer).send_signal(signal.SIGKILL)
    fleet.wait_for("fleet.consumer_exited", exit_code=-9)
    work.wait_done(2000, 90)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}


def test_a_second_signal_stops_the_fleet_at_once_and_abandons_only_running_tasks(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(200, 20)
    work.produce([(b"stuck", b"")])
    fleet = work.run("stick", "-w", "8", "--timeout", "600")
    work.wait_done(200)
    work.wait_begun(201)  # the stuck one, too
    fleet.signal(signal.SIGTERM)
    fleet.wait_for("consumer.stopping")
    time.sleep(2 * ONE_SIGNAL)  # sooner it would count as the first one
    begun = time.monotonic()
    fleet.signal(signal.SIGTERM)
    assert fleet.wait(15) == 3
    assert time.monotonic() - begun < 10
    assert work.run("note", "--stop-at-end").wait() == 0
    assert work.faults() == {}
    assert {finding.place for finding in work.repeated()} <= {work.places[-1]}


def test_a_drain_that_times_out_is_reported_and_exits_with_3(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"stuck", b"")])
    fleet = work.run("stick", "--drain-timeout", "1", "--timeout", "600")
    fleet.wait_for("consumer.assigned")
    work.wait_begun()
    assert fleet.stop() == 3
    assert fleet.heard("task.abandoned", session_id=hashed("stuck"))


def test_gaps_in_the_offsets_do_not_stop_the_commits(scenario: MakeScenario) -> None:
    """Transactions leave markers and aborted records, which are never delivered; the lag still reads 0."""
    work = scenario(partitions=1)
    producer = Producer({"bootstrap.servers": work.servers, "transactional.id": work.group, "log_level": 0})
    producer.init_transactions(30)
    for number in range(6):
        producer.begin_transaction()
        for n in range(20):
            producer.produce(work.topic, f"{number}-{n}".encode(), key=f"s{n % 5}".encode())
        producer.flush(30)
        if number % 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    cluster.wait_for_markers(work.servers, work.topic)
    work.places = [Place(work.topic, 0, base * 21 + n) for base in (0, 2, 4) for n in range(20)]
    assert work.run("note", "--stop-at-end").wait() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)


def test_consumers_wait_for_a_broker_that_dies_and_restarts(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    broker = own_broker()
    work = Scenario(broker, cluster.create_topic(broker.bootstrap_servers, "work", 4), group, tmp_path, start_fleet)
    work.produce_sessions(2000, 40)
    fleet = work.run("note", "-w", "4", *OUTLASTING, seconds=0.01)
    work.wait_done(300)
    broker.kill()
    broker.restart()
    work.wait_done(2000, 90)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
