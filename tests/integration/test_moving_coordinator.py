"""A group whose coordinator moves while it waits for a member that is dead, in a cluster of two brokers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from tests.conftest import without
from tests.support import cluster, ledger
from tests.support.broker import BrokerUnavailable
from tests.support.ledger import Entry
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.steady_load import steady_load
from tests.support.two_brokers import TwoBrokers, two_brokers
from tests.support.until import until

COMMIT_SECONDS = 2.0

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.fixture
def brokers() -> Iterator[TwoBrokers]:
    """A cluster of the test's own."""
    try:
        with two_brokers() as made:
            yield made
    except BrokerUnavailable as error:
        without(str(error))


def joined(work: Scenario, workers: int) -> Fleet:
    fleet = work.run("vary", "-w", str(workers), "--commit-interval", str(COMMIT_SECONDS))
    fleet.wait_for_partitions()
    return fleet


def ages(entries: list[Entry], pids: set[int], ended_at: int) -> list[float]:
    """How long before these processes ended they had done what ran again afterwards, in seconds."""
    done = {entry.place: entry.at for entry in entries if entry.succeeded and entry.pid in pids}
    again = {entry.place for entry in entries if entry.kind == "start" and entry.at > done.get(entry.place, entry.at)}
    return [(ended_at - done[place]) / 1e9 for place in again]


def test_a_coordinator_that_moves_while_the_group_waits_costs_a_stop_nothing_and_a_death_two_commit_intervals(
    brokers: TwoBrokers, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """Two members work on, one is stopped after the coordinator has moved, the other killed after it has moved back."""
    group = brokers.group_of_second(group[:60])
    work = Scenario(brokers.both, brokers.create_topic(group, 12), group, tmp_path, start_fleet)
    dead, stopped, killed = (joined(work, 4) for _ in range(3))
    with steady_load(work, rate=300):
        work.wait_begun(600)
        work.kill(dead)
        work.run("vary", "-w", "64").wait_for("fleet.started")
        for fleet in (stopped, killed):
            fleet.wait_for("consumer.commits_rerouted")
        brokers.kill_second(group)
        wait_for_commits(work)
        assert stopped.stop() == 0
        brokers.bring_back_second(group)
        wait_for_commits(work)
        pids = set(killed.consumers())
        deaths = killed.kill()
        work.deaths.update(deaths)
    entries = work.wait_done(len(work.places), 120)
    assert ledger.repeated(entries, work.deaths) == []
    assert max(ages(entries, pids, min(deaths.values())), default=0.0) <= 2 * COMMIT_SECONDS
    assert work.faults() == {}


def wait_for_commits(work: Scenario) -> None:
    """Waits until the group has committed something more: its members have found the coordinator."""

    def committed() -> int:
        try:
            return sum(place.offset for place in cluster.committed(work.servers, work.group, work.topic).values())
        except KafkaException:  # the coordinator is on its way
            return 0

    before = until(committed, "the group has committed", 60, pause=0.2)
    until(lambda: committed() > before, "the group commits", 60, pause=0.2)
