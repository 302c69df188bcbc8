"""A topic that grows under a backlog: no task overtakes or overlaps one of its session, in whatever partition."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from processor import Dispatcher, Step, group
from processor.handlers.links import Planned, write_plan
from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.growing_topic import Stream, grow
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.until import until

BOTH = pytest.mark.parametrize("protocol", ["classic", "consumer"])

SESSIONS = 60
SECONDS = 0.01
BACKLOG = 1_500
"""Two to three seconds of work for two consumers with two workers each."""


def start(work: Scenario, protocol: str, *options: str, handler: str = "note") -> Fleet:
    """A consumer of four workers that sees within half a second that its topic has grown."""
    refresh = ("-X", "topic.metadata.refresh.interval.ms=500")
    return work.run(handler, "-w", "2", "--group-protocol", protocol, *refresh, *options, seconds=SECONDS)


def held(fleets: list[Fleet]) -> set[int]:
    """The partitions that were held so far."""
    return {event["partition"] for fleet in fleets for event in fleet.heard("consumer.partition_held")}


def served(fleets: list[Fleet], partitions: int) -> bool:
    """Whether so many partitions were assigned to the fleets in all their time."""
    return len(
        {name.split("@")[0] for f in fleets for e in f.heard("consumer.assigned") for name in e["partitions"]}
    ) >= (partitions)


@BOTH
@pytest.mark.parametrize("handler", ["note", "note_async"])
def test_no_task_overtakes_another_of_its_session_while_the_topic_grows_under_a_backlog(
    scenario: MakeScenario, protocol: str, handler: str
) -> None:
    """The producer goes on meanwhile, and sees the growth when it does: perhaps after the consumers."""
    work = scenario(partitions=4)
    stream = Stream(work, SESSIONS)
    stream.produce(BACKLOG)
    fleets = [start(work, protocol, handler=handler) for _ in range(2)]
    work.wait_begun(100)
    with stream.flowing(rate=200):
        grow(work, 8)
        until(lambda: served(fleets, 8), "the new partitions are assigned", 60)
        stream.until_it_knows(8)
        stream.produce(SESSIONS * 3)
    work.wait_done(len(work.places))
    work.wait_lag(0)
    assert all(fleet.stop() == 0 for fleet in fleets)
    assert stream.moved() > SESSIONS / 4
    assert stream.faults() == {}
    assert work.repeated() == []
    assert held(fleets) == {4, 5, 6, 7}
    events = [event for fleet in fleets for event in fleet.heard("consumer.partition_held")]
    assert all((event["partitions"], event["partitions_before"]) == (8, 4) for event in events)
    assert len([event for fleet in fleets for event in fleet.heard("consumer.partition_released")]) >= 4
    assert set(cluster.committed(work.servers, work.group, work.topic)) == set(range(8))


def test_every_session_stays_in_order_if_its_topic_grows_twice_and_a_consumer_is_killed(
    scenario: MakeScenario,
) -> None:
    """From 4 to 8 to 16 partitions; a consumer dies between the two, while partitions of the first growth are held."""
    work = scenario(partitions=4)
    stream = Stream(work, SESSIONS)
    stream.produce(BACKLOG)
    fleet = start(work, "classic", "-p", "2")
    work.wait_begun(100)
    with stream.flowing(rate=100):
        grow(work, 8)
        until(lambda: held([fleet]), "a partition is held", 60)
        stream.until_it_knows(8)
        killed = fleet.consumers()[0]
        work.deaths[killed] = time.monotonic_ns()
        os.kill(killed, signal.SIGKILL)
        grow(work, 16)
        until(lambda: served([fleet], 16), "the partitions of both growths are assigned", 60)
        stream.until_it_knows(16)
        stream.produce(SESSIONS * 2)
    work.wait_done(len(work.places))
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert stream.moved() > SESSIONS / 4
    assert stream.faults() == {}
    assert held([fleet]) & {4, 5, 6, 7}
    assert held([fleet]) & set(range(8, 16))
    assert set(cluster.committed(work.servers, work.group, work.topic)) == set(range(16))


def test_a_broker_restart_while_new_partitions_are_held_only_delays_tasks(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    broker = own_broker()
    topic = cluster.create_topic(broker.bootstrap_servers, "work", 4)
    work = Scenario(broker, topic, group, tmp_path, start_fleet)
    stream = Stream(work, SESSIONS)
    stream.produce(BACKLOG)
    stream.flush()
    fleet = start(work, "classic", "-X", "reconnect.backoff.max.ms=500", *OUTLASTING)
    work.wait_begun(100)
    grow(work, 8)
    until(lambda: held([fleet]), "a partition is held", 60)
    stream.until_it_knows(8)
    stream.produce(SESSIONS * 2)
    stream.flush()
    broker.kill()
    broker.restart()
    work.wait_done(len(work.places), seconds=90)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert stream.moved() > SESSIONS / 4
    assert stream.faults() == {}
    assert held([fleet]) == {4, 5, 6, 7}


def test_a_group_that_waits_while_its_topic_grows_continues_once(scenario: MakeScenario) -> None:
    """What follows from their last branches goes into new partitions, which wait for the old ones, but for arrivals."""
    work, groups = scenario(partitions=4), 40
    fleet = start(work, "classic", "--commit-interval", "0.2", handler="branch")
    with Dispatcher(work.servers, work.topic, value_format="bytes") as dispatcher:
        for n in range(groups):
            late = Step(f"b{n}", b"", "late").then(Step(f"c{n}", b""))
            dispatcher.submit(group([Step(f"a{n}", b""), late], id=f"g-{n}").then(Step(f"d{n}", b"")))
    until(lambda: fleet.heard("consumer.stats", open_joins=groups), "all groups wait", 60)
    grow(work, 8)
    until(lambda: served([fleet], 8), "the new partitions are assigned", 60)
    until_followers_move(work)
    work.go()
    ran = lambda: [entry.session for entry in work.ledger.entries() if entry.succeeded]  # noqa: E731 — a condition
    until(lambda: {f"d{n}" for n in range(groups)} <= set(ran()), lambda: f"of {groups} groups only {ran()}", 60, 0.1)
    work.wait_lag(0)
    assert fleet.stop() == 0
    of_groups = [session for session in ran() if session[1:].isdigit()]
    assert len(of_groups) == len(set(of_groups))
    moved = {entry.session[0] for entry in work.ledger.entries() if entry.partition >= 4}
    assert moved >= {"c", "d"}


def until_followers_move(work: Scenario) -> None:
    """Waits until the consumer sends what follows from tasks into new partitions as well."""
    sessions = count()

    def have_moved() -> bool:
        plan = write_plan([Planned(f"next of probe {next(sessions)}", b"")])
        cluster.produce(work.servers, work.topic, [(b"probe", b"", [("task-then", plan)])], partition=0)
        ends = cluster.end_offsets(work.servers, work.topic)
        return any(ends[number] for number in range(4, 8))

    until(have_moved, "what follows goes into new partitions", 60, pause=0.1)
