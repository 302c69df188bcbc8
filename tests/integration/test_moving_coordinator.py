"""A group whose coordinator moves, in a cluster of two brokers: in a rebalance, and under commits with references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from tests.conftest import without
from tests.integration.test_progress_topic import DONE, SLOW, interleaved
from tests.support import cluster, ledger
from tests.support.broker import BrokerUnavailable
from tests.support.ledger import Entry
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.stalls import Stalls
from tests.support.steady_load import steady_load
from tests.support.two_brokers import TwoBrokers, two_brokers
from tests.support.until import until

COMMIT_SECONDS = 2.0

PATIENT = ("-X", "session.timeout.ms=45000")
"""A session that a move of the coordinator does not outlast on a busy machine."""

AWAITED = ("-X", "session.timeout.ms=30000")
"""A session of the member that dies: the next one starts within it, however slow the machine is."""

pytestmark = pytest.mark.broker


@pytest.fixture
def brokers() -> Iterator[TwoBrokers]:
    """A cluster of the test's own."""
    try:
        with two_brokers() as made:
            yield made
    except BrokerUnavailable as error:
        without(str(error))


def joined(work: Scenario, workers: int, *options: str) -> Fleet:
    fleet = work.run("vary", "-w", str(workers), "--commit-interval", str(COMMIT_SECONDS), *options)
    fleet.wait_for_partitions()
    return fleet


def ages(entries: list[Entry], pids: set[int], ended_at: int, stalls: Stalls) -> list[float]:
    """How long before these processes ended they had done what ran again afterwards, in seconds."""
    done = {entry.place: entry.at for entry in entries if entry.succeeded and entry.pid in pids}
    again = {entry.place for entry in entries if entry.kind == "start" and entry.at > done.get(entry.place, entry.at)}
    return [(ended_at - done[place]) / 1e9 - stalls.seconds(done[place], ended_at) for place in again]


def test_a_stop_repeats_nothing_and_a_death_two_commit_intervals_if_the_coordinator_moves_in_a_rebalance(
    brokers: TwoBrokers, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet], stalls: Stalls
) -> None:
    """Two members work on, one is stopped after the coordinator has moved, the other killed after it has moved back."""
    group = brokers.group_of_second(group[:60])
    work = Scenario(brokers.both, brokers.create_topic(group, 12), group, tmp_path, start_fleet)
    dead = joined(work, 4, *AWAITED)
    stopped, killed = (joined(work, 4, *PATIENT) for _ in range(2))
    with steady_load(work, rate=300):
        work.wait_begun(600)
        work.kill(dead)
        work.run("vary", "-w", "64").wait_for("fleet.started")
        for fleet in (stopped, killed):
            fleet.wait_for("consumer.commits_rerouted")
        brokers.kill_second(group)
        wait_for_commits(work, 8)  # the others' member is dead
        assert stopped.stop() == 0
        brokers.bring_back_second(group)
        wait_for_commits(work, 12)
        pids = set(killed.consumers())
        deaths = killed.kill()
        work.deaths.update(deaths)
    entries = work.wait_done(len(work.places), 120)
    assert ledger.repeated(entries, work.deaths) == []
    assert max(ages(entries, pids, min(deaths.values()), stalls), default=0.0) <= 2 * COMMIT_SECONDS
    assert work.faults() == {}


def wait_for_commits(work: Scenario, partitions: int) -> None:
    """Waits until the group has committed more of so many partitions: then their members have the coordinator."""

    def committed() -> dict[int, int]:
        try:
            places = cluster.committed(work.servers, work.group, work.topic)
        except KafkaException:  # the coordinator is on its way
            return {}
        return {number: place.offset for number, place in places.items()}

    before = until(committed, "the group has committed", 60, pause=0.2)

    def advanced() -> int:
        return sum(offset > before.get(number, 0) for number, offset in committed().items())

    until(lambda: advanced() >= partitions, lambda: f"{advanced()} of {partitions} partitions advance", 120, pause=0.2)


def test_no_done_task_is_forgotten_if_the_coordinator_moves_under_commits_with_references(
    brokers: TwoBrokers, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """Tasks end all the time, so that a commit that refers to the progress topic is under way when the broker dies."""
    group = brokers.group_of_second(group[:60])
    work = Scenario(brokers.both, brokers.create_topic(group, 1), group, tmp_path, start_fleet)
    work.produce(interleaved(DONE, SLOW))
    options: tuple[str, ...] = ("-w", "8", "--commit-interval", "0.2", "--progress-topic", f"{work.topic}.progress")
    options += ("--max-in-flight", "50000", "--timeout", "600", *PATIENT)
    fleet = work.run("wait_if_slow", *options)
    until(lambda: known_done(work) >= DONE, "the group knows what is done", 120, pause=0.5)
    assert not fleet.heard("consumer.skip_map_cut")
    with steady_load(work, rate=100):
        work.wait_begun(DONE + 200)
        brokers.kill_second(group)
    done = len(work.places) - SLOW
    work.wait_done(done, 120)
    until(lambda: known_done(work) == done, "the group knows what was done meanwhile, too", 120, pause=0.5)
    assert not fleet.heard("consumer.lost")
    work.kill(fleet)
    work.go()
    again = work.run("wait_if_slow", *options, "--stop-at-end")
    assert again.wait(180) == 0
    assert work.faults() == {}
    assert {finding.place for finding in work.repeated()} <= {work.places[0]}
    assert again.wait_for_partitions()["settled_ahead"] == done
    assert not again.heard("consumer.skip_map_ignored")


def known_done(work: Scenario) -> int:
    """How many tasks the group knows to be settled; -1 while it has no coordinator."""
    try:
        return len(work.known_done())
    except (KafkaException, TimeoutError):
        return -1
