"""Each alert is fired by a fleet with its fault, and none by a fleet without one. A minute lasts two seconds.

All faults are made at once, each in a thread and a consumer group of its own: most of the time is waiting.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, TopicPartition

from processor.engine.pauses import Pause, Target
from processor.kafka.control_topic import send_command
from processor.options.connection import ConnectionOptions
from tests.conftest import Wired
from tests.monitoring.conftest import Pipeline
from tests.support import cluster, go_tools
from tests.support.broker import Broker
from tests.support.kafka_jars import PROJECT
from tests.support.monitoring import Alerts, wait_until
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.until import until
from tests.support.wire import Wire

RULES = PROJECT / "deploy" / "monitoring" / "rules" / "processor.yaml"
SECONDS = 2
"""That a minute lasts."""
QUICK = ("--stats-interval", "0.4", "--commit-interval", "0.2")
AT_ONCE = 6
"""Faults; more fleets than that would wait for the processor and not for a rule."""


class Site(NamedTuple):
    """The environment in which a fault is made."""

    work: Scenario
    wire: Wire
    """That between the fleets of `refused_commits` and their broker."""
    firing: Callable[[], set[str]]
    """The alerts that fire for the group now."""

    def wait_for(self, alert: str, seconds: float = 90.0) -> None:
        """Waits until the alert fires."""
        wait_until(lambda: alert in self.firing(), seconds, self.firing)


def lag_that_grows(at: Site) -> None:
    fleet = at.work.run("note", *QUICK, "-w", "1", seconds=0.5)
    deadline = time.monotonic() + 100
    while "ProcessorLagGrows" not in at.firing():
        assert time.monotonic() < deadline
        at.work.produce_sessions(50, 50)
        time.sleep(0.4)
    fleet.kill()


def attempts_that_go_on_failing(at: Site) -> None:
    at.work.produce([(b"s", b"fails always")])
    fleet = at.work.run("fail", *QUICK, "--max-attempts", "100000", "--backoff", "0.1", "--backoff-max", "0.1")
    at.wait_for("ProcessorFailureRatio")
    fleet.kill()


def something_that_a_handler_needs_is_away(at: Site) -> None:
    at.work.outage.touch()
    at.work.produce_sessions(40, 40)
    fleet = at.work.run("needy", *QUICK, "--backoff", "0.1", "--backoff-max", "0.5")
    at.wait_for("ProcessorHandlerSuspended")
    fleet.kill()


def a_pause_that_was_forgotten(at: Site) -> None:
    control = f"{at.work.topic}.control"
    two_hours_ago = Pause(time.time_ns() // 1_000_000 - 2 * 3_600_000, "ann@host")
    connection = ConnectionOptions(bootstrap_servers=at.work.servers)
    send_command(connection, control, at.work.group, Target("session", "s"), two_hours_ago)
    fleet = at.work.run("note", *QUICK, "--control-topic", control)
    at.wait_for("ProcessorPaused")
    fleet.kill()


def one_task_that_holds_its_partition(at: Site) -> None:
    at.work.produce([(b"stuck", b"")])
    at.work.produce([(b"s%d" % (n % 4), b"%d" % n) for n in range(4000)])
    fleet = at.work.run("stick", *QUICK, "-w", "5", "--timeout", "600", seconds=0.05)
    at.wait_for("ProcessorCommitPointStalled")
    at.wait_for("ProcessorSessionBlocked")
    fleet.kill()


def too_few_workers(at: Site) -> None:
    """The fleet may have two consumers, but there is one partition."""
    at.work.produce_sessions(400, 400)
    fleet = at.work.run("note", *QUICK, "-w", "1", "-p", "1..2", seconds=0.2)
    at.wait_for("ProcessorTasksWaitForWorkers")
    at.wait_for("ProcessorScalingAtLimit")
    fleet.kill()


def refused_commits(at: Site) -> None:
    """The coordinator refuses with a reason after which the client continues."""
    at.wire.refuse_commits(KafkaError.INVALID_COMMIT_OFFSET_SIZE, 100_000)
    try:
        at.work.produce_sessions(20, 4)
        fleet = at.work.run("note", *QUICK)
        at.wait_for("ProcessorCommitsRefused")
        fleet.kill()
    finally:
        at.wire.accept_commits()


def members_that_come_and_go(at: Site) -> None:
    run = partial(at.work.run, "note", *QUICK, "--group-protocol", "consumer")
    stays = run()
    stays.wait_for("consumer.assigned")
    deadline = time.monotonic() + 100
    while "ProcessorRebalanceStorm" not in at.firing():
        assert time.monotonic() < deadline, stays.heard("consumer.stats")[-1]["rebalances"]
        guests = [run() for _ in range(2)]
        for guest in guests:
            guest.wait_for("consumer.assigned")
            guest.signal(signal.SIGTERM)
        for guest in guests:
            assert guest.wait() == 0
    assert stays.stop() == 0


def consumers_that_end_again_and_again(at: Site) -> None:
    fleet = at.work.run("note", *QUICK)
    for count in range(1, 5):
        fleet.wait_for("consumer.started", count=count)
        (pid,) = fleet.consumers()
        os.kill(pid, signal.SIGKILL)
        fleet.wait_for("fleet.consumer_exited", count=count)
    at.wait_for("ProcessorConsumersRestart")
    fleet.kill()


def processes_that_die_at_work(at: Site) -> None:
    fleet = at.work.run("note", *QUICK)
    for count in (1, 2):
        (pid,) = until(fleet.consumers)
        fleet.wait_for("consumer.assigned", pid=pid)
        os.kill(pid, signal.SIGKILL)
        fleet.wait_for("process.died", count=count)
    at.wait_for("ProcessorProcessDied")
    fleet.kill()


def a_fleet_that_is_killed(at: Site) -> None:
    fleet = at.work.run("note", *QUICK)
    fleet.wait_for("consumer.stats", count=3, assigned_partitions=1)
    at.work.kill(fleet)
    at.wait_for("ProcessorNoHeartbeat")


def a_consumer_that_hangs(at: Site) -> None:
    """The fleet's parent lives, and continues to log."""
    fleet = at.work.run("note", *QUICK, "-p", "2")
    fleet.wait_for("consumer.stats", count=2, consumer=1)
    os.kill(fleet.consumers()[0], signal.SIGSTOP)
    at.wait_for("ProcessorNoHeartbeat")
    fleet.kill()


def a_handler_that_does_not_stop(at: Site) -> None:
    fleet = at.work.run("stick_once", *QUICK, "--timeout", "0.3", "--max-attempts", "1")
    fleet.wait_for("consumer.stats", count=2)
    at.work.produce([(b"s", b"first")])
    at.wait_for("ProcessorStuckHandler")
    fleet.kill()


def a_stop_that_cuts_tasks_short(at: Site) -> None:
    at.work.produce([(b"stuck", b"")])
    fleet = at.work.run("stick", *QUICK, "--timeout", "600", "--drain-timeout", "0.2")
    at.work.wait_begun()
    fleet.wait_for("fleet.stats", count=2)
    assert fleet.stop() == 3
    at.wait_for("ProcessorForcedStop")


def a_dead_letter(at: Site) -> None:
    fleet = at.work.run("fail", *QUICK)
    fleet.wait_for("consumer.stats", count=2)
    at.work.produce([(b"s", b"rejected")])
    at.wait_for("ProcessorDeadLetters")
    assert fleet.stop() == 0


def records_that_retention_took(at: Site) -> None:
    """They are deleted while the fleet is down."""
    at.work.produce_sessions(10, 2)
    assert at.work.run("note", "--stop-at-end").wait() == 0
    at.work.produce_sessions(10, 2)
    place = TopicPartition(at.work.topic, 0, 15)
    for deleted in cluster.admin_of(at.work.servers).delete_records([place]).values():
        deleted.result(30)
    fleet = at.work.run("note", *QUICK)
    at.wait_for("ProcessorRecordsMissed")
    assert fleet.stop() == 0


def nothing(at: Site) -> None:
    """A fleet runs for a while, and stops in order."""
    fleet = at.work.run("note", *QUICK, "-p", "2")
    deadline = time.monotonic() + 12
    while time.monotonic() < deadline:
        at.work.produce_sessions(20, 5)
        # Two minutes of silence are four seconds here: a busy machine may be as slow, and nothing is wrong.
        assert at.firing() <= {"ProcessorNoHeartbeat"}
        time.sleep(0.2)
    assert fleet.stop() == 0
    wait_until(lambda: not at.firing(), 10, at.firing)
    quiet = time.monotonic() + 4 * SECONDS
    while time.monotonic() < quiet:
        assert at.firing() == set()
        time.sleep(0.2)


FAULTS = (
    lag_that_grows,
    attempts_that_go_on_failing,
    something_that_a_handler_needs_is_away,
    one_task_that_holds_its_partition,
    a_pause_that_was_forgotten,
    too_few_workers,
    refused_commits,
    members_that_come_and_go,
    consumers_that_end_again_and_again,
    processes_that_die_at_work,
    nothing,
    a_fleet_that_is_killed,
    a_consumer_that_hangs,
    a_handler_that_does_not_stop,
    a_stop_that_cuts_tasks_short,
    records_that_retention_took,
    a_dead_letter,
)
"""Those that last longest first."""


@pytest.fixture(scope="module")
def alerts(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerts]:
    """The shipped rules, except for the length of a minute."""
    folder = tmp_path_factory.mktemp("alerts")
    rules = re.sub(r"\b(\d+)m\b", lambda found: f"{int(found[1]) * SECONDS}s", RULES.read_text())
    for minutes in (5, 15):  # thresholds in seconds
        rules = re.sub(rf"> {minutes * 60}\b", f"> {minutes * SECONDS}", rules)
    (folder / "rules.yaml").write_text(rules)
    with Alerts(go_tools.VMALERT.path, pipeline.store, folder / "rules.yaml", folder) as evaluated:
        yield evaluated


@pytest.fixture(scope="module")
def made(
    alerts: Alerts, broker: Broker, wired: Wired, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """Starts every fault."""

    def make(fault: Callable[[Site], None]) -> None:
        name, folder = fault.__name__, tmp_path_factory.mktemp(fault.__name__)
        own, fleets_go_to = (wired.broker, wired.wire.address) if fault is refused_commits else (broker, None)
        topic = cluster.create_topic(own.bootstrap_servers, name, 6 if fault is members_that_come_and_go else 1)
        with ExitStack() as stack:
            start = partial(_start, stack, folder)
            work = Scenario(own, topic, name, folder, start, servers_of_fleets=fleets_go_to)
            fault(Site(work, wired.wire, partial(_firing, alerts, name)))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {fault.__name__: pool.submit(make, fault) for fault in FAULTS}


def _start(stack: ExitStack, folder: Path, app: str, *options: str, **more: Any) -> Fleet:
    return stack.enter_context(Fleet(app, *options, folder=folder, **more))


def _firing(alerts: Alerts, group: str) -> set[str]:
    return {name for name, of in alerts.firing() if of == group}


@pytest.mark.parametrize("fault", [fault.__name__ for fault in FAULTS])
def test_each_fault_fires_its_alert_and_a_fleet_without_one_fires_none(
    made: dict[str, Future[None]], fault: str
) -> None:
    made[fault].result()
