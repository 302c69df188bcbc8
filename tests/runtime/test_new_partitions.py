"""A topic that grows: what a new partition waits for, and what may happen meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from processor.engine.commit_note import Note
from processor.engine.growth import WATCH_SECONDS
from processor.engine.murmur2 import partition_of
from processor.handlers.joins import Join
from processor.handlers.task import Task
from processor.runtime.ports import Commit, Partition
from processor.telemetry.events import (
    ConsumerGrowthUneven,
    ConsumerPartitionHeld,
    ConsumerPartitionReleased,
    ConsumerProducerLate,
    ConsumerStats,
    ConsumerSurveyFailed,
    ConsumerTopicGrewAgain,
    PartitionStats,
)
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import TOPIC, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.runtime.test_joins import SHIP, arrival
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSource
from tests.support.until import until

SECONDS = 60.0

Place = tuple[str, int, int]
"""A topic, a partition and an offset."""


class Work:
    """A handler that notes which tasks began, and blocks those of some partitions until they are opened."""

    def __init__(self, *held: int) -> None:
        """`held` are numbers of partitions of the topic `t`."""
        self.begun: list[Place] = []
        self._gates = {number: threading.Event() for number in held}

    def __call__(self, task: Task) -> bytes:
        self.begun.append((task.topic, task.partition, task.offset))
        if task.topic == TOPIC and (gate := self._gates.get(task.partition)) is not None:
            assert gate.wait(SECONDS), "the test did not open the partition"
        if task.payload == b"fails":
            raise ValueError("no")
        return b"done"

    def open(self, *numbers: int) -> None:
        """Lets tasks of these partitions pass from now on."""
        for number in numbers:
            self._gates[number].set()

    def close(self, number: int) -> None:
        """Blocks tasks of the partition again."""
        self._gates[number].clear()

    def holds(self, number: int) -> bool:
        """Whether it has blocked tasks of this partition from the start."""
        return number in self._gates

    def until_begun(self, partition: int, offset: int, topic: str = TOPIC) -> None:
        until(lambda: (topic, partition, offset) in self.begun, f"{topic}[{partition}]@{offset} begins")

    def has_begun(self, partition: int, topic: str = TOPIC) -> bool:
        return any(place[:2] == (topic, partition) for place in self.begun)


def of(partition: int, offset: int, value: bytes = b"") -> FakeRecord:
    return FakeRecord(offset, b"s%d-%d" % (partition, offset), value, partition=partition)


def held(run: RunningConsumer, number: int, count: int = 1) -> ConsumerPartitionHeld:
    """Waits until the partition was held this many times, and returns the last event."""

    def found() -> ConsumerPartitionHeld | None:
        events = [event for event in run.of(ConsumerPartitionHeld) if event.partition == number]
        return events[count - 1] if len(events) >= count else None

    return until(found, f"partition {number} is held")


def released(run: RunningConsumer, number: int) -> None:
    run.until_event(ConsumerPartitionReleased, lambda event: event.partition == number)


@contextmanager
def grown(work: Work, before: int = 2, after: int = 4, **options: Any) -> Iterator[RunningConsumer]:
    """A consumer that works on partition 0, and whose topic then grows, with a task in each new partition."""
    with RunningConsumer(work, partitions=before, **options) as run:
        until(lambda: all(run.commit_point(number) == 0 for number in range(before)), "the partitions have begun")
        run.push(of(0, 0))
        work.until_begun(0, 0)
        if not work.holds(0):
            until(lambda: run.commit_point(0) == 1, "nothing is left for a new partition to wait for")
        run.cluster.grow(TOPIC, after)
        run.push(*[of(number, 0) for number in range(before, after)])
        yield run


# --- what waits --------------------------------------------------------------------------------------


def test_a_new_partition_begins_when_what_was_in_the_others_is_committed() -> None:
    work = Work(0)
    with grown(work, stats_interval=0.1) as run:
        event = held(run, 2)
        assert (event.partitions, event.partitions_before) == (4, 2)
        assert (event.waits_for, event.waits_for_partitions) == (["t[0]@1"], 1)
        run.push(of(1, 0))  # an old one goes on
        work.until_begun(1, 0)
        stats = run.until_event(PartitionStats, lambda stats: stats.partition == 3 and stats.waits_for)
        assert (stats.waits_for, stats.lag, stats.in_flight, stats.committed) == (["t[0]@1"], 1, 0, None)
        assert not work.has_begun(2)
        work.open(0)
        released(run, 2)
        released(run, 3)
        run.settled(4)
        until(lambda: [run.commit_point(number) for number in range(4)] == [1] * 4)
        run.until_event(PartitionStats, lambda stats: stats.partition == 3 and stats.committed == 1)
        assert run.of(PartitionStats)[-1].waits_for == []
    assert not run.of(ConsumerGrowthUneven)


def test_an_uneven_growth_is_warned_of_once() -> None:
    work = Work(0)
    with grown(work, before=2, after=5) as run:
        for number in (2, 3, 4):
            held(run, number)
        work.open(0)
        run.settled(4)
    (event,) = run.of(ConsumerGrowthUneven)
    assert (event.partitions_before, event.partitions) == (2, 5)


def test_an_uneven_growth_is_warned_of_although_no_partition_is_held() -> None:
    work = Work()
    with grown(work, before=2, after=5) as run:
        run.settled(4)
        event = run.until_event(ConsumerGrowthUneven)
    assert (event.partitions_before, event.partitions) == (2, 5)
    assert len(run.of(ConsumerGrowthUneven)) == 1
    assert not run.of(ConsumerPartitionHeld)


def test_a_new_partition_without_a_backlog_elsewhere_begins_without_being_held() -> None:
    work = Work()
    with grown(work) as run:
        run.settled(3)
        assert not run.of(ConsumerPartitionHeld)


def test_a_partition_waits_for_one_that_another_member_has() -> None:
    work = Work()
    cluster = ScriptedCluster()
    cluster.create_topic(TOPIC, 1)
    old = Partition(TOPIC, 0)
    cluster.append(of(0, 0), of(0, 1))
    cluster.withheld.add(old)
    cluster.committed[old] = Commit(old, 1, "")
    cluster.grow(TOPIC, 2)
    cluster.append(of(1, 0))
    with RunningConsumer(work, cluster=cluster) as run:
        assert held(run, 1).waits_for == ["t[0]@2"]
        assert not work.begun
        with cluster.changed:
            cluster.committed[old] = Commit(old, 2, "")
        run.settled(1)
    assert work.begun == [(TOPIC, 1, 0)]


# --- what does not -----------------------------------------------------------------------------------


def test_a_topic_that_grew_before_its_groups_first_run_begins_at_once() -> None:
    work = Work(0)
    cluster = ScriptedCluster()
    cluster.create_topic(TOPIC, 2)
    cluster.append(of(0, 0), of(1, 0))
    cluster.grow(TOPIC, 4)
    cluster.append(of(2, 0), of(3, 0))
    with RunningConsumer(work, cluster=cluster) as run:
        for number in range(4):
            work.until_begun(number, 0)
        work.open(0)
        run.settled(4)
    assert not run.of(ConsumerPartitionHeld)


def test_partitions_that_never_had_a_record_are_not_new_to_the_next_consumer() -> None:
    with RunningConsumer(Work(), partitions=4) as first:
        until(lambda: all(first.commit_point(number) == 0 for number in range(4)), "all are committed")
        assert first.stop().exit_code == 0
    work = Work(0)
    first.cluster.append(of(0, 0), of(3, 0))
    with RunningConsumer(work, cluster=first.cluster) as run:
        work.until_begun(0, 0)
        work.until_begun(3, 0)
        work.open(0)
        run.settled(2)
    assert not run.of(ConsumerPartitionHeld)


def test_a_watch_ends_once_the_old_partitions_have_settled_what_they_held_when_its_time_was_over() -> None:
    """Until then, a producer that learned of the growth late wrote to an old partition, behind a backlog."""
    work, cluster = Work(0), ScriptedCluster()
    cluster.create_topic(TOPIC, 2)
    cluster.append(of(0, 0), of(1, 0))
    old, new = Partition(TOPIC, 0), Partition(TOPIC, 1)
    cluster.committed |= {old: Commit(old, 0, ""), new: Commit(new, 0, ";0@1")}
    with RunningConsumer(work, cluster=cluster, stats_interval=0.1) as run:
        work.until_begun(0, 0)
        run.until_event(PartitionStats, lambda stats: stats.partition == 1 and stats.waits_for == ["t[0]@1"])
        assert not work.has_begun(1)
        work.open(0)
        work.until_begun(1, 0)
        until(lambda: cluster.committed[new] == Commit(new, 1, ""), "the partition is watched no more")


def test_a_partition_whose_watch_is_over_is_not_watched_again_although_nothing_came_to_it_since() -> None:
    cluster = ScriptedCluster()
    cluster.create_topic(TOPIC, 2)
    cluster.append(of(0, 0), of(1, 0))
    old, new = Partition(TOPIC, 0), Partition(TOPIC, 1)
    cluster.committed |= {old: Commit(old, 1, ""), new: Commit(new, 1, ";0@1")}
    with RunningConsumer(Work(), cluster=cluster) as first:
        until(lambda: cluster.committed[new] == Commit(new, 1, ""), "the note is gone")
        assert first.stop().exit_code == 0
    work = Work(0)
    cluster.append(of(0, 1), of(1, 1))
    with RunningConsumer(work, cluster=cluster):
        work.until_begun(0, 1)
        work.until_begun(1, 1)
        work.open(0)


def test_a_new_partition_does_not_wait_for_old_ones_that_never_had_a_record() -> None:
    work = Work(0)
    with grown(work, before=4, after=8) as run:
        assert held(run, 7).waits_for == ["t[0]@1"]
        work.open(0)
        run.settled(5)


def test_a_new_partition_does_not_wait_for_arrivals_of_groups_one_of_which_may_have_a_branch_there() -> None:
    work = Work()
    with RunningConsumer(work, partitions=2) as run:
        until(lambda: all(run.commit_point(number) == 0 for number in range(2)), "the partitions have begun")
        run.push(arrival(0, 0), of(0, 1), arrival(2, 0, Join("9/then", "t-0-0", TOPIC, 2, [SHIP])))
        work.until_begun(0, 1)
        run.cluster.grow(TOPIC, 4)
        run.push(of(2, 0))
        work.until_begun(2, 0)
        assert run.commit_point(0) == 0
        run.push(arrival(3, 1))
        until(lambda: run.commit_point(0) == 2)
        run.stop()


def test_with_begin_a_new_partition_waits_for_nothing() -> None:
    work = Work(0)
    with grown(work, new_partitions="begin") as run:
        work.until_begun(2, 0)
        work.until_begun(3, 0)
        work.open(0)
        run.settled(3)
    assert not run.of(ConsumerPartitionHeld)


def test_of_two_topics_the_one_that_grows_does_not_wait_for_the_other() -> None:
    work = Work(0)
    cluster = ScriptedCluster()
    for topic in (TOPIC, "u"):
        cluster.create_topic(topic, 2)
    with RunningConsumer(work, cluster=cluster, topics=(TOPIC, "u")) as run:
        until(lambda: all(run.commit_point(number) == 0 for number in range(2)), "the partitions have begun")
        run.push(of(0, 0))
        work.until_begun(0, 0)
        cluster.grow("u", 4)
        cluster.append(MemoryRecord(Partition("u", 3), 0, b"s", b""))
        work.until_begun(3, 0, "u")
        cluster.append(MemoryRecord(Partition("u", 0), 0, b"s", b""))
        work.until_begun(0, 0, "u")
        work.open(0)
        run.settled(3)
    assert not run.of(ConsumerPartitionHeld)


# --- meanwhile ---------------------------------------------------------------------------------------


def test_a_stop_begins_nothing_of_a_held_partition_and_leaves_it_to_the_next_consumer() -> None:
    work = Work(0)
    with grown(work) as run:
        held(run, 2)
        run.consumer.request_stop("the test")
        until(lambda: run.consumer.pulse().stopping)
        work.open(0)
        assert run.wait().exit_code == 0
        assert work.begun == [(TOPIC, 0, 0)]
        assert (run.commit_point(0), run.commit_point(2), run.commit_point(3)) == (1, None, None)
    with RunningConsumer(work, cluster=run.cluster) as second:
        second.settled(2)
        until(lambda: second.commit_point(2) == second.commit_point(3) == 1)
    assert sorted(work.begun) == [(TOPIC, 0, 0), (TOPIC, 2, 0), (TOPIC, 3, 0)]


def test_a_held_partition_that_moves_is_held_again_by_its_next_owner() -> None:
    work = Work(0)
    with grown(work) as run:
        held(run, 2)
        assert run.source.revoke(Partition(TOPIC, 2)).wait(SECONDS)
        assert run.commit_point(2) is None
        assert run.source.assign(Partition(TOPIC, 2)).wait(SECONDS)
        held(run, 2, count=2)
        assert not work.has_begun(2)
        work.open(0)
        run.settled(3)
        until(lambda: run.commit_point(2) == 1)


def test_a_member_that_loses_its_partitions_holds_the_new_ones_again() -> None:
    work = Work(0)
    with grown(work) as run:
        held(run, 3)
        assert run.source.lose(Partition(TOPIC, 3)).wait(SECONDS)
        assert run.source.assign(Partition(TOPIC, 3)).wait(SECONDS)
        held(run, 3, count=2)
        work.open(0)
        until(lambda: run.commit_point(3) == 1)
    assert work.begun.count((TOPIC, 3, 0)) == 1


def test_a_watched_partition_that_changes_hands_goes_on_before_its_watch_is_over() -> None:
    """Its next owner fetches nothing of it before the first cut, so it does not see that records wait."""
    work, cluster = Work(0), ScriptedCluster()
    cluster.create_topic(TOPIC, 2)
    cluster.append(of(0, 0), of(1, 0))
    old, new, note = Partition(TOPIC, 0), Partition(TOPIC, 1), str(Note(0, int(time.time() + WATCH_SECONDS)))
    cluster.committed |= {old: Commit(old, 0, ""), new: Commit(new, 0, note)}
    with RunningConsumer(work, cluster=cluster, stats_interval=0.1) as run:
        work.until_begun(0, 0)
        run.until_event(PartitionStats, lambda stats: stats.partition == 1 and stats.waits_for == ["t[0]@1"])
        assert not work.has_begun(1)
        work.open(0)
        work.until_begun(1, 0)
        until(lambda: cluster.committed[new] == Commit(new, 1, note), "its commits still note the watch")


def test_a_second_growth_is_reported_and_waits_for_the_partitions_that_are_held() -> None:
    work = Work(0, 1)
    with grown(work, before=1, after=2) as run:
        held(run, 1)
        run.cluster.grow(TOPIC, 4)
        run.push(of(2, 0), of(3, 0))
        again = run.until_event(ConsumerTopicGrewAgain)
        assert (again.partitions_before, again.partitions) == (2, 4)
        assert held(run, 3).waits_for == ["t[0]@1", "t[1]@1"]
        work.open(0)
        work.until_begun(1, 0)
        work.until_begun(2, 0)  # its sessions come from 0 only
        assert not work.has_begun(3)
        work.open(1)
        released(run, 3)
        run.settled(4)


def test_a_survey_that_fails_is_logged_once_for_its_reason_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail(self: ScriptedSource, topics: list[str]) -> None:
        asked.extend(topics)
        self.happens(lambda: self.listener.on_survey(None, "no broker answers"))

    work = Work(0)
    with grown(work) as run:
        held(run, 2)
        monkeypatch.setattr(ScriptedSource, "survey", fail)
        until(lambda: len(asked) >= 3, "it is made again")
        monkeypatch.undo()
        work.open(0)
        run.settled(3)
    (event,) = run.of(ConsumerSurveyFailed)
    assert event.error == "no broker answers"


# --- outputs and offsets -----------------------------------------------------------------------------


def test_results_and_dead_letters_of_a_held_partition_come_when_it_has_begun() -> None:
    work = Work(0)
    with grown(work, max_attempts=1, results_topic="r") as run:
        run.push(of(2, 1, b"fails"))
        held(run, 2)
        assert not run.cluster.records("t.dlq")
        work.open(0)
        run.settled(4)
        (letter,) = run.cluster.records("t.dlq")
        results = run.cluster.records("r")
    headers = dict(letter.headers() or [])
    assert (headers["dlq-partition"], headers["dlq-offset"]) == (b"2", b"1")
    assert sorted(record.key() or b"" for record in results) == [b"s0-0", b"s2-0", b"s3-0"]


def test_with_latest_a_held_partition_begins_at_the_end_that_it_had_when_it_was_assigned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedSource, "begins_at_start", False)
    work = Work(0)
    with RunningConsumer(work) as run:
        until(lambda: run.commit_point() == 0, "the partition has begun")
        run.push(of(0, 0))
        work.until_begun(0, 0)
        with run.cluster.changed:  # both before the member receives it
            run.cluster.grow(TOPIC, 2)
            run.push(of(1, 0), of(1, 1))
        held(run, 1)
        run.push(of(1, 2), of(1, 3))
        assert not work.has_begun(1)
        work.open(0)
        released(run, 1)
        run.settled(3)
        until(lambda: run.commit_point(1) == 4)
    assert [place for place in work.begun if place[1] == 1] == [(TOPIC, 1, 2), (TOPIC, 1, 3)]


def test_a_record_of_a_new_partition_waits_for_what_a_late_producer_has_written_to_an_old_one() -> None:
    """For some minutes, each record waits for the records that other partitions had when it was written."""
    work = Work(0)
    with grown(work, stats_interval=0.1) as run:
        work.open(0)
        run.settled(3)
        until(lambda: run.commit_point(2) == 1)
        work.close(0)
        run.push(of(0, 1))
        work.until_begun(0, 1)
        run.push(of(2, 1))
        run.until_event(PartitionStats, lambda stats: stats.partition == 2 and stats.waits_for == ["t[0]@2"])
        run.push(of(1, 0))
        work.until_begun(1, 0)
        assert (TOPIC, 2, 1) not in work.begun
        work.open(0)
        run.settled(6)
    assert work.begun[-1] == (TOPIC, 2, 1)


# --- late producers ----------------------------------------------------------------------------------


def test_a_producer_that_has_not_noticed_the_growth_is_warned_of_once_per_partition() -> None:
    """Its later tasks of a session that has moved go to the session's former partition."""
    moved = next(key for n in range(1000) if partition_of(key := b"s%d" % n, 4) == 3)
    stays = next(key for n in range(1000) if partition_of(key := b"s%d" % n, 4) == 1)
    work = Work(0)
    with grown(work) as run:
        held(run, 3)
        run.push(FakeRecord(0, stays, partition=1))
        work.until_begun(1, 0)
        assert not run.of(ConsumerProducerLate)
        for offset in (1, 2):
            run.push(FakeRecord(offset, moved, partition=1))
            work.until_begun(1, offset)
        work.open(0)
        run.settled(6)
    (late,) = run.of(ConsumerProducerLate)
    assert (late.topic, late.partition, late.offset) == (TOPIC, 1, 1)
    assert (late.belongs_to, late.partitions) == (3, 4)


def test_an_arrival_that_stays_where_its_group_began_is_not_one_of_a_late_producer() -> None:
    moved = next(key for n in range(1000) if partition_of(key := b"%d/then" % n, 4) == 3)
    sent = arrival(0, 0, Join(moved.decode(), "t-1-0", TOPIC, 2, [SHIP], partition=1))
    work = Work(0)
    with grown(work, stats_interval=0.1) as run:
        held(run, 3)
        run.push(MemoryRecord(Partition(TOPIC, 1), 0, sent.key(), sent.value(), sent.headers()))
        run.until_event(ConsumerStats, lambda stats: stats.open_joins == 1)
        assert not run.of(ConsumerProducerLate)
        work.open(0)
