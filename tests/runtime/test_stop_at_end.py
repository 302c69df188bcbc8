"""`--stop-at-end`: a consumer stops once everything is settled that was in the topics at its start."""

from __future__ import annotations

import threading
from typing import Any

from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.runtime.ports import Commit
from processor.telemetry.events import ConsumerStopping, TaskStuck
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import Gate
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster
from tests.support.until import until


def ignore(task: Task) -> None:
    pass


def records(first: int, end: int, partition: int = 0) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % n, partition=partition) for n in range(first, end)]


def until_end(app: object, *there: FakeRecord, partitions: int = 1, **options: Any) -> RunningConsumer:
    """Runs a consumer with these records until it stops by itself."""
    run = RunningConsumer(app, partitions=partitions, stop_at_end=True, **options)
    run.push(*there)
    with run:
        run.wait()
    return run


def test_a_consumer_stops_once_everything_is_settled_and_committed() -> None:
    run = until_end(ignore, *records(0, 50), *records(0, 30, 2), partitions=3)
    assert run.status == (0, False, True)
    assert [run.commit_point(number) for number in (0, 2)] == [50, 30]
    assert run.of(ConsumerStopping)[0].reason == "everything is done"


def test_topics_without_a_record_are_at_their_end() -> None:
    assert until_end(ignore, partitions=3).status == (0, False, True)


def test_a_failed_task_is_waited_for_until_it_succeeds() -> None:
    attempts: list[int] = []

    def fail_twice(task: Task) -> None:
        attempts.append(task.attempt)
        if task.attempt < 3:
            raise ConnectionError("not yet")

    run = until_end(fail_twice, *records(0, 1), backoff=0.1, backoff_max=0.1)
    assert run.status == (0, False, True)
    assert attempts == [1, 2, 3]
    assert run.commit_point() == 1


def test_a_dead_letter_is_waited_for_until_it_is_acknowledged() -> None:
    def reject(task: Task) -> None:
        raise Reject("never")

    run = RunningConsumer(reject, stop_at_end=True)
    run.push(*records(0, 1))
    run.sink.holding = True
    with run:
        until(lambda: run.sink.held)
        assert run.of(ConsumerStopping) == []
        run.sink.acknowledge()
        assert run.wait() == (0, False, True)
    assert run.commit_point() == 1


def test_records_that_came_after_the_start_are_not_waited_for() -> None:
    gate = Gate(lambda task: task.offset >= 5)
    run = RunningConsumer(gate.handle, stop_at_end=True, drain_timeout=0.1)
    run.push(*records(0, 5))
    run.source.happens(lambda: run.push(*records(5, 10)))  # the ends are known before the first `take`
    with run:
        status = run.wait()
        gate.open()
    assert status.finished
    committed = run.commit_point()
    assert committed is not None
    assert committed >= 5


def test_offsets_without_a_record_at_the_end_are_no_obstacle() -> None:
    """Transaction markers and compacted records: the partition's reported end counts."""
    run = RunningConsumer(ignore, stop_at_end=True)
    run.push(*records(0, 5))
    run.cluster.skip(PARTITION, 3)
    with run:
        assert run.wait() == (0, False, True)
    assert run.commit_point() == 8


def test_what_the_group_has_committed_before_is_done() -> None:
    first = until_end(ignore, *records(0, 5))
    gate = Gate()
    with RunningConsumer(gate.handle, cluster=first.cluster, stop_at_end=True) as second:
        assert second.wait() == (0, False, True)
    assert gate.begun == []


def test_a_partition_of_another_member_is_done_when_the_group_has_committed_its_end() -> None:
    cluster, gate = ScriptedCluster(), Gate(lambda task: task.partition == 0)
    cluster.create_topic("t", 2)
    with RunningConsumer(gate.handle, cluster=cluster) as other:
        until(lambda: other.consumer.pulse().partitions == 2)
        other.push(*records(0, 3), *records(0, 3, 1))
        with RunningConsumer(gate.handle, cluster=cluster, stop_at_end=True) as run:
            until(lambda: run.consumer.pulse().partitions == 1)
            gate.until_begun(6)
            until(lambda: run.commit_point(1) == 3)
            assert not run.of(ConsumerStopping), "the other member's tasks still run"
            gate.open()
            assert run.wait() == (0, False, True)
        assert run.commit_point(0) == 3
        assert other.stop().exit_code == 0


def test_a_stop_before_the_end_is_a_stop_that_has_not_finished() -> None:
    gate = Gate()
    run = RunningConsumer(gate.handle, stop_at_end=True)
    run.push(*records(0, 2))
    with run:
        gate.until_begun()
        run.consumer.request_stop("now")
        run.until_event(ConsumerStopping)
        gate.open()
        assert run.wait() == (0, False, False)


def test_a_stuck_task_does_not_keep_the_end_from_being_reached() -> None:
    """Its dead letter settles it. Nothing is left for a process that would take this one's place."""
    blocked = threading.Lock()
    blocked.acquire()
    run = RunningConsumer(lambda task: blocked.acquire() and None, workers=2, stop_at_end=True, timeout=0.05)
    run.push(FakeRecord(0, b"s"))
    with run:
        status = run.wait()
        blocked.release()
    assert len(run.of(TaskStuck)) == 1
    assert status.exit_code == 0
    assert run.commit_point() == 1
    assert status.recycle is not status.finished


def test_no_query_is_sent_to_a_group_before_the_consumer_has_joined() -> None:
    """The request would wait behind the join, and the poller with it: a signal would be handled late."""
    run = RunningConsumer(ignore, stop_at_end=True)
    run.push(*records(0, 3))
    run.cluster.withheld.add(PARTITION)  # another member has it, and has settled all of it
    run.cluster.committed[PARTITION] = Commit(PARTITION, 3, "")
    run.source.lets_in.clear()
    with run:
        for _ in range(3):
            until_looped(run, run.consumer.pulse().last_loop_at)
        assert run.source.questions == 0
        run.source.lets_in.set()
        assert run.wait() == (0, False, True)
    assert run.source.questions == 1


def until_looped(run: RunningConsumer, since: float) -> None:
    """Waits until the poller has completed a loop after that moment."""
    until(lambda: run.consumer.pulse().last_loop_at > since)
