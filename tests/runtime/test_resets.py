"""Partitions whose next offset does not exist: retention has deleted it, or the topic was recreated."""

from __future__ import annotations

from processor.handlers.task import Task
from processor.telemetry.events import ConsumerOffsetsMissed, ConsumerOffsetsRewound, ConsumerStats
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer


def records(first: int, end: int) -> list[FakeRecord]:
    return [FakeRecord(offset, b"s%d" % (offset % 3)) for offset in range(first, end)]


def ignore(task: Task) -> None:
    pass


def test_what_retention_deleted_unread_is_logged_offset_by_offset_and_left_behind() -> None:
    with RunningConsumer(ignore) as run:
        run.push(*records(0, 10))
        run.settled(10)
        run.cluster.delete_below(PARTITION, 25)
        run.push(*records(25, 30))
        run.settled(15)
        assert run.stop().exit_code == 0
    (missed,) = run.of(ConsumerOffsetsMissed)
    assert (missed.offsets, missed.missed_offsets, missed.next_offset) == (["10-24"], 15, 25)
    assert run.of(ConsumerStats)[-1].missed_offsets == 15
    assert run.commit_point() == 30


def test_an_assignment_without_an_offset_misses_nothing_by_beginning_late() -> None:
    run = RunningConsumer(ignore)
    run.push(*records(0, 10))
    run.source.happens(lambda: run.cluster.delete_below(PARTITION, 25))  # after the assignment, before the first fetch
    with run:
        run.push(*records(25, 30))
        run.settled(5)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerOffsetsMissed) == []
    assert run.commit_point() == 30


def test_a_recreated_topic_begins_again_even_while_it_is_empty() -> None:
    with RunningConsumer(ignore) as run:
        run.push(*records(0, 10))
        run.settled(10)
        run.cluster.create_topic("t", 1)
        run.until_event(ConsumerOffsetsRewound)
        run.push(*records(0, 4))
        run.settled(14)
        assert run.stop().exit_code == 0
    (restarted,) = run.of(ConsumerOffsetsRewound)
    assert (restarted.expected_offset, restarted.offset) == (10, 0)
    assert run.commit_point() == 4


def test_a_reset_of_a_partition_that_was_given_up_changes_nothing() -> None:
    with RunningConsumer(ignore) as run:
        run.push(*records(0, 10))
        run.settled(10)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.source.happens(lambda: run.source.listener.on_reset(PARTITION, 25)).wait(60)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerOffsetsMissed) == []
    assert run.commit_point() == 10
