"""What happens to consumers, brokers and topics from outside: pauses, resets, foreign metadata, compaction."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import TopicPartition

from processor.engine.skipmap import encode
from tests.conftest import MakeBroker
from tests.support import cluster, ledger
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.until import until

BOTH = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def commit(work: Scenario, *places: TopicPartition) -> None:
    """Commits for the group as another tool would, while the group has no member."""
    cluster.commit(work.servers, work.group, *places)


@pytest.mark.parametrize(
    "limits",
    [
        ("--group-protocol", "consumer"),
        ("-X", "session.timeout.ms=3000", "-X", "heartbeat.interval.ms=500"),
        ("-X", "session.timeout.ms=4000", "-X", "max.poll.interval.ms=4000"),
    ],
    ids=["consumer", "classic", "classic, past max.poll.interval"],
)
def test_a_consumer_suspended_past_its_session_loses_no_task_and_disturbs_no_other_member(
    scenario: MakeScenario, limits: tuple[str, ...]
) -> None:
    """It sleeps past its session; another one does its work; when it wakes, what it had begun changes nothing."""
    work = scenario(partitions=4)
    work.produce_sessions(3000, 60)
    protocol = limits if "consumer" in limits else ()  # the other one's session is not short, where the client says so
    sleeper = work.run("note", "-w", "8", *limits, seconds=0.01)
    work.wait_done(300)
    (pid,) = sleeper.consumers()
    paused = psutil.Process(pid)
    paused.suspend()
    try:
        other = work.run("note", "-w", "8", *protocol, seconds=0.005)
        work.wait_done(2500, 90)
    finally:
        work.wake(paused)
    work.wait_done(3000, 90)
    work.wait_lag(0)
    assert sleeper.stop() == 0
    assert other.stop() == 0
    entries = work.ledger.entries()
    assert ledger.lost(entries, work.places) == []
    repeated = {finding.place for finding in ledger.repeated(entries)}
    # Its last commit may be an interval old, and 8 tasks ran: nothing else may have run again.
    assert len(repeated) <= 8 * (1.0 / 0.01) + 8
    # What it was in the middle of, it ended when it woke. It began nothing else before the group had taken it back.
    ((_, woken_at),) = work.woken
    assert len(ledger.caught(entries, pid, woken_at)) <= 8
    others = work.own_entries()
    assert ledger.out_of_order(others, replays_in_process=True) == []
    assert ledger.overlapping(others) == []


def test_an_offset_reset_by_another_tool_takes_effect(scenario: MakeScenario) -> None:
    """The group is moved back: what a skip map of another offset says is not trusted."""
    work = scenario(partitions=1)
    work.produce_sessions(100, 5)
    assert work.run("note", "--stop-at-end").wait() == 0
    commit(work, TopicPartition(work.topic, 0, 40))
    assert work.run("note", "--stop-at-end").wait() == 0
    assert {finding.place.offset for finding in work.repeated()} == set(range(40, 100))
    work.wait_lag(0)


@pytest.mark.parametrize(
    "metadata", ["", "somebody else's", "p1:", "p1:AAAA", "p1:%%%", "p2:AAAA", "p9:AAAAAAAA", "p2:" + "A" * 4000]
)
def test_metadata_that_is_not_a_skip_map_is_reported_and_ignored(scenario: MakeScenario, metadata: str) -> None:
    work = scenario(partitions=1)
    work.produce_sessions(50, 5)
    commit(work, TopicPartition(work.topic, 0, 10, metadata))
    fleet = work.run("note", "--stop-at-end")
    assert fleet.wait() == 0
    assert {entry.place.offset for entry in work.ledger.entries()} == set(range(10, 50))
    assert bool(fleet.heard("consumer.skip_map_ignored", offset=10)) == bool(metadata)
    work.wait_lag(0)


def test_a_skip_map_of_a_deleted_topic_hides_no_task_of_the_recreated_one(scenario: MakeScenario) -> None:
    """A consumer that has not noticed commits for the old topic when the group's offsets have been deleted already."""
    work = scenario(partitions=2)
    work.produce_sessions(50, 5)
    commit(work, TopicPartition(work.topic, 0, 0, encode(0, [(1, 1_000)])[0]))
    patient = {"TEST_END_SECONDS": "30"}  # a busy broker may take longer than a second to return the ends
    fleet = work.run("note", "--stop-at-end", env=patient)
    assert fleet.wait() == 0
    assert {entry.place for entry in work.ledger.entries()} == set(work.places)
    (ignored,) = fleet.heard("consumer.skip_map_ignored")
    assert ignored["partition"] == 0
    work.wait_lag(0)


def test_a_compacted_topic_is_processed_to_its_end(scenario: MakeScenario) -> None:
    """Of each key only the last record is sure to be left; the holes are committed past."""
    work = scenario(
        partitions=1,
        cleanup_policy="compact",
        segment_ms=100,
        min_cleanable_dirty_ratio=0.01,
        min_compaction_lag_ms=0,
        delete_retention_ms=0,
    )
    for _ in range(6):
        work.produce((b"k%d" % (n % 10), b"%d" % n) for n in range(100))
        time.sleep(0.15)  # a new segment: the active one is never compacted
    until(lambda: len(cluster.read_all(work.servers, work.topic)) < 600, "the broker compacts", 60, 0.5)
    left = {(message.partition(), message.offset()) for message in cluster.read_all(work.servers, work.topic)}
    assert len(left) < 600, "the broker has compacted nothing"
    assert work.run("note", "--stop-at-end").wait() == 0
    assert {(entry.partition, entry.offset) for entry in work.ledger.entries()} <= {
        (place.partition, place.offset) for place in work.places
    }
    work.wait_lag(0)


def test_consumers_of_an_empty_topic_stop_at_the_end_at_once(scenario: MakeScenario) -> None:
    work = scenario(partitions=2)
    assert work.run("note", "--stop-at-end", "-p", "3").wait() == 0
    assert work.ledger.entries() == []


def test_many_stop_signals_in_a_row_lose_no_task(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(2000, 40)
    for done in (200, 500, 900):
        fleet = work.run("note", "-w", "8", "-p", "2", seconds=0.005)
        fleet.wait_for("fleet.started")  # the one before it may have done as many already
        work.wait_done(done)
        for _ in range(20):
            fleet.signal(signal.SIGTERM)
        assert fleet.wait() in (0, 3)
        work.deaths.update(dict.fromkeys(fleet.consumers(), time.monotonic_ns()))
    assert work.run("note", "--stop-at-end").wait() == 0
    assert "lost" not in work.faults()
    work.wait_lag(0)


def test_consumers_survive_a_broker_outage_of_five_seconds(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """Five seconds without any broker, in the middle of dead letters and commits; nothing is lost or done twice."""
    broker = own_broker()
    work = Scenario(broker, cluster.create_topic(broker.bootstrap_servers, "work", 4), group, tmp_path, start_fleet)
    work.produce_sessions(1500, 30)
    work.produce([(b"bad", b"fails always")])
    fleet = work.run("fail", "-w", "4", "--backoff", "0.05", *OUTLASTING, seconds=0.0)
    work.wait_done(100)
    broker.kill()
    time.sleep(5)  # time is tested
    broker.restart()
    work.wait_done(1500, 90)
    work.wait_lag(0, 60)
    assert fleet.stop() == 0
    letters = cluster.read_all(work.servers, "work.dlq")
    assert {letter.key() for letter in letters} == {b"bad"}
    assert work.faults([work.places[-1]]) == {}
