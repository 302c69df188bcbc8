"""A group that waits for one of its members, which holds the commits of the others back: what a stop or a death costs.

With the classic protocol a coordinator that waits for a member answers nothing else to those that have joined.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition

from processor.engine import skipmap
from processor.engine.progress_record import reference_in
from processor.kafka import transactional_offsets
from processor.kafka.transactional_offsets import Refused, TransactionalOffsets
from processor.settings import Settings
from tests.conftest import MakeBroker
from tests.integration.test_members import slowness
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.ledger import Place
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.stalls import Stalls
from tests.support.steady_load import steady_load
from tests.support.until import until

STOPPED_AFTER = 14.0
"""Seconds into the wait, which is as long as a session of the member that is awaited."""

AWAITED = ("-X", "session.timeout.ms=40000")
"""For that member: the next one starts within its session, however slow the machine is."""

TWO_COMMIT_INTERVALS = 2.0
"""Seconds."""


class Wait(NamedTuple):
    """A group in the middle of a wait: the member that works on, and the processes whose repeats do not count."""

    survivor: Fleet
    others: set[int]
    slow: float = 1.0
    """How many times longer a start beside it took than one without load."""


def run(work: Scenario, handler: str = "vary", *options: str, seconds: float = 0.0) -> Fleet:
    fleet = work.run(handler, "-w", "16", *options, seconds=seconds)
    fleet.wait_for("fleet.started")
    return fleet


def joined(work: Scenario, handler: str = "vary", *options: str, seconds: float = 0.0) -> Fleet:
    fleet = run(work, handler, *options, seconds=seconds)
    fleet.wait_for_partitions()
    return fleet


def timed_start(work: Scenario) -> float:
    """Starts a fleet. Return how slow the machine is meanwhile."""
    began = time.monotonic()
    run(work)
    return slowness(time.monotonic() - began)


@contextmanager
def awaiting_a_dead_member(work: Scenario) -> Iterator[Wait]:
    """A fleet is killed, and another comes."""
    dead, survivor = joined(work, "vary", *AWAITED), joined(work)
    with steady_load(work, rate=300):
        work.wait_begun(600)
        others = set(dead.consumers())
        work.kill(dead)
        yield Wait(survivor, others, timed_start(work))


@contextmanager
def awaiting_a_paused_member(work: Scenario) -> Iterator[Wait]:
    """A consumer is stopped by SIGSTOP, and another comes."""
    sleeper, survivor = joined(work, "vary", *AWAITED), joined(work)
    with steady_load(work, rate=300):
        work.wait_begun(600)
        (paused,) = map(psutil.Process, sleeper.consumers())
        paused.suspend()
        try:
            yield Wait(survivor, {paused.pid}, timed_start(work))
        finally:
            work.wake(paused)


@contextmanager
def awaiting_a_member_that_drains(work: Scenario) -> Iterator[Wait]:
    """One consumer comes, so that it gives up partitions; another one comes before it has.

    Its tasks take longer than two consumers take to start on a busy machine, and it is stopped before they end.
    """
    slow, survivor = joined(work, "note", "--timeout", "600", seconds=40.0), joined(work)
    with steady_load(work, rate=300):
        work.wait_begun(600)
        others = set(slow.consumers())
        run(work).wait_for("consumer.assigned")
        yield Wait(survivor, others, timed_start(work))
        work.kill(slow)


def repeated(work: Scenario, wait: Wait) -> dict[Place, int]:
    """What ran again after a process that counts had done it, and when that had: nanoseconds of CLOCK_MONOTONIC."""
    done: dict[Place, int] = {}
    again: dict[Place, int] = {}
    for entry in work.ledger.entries():
        if entry.kind == "start" and entry.place in done:
            again[entry.place] = done[entry.place]
        if entry.succeeded and entry.pid not in wait.others:
            done.setdefault(entry.place, entry.at)
    return again


WAITS = pytest.mark.parametrize(
    "awaiting", [awaiting_a_dead_member, awaiting_a_paused_member, awaiting_a_member_that_drains]
)


@WAITS
def test_a_stop_while_the_group_waits_repeats_nothing(
    scenario: MakeScenario, awaiting: Callable[[Scenario], Iterator[Wait]]
) -> None:
    work = scenario(partitions=12)
    with awaiting(work) as wait:  # type: ignore[attr-defined]
        began = time.monotonic()
        wait.survivor.wait_for("consumer.commits_rerouted")
        time.sleep(max(0.0, began + STOPPED_AFTER - time.monotonic()))
        assert wait.survivor.stop() == 0
    work.wait_done(len(work.places))
    assert repeated(work, wait) == {}
    assert "lost" not in work.faults()


@WAITS
def test_a_death_while_the_group_waits_repeats_at_most_two_commit_intervals_of_work(
    scenario: MakeScenario, awaiting: Callable[[Scenario], Iterator[Wait]], stalls: Stalls
) -> None:
    work = scenario(partitions=12)
    with awaiting(work) as wait:  # type: ignore[attr-defined]
        began = time.monotonic()
        wait.survivor.wait_for("consumer.commits_rerouted")
        time.sleep(max(0.0, began + STOPPED_AFTER - time.monotonic()))
        killed_at = time.monotonic_ns()
        work.kill(wait.survivor)
    work.wait_done(len(work.places))
    ages = [(killed_at - at) / 1e9 - stalls.seconds(at, killed_at) for at in repeated(work, wait).values()]
    assert max(ages, default=0.0) <= TWO_COMMIT_INTERVALS * wait.slow
    assert "lost" not in work.faults()


def test_a_stop_repeats_nothing_if_the_coordinator_restarts_while_the_group_waits(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    broker = own_broker()
    topic = cluster.create_topic(broker.bootstrap_servers, "work", 12)
    work = Scenario(broker, topic, group, tmp_path, start_fleet)
    # The restart begins the dead member's session anew: the group's wait lasts longer than a stop may take, and the
    # survivor's request to leave is not answered unless the machine stalls.
    dead, survivor = joined(work, "vary", *AWAITED), joined(work, "vary", *OUTLASTING)
    work.produce_sessions(12_000, 300)
    work.wait_begun(600)
    wait = Wait(survivor, set(dead.consumers()))
    work.kill(dead)
    with steady_load(work, rate=300):  # there is something to commit, however long the next member takes to start
        run(work)
        survivor.wait_for("consumer.commits_rerouted")
    broker.kill()
    broker.restart()
    time.sleep(5)  # time is tested: the coordinator is back, and the group still waits
    assert survivor.stop() == 0
    work.wait_done(len(work.places), 240)
    assert repeated(work, wait) == {}
    assert "lost" not in work.faults()


def test_a_commit_accepted_while_the_group_waits_may_refer_to_a_recorded_skip_map(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """A member is paused for less than its session. Little fits into the metadata of the other one's commits.

    The member that gets the partition next runs nothing of what is done.
    """
    broker = own_broker({"offset.metadata.max.bytes": "256"})
    work = Scenario(broker, cluster.create_topic(broker.bootstrap_servers, "work", 2), group, tmp_path, start_fleet)
    options = ("-w", "8", "--progress-topic", "progress", "--commit-interval", "0.1", "-X", "session.timeout.ms=120000")
    patient = (*options, "--timeout", "600", "--drain-timeout", "1")
    sleeper, survivor = (work.run("wait_if_slow", *patient) for _ in range(2))
    for fleet in (sleeper, survivor):
        fleet.wait_for_partitions()
    (paused,) = map(psutil.Process, sleeper.consumers())
    paused.suspend()
    try:
        third = work.run("wait_if_slow", *options)
        behind = set(random.Random(1).sample(range(1, 2701), 700))  # no 256 characters have room for so many gaps
        rows = [(b"slow" if n in behind or n == 0 else b"s%d" % (n % 100), b"") for n in range(2701)]
        sent = 0
        while not survivor.heard("consumer.commits_rerouted"):  # each time there is something to commit
            assert sent < 1200, "the commits are not rerouted"
            for partition in (0, 1):
                work.produce(rows[sent : sent + 5], partition=partition)
            sent += 5
            time.sleep(0.2)  # longer than a commit interval
        for partition in (0, 1):
            work.produce(rows[sent:], partition=partition)
        work.wait_done(2000)
        until(lambda: len(work.known_done()) == 2000, "the group knows what is done", 60, pause=0.2)
        commits = cluster.committed(work.servers, group, work.topic).values()
        assert sum(reference_in(one.metadata or "", one.offset) is not None for one in commits) == 1
        assert not any(event["partitions"] for event in third.heard("consumer.assigned"))
        known = work.known_done()
    finally:
        work.wake(paused)
    assert survivor.stop() == 3  # one task still ran
    third.wait_for("consumer.assigned", settled_ahead=2000)  # it has followed the reference
    work.go()
    work.wait_done(len(work.places))
    assert {finding.place for finding in work.repeated()} & known == set()
    assert "lost" not in work.faults()


@pytest.fixture
def offsets(broker: Broker, group: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TransactionalOffsets]:
    monkeypatch.setattr(transactional_offsets, "CALL_SECONDS", 60.0)  # the first one makes a topic
    made = TransactionalOffsets(
        Settings(topics=("t",), group=group, bootstrap_servers=broker.bootstrap_servers), lambda _: None
    )
    yield made
    made.close()


def member(broker: Broker, group: str, topic: str) -> Consumer:
    """A member of the group that has partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": group,
            "heartbeat.interval.ms": 100,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    deadline = time.monotonic() + 60
    while not consumer.assignment():
        consumer.poll(0.05)
        assert time.monotonic() < deadline
    return consumer


def test_a_transaction_commits_offsets_with_their_skip_maps(
    broker: Broker, scenario: MakeScenario, offsets: TransactionalOffsets, group: str
) -> None:
    work = scenario(partitions=1)
    consumer = member(broker, group, work.topic)
    metadata, _ = skipmap.encode(5, [(7, 9)])
    offsets.commit([TopicPartition(work.topic, 0, 5, metadata)], consumer.consumer_group_metadata())
    committed = until(lambda: cluster.committed(work.servers, group, work.topic).get(0), "the offset is shown")
    assert (committed.offset, skipmap.decode(committed.metadata or "", 5)) == (5, [(7, 9)])
    consumer.close()


def test_a_member_of_an_earlier_generation_commits_nothing_and_can_commit_in_the_current_one(
    broker: Broker, scenario: MakeScenario, offsets: TransactionalOffsets, group: str
) -> None:
    work = scenario(partitions=1)
    first = member(broker, group, work.topic)
    earlier = first.consumer_group_metadata()
    first.close()
    second = member(broker, group, work.topic)
    with pytest.raises(Refused) as caught:
        offsets.commit([TopicPartition(work.topic, 0, 9)], earlier)
    assert caught.value.of_generation
    assert not caught.value.unusable
    assert cluster.committed(work.servers, group, work.topic) == {}
    offsets.commit([TopicPartition(work.topic, 0, 3)], second.consumer_group_metadata())
    committed = until(lambda: cluster.committed(work.servers, group, work.topic).get(0), "the offset is shown")
    assert committed.offset == 3
    second.close()
