"""Decisions of the group: partitions that are assigned, revoked in order, and lost."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import Any

import pytest

from processor.engine.commit_note import kept_note
from processor.engine.skipmap import decode, encode, encode_base
from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.runtime.membership import QUICK_SECONDS
from processor.runtime.ports import Commit, Partition
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerLost,
    ConsumerRevoked,
    ConsumerSkipMapIgnored,
    ConsumerStats,
    ConsumerStopping,
    TaskAbandoned,
    TaskDeliveryFailed,
)
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSource
from tests.support.until import until

OTHER = PARTITION._replace(number=1)


def ignore(task: Task) -> None:
    pass


def sessions(first: int, end: int, partition: int = 0) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % n, partition=partition) for n in range(first, end)]


# --- partitions that come ---------------------------------------------------------------------------


def test_an_assignment_is_logged_with_where_each_partition_begins() -> None:
    cluster = ScriptedCluster()
    cluster.create_topic("t", 3)
    with RunningConsumer(ignore, cluster=cluster) as first:
        first.push(*sessions(0, 5, 1))
        until(lambda: first.commit_point(1) == 5)
        first.cluster.committed.pop(PARTITION, None)
        assert first.stop().exit_code == 0
    cluster.committed.pop(PARTITION, None)
    with RunningConsumer(ignore, cluster=cluster) as second:
        assigned = second.until_event(ConsumerAssigned)
    assert assigned.partitions == ["t[0]@start", "t[1]@5", "t[2]@0"]
    assert assigned.settled_ahead == 0


def test_what_was_done_ahead_of_the_commit_point_is_counted_and_skipped_by_the_next_consumer() -> None:
    gate = Gate(lambda task: task.offset == 2)
    with RunningConsumer(gate.handle, drain_timeout=0.1) as first:
        first.push(*sessions(0, 10))
        first.until_settled(9)
        assert first.stop().exit_code == 3
        gate.open()
    assert first.commit_point() == 2
    second_gate = Gate()
    second_gate.open()
    with RunningConsumer(second_gate.handle, cluster=first.cluster) as second:
        second.settled(1)
        assert second.stop().exit_code == 0
    assert second.of(ConsumerAssigned)[0].settled_ahead == 7
    assert second_gate.begun == [2]
    assert second.of(ConsumerStats)[-1].skipped == 7
    assert second.commit_point() == 10


@pytest.mark.parametrize("metadata", ["", "of another tool"])
def test_metadata_that_is_not_a_skip_map_is_logged_and_ignored(metadata: str) -> None:
    with RunningConsumer(ignore) as first:
        first.push(*sessions(0, 5))
        until(lambda: first.commit_point() == 5)
        first.stop()
    first.cluster.committed[PARTITION] = first.cluster.committed[PARTITION]._replace(offset=2, metadata=metadata)
    gate = Gate(lambda task: False)
    with RunningConsumer(gate.handle, cluster=first.cluster) as second:
        second.settled(3)
        assert second.stop().exit_code == 0
    assert sorted(gate.passed) == [2, 3, 4]
    ignored = second.of(ConsumerSkipMapIgnored)
    assert [(event.topic, event.partition, event.offset) for event in ignored] == [("t", 0, 2)] * bool(metadata)


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
@pytest.mark.parametrize("metadata", [encode(2, [(3, 1_000)])[0], encode_base(2) + kept_note(998)])
def test_a_skip_map_of_a_topic_that_was_recreated_hides_no_task_of_the_new_one(delivery: str, metadata: str) -> None:
    """A consumer that had not noticed has committed the map, after the brokers had deleted the group's offsets."""
    cluster = ScriptedCluster()
    cluster.create_topic("t", 1)
    cluster.append(*sessions(0, 10))
    cluster.committed[PARTITION] = Commit(PARTITION, 2, metadata)
    gate = Gate(lambda task: task.offset == 2)
    with RunningConsumer(gate.handle, cluster=cluster, delivery=delivery, commit_interval=0.01) as run:
        gate.until_passed(7)
        until(lambda: metadata not in cluster.committed[PARTITION].metadata)  # although the commit point stays
        gate.open()
        run.settled(8)
        assert run.stop().exit_code == 0
    assert sorted(gate.passed) == list(range(2, 10))
    (ignored,) = run.of(ConsumerSkipMapIgnored)
    assert "beyond the end of the partition, 10" in ignored.reason


def test_a_skip_map_that_reaches_the_end_of_its_partition_counts() -> None:
    cluster = ScriptedCluster()
    cluster.create_topic("t", 1)
    cluster.append(*sessions(0, 10))
    cluster.committed[PARTITION] = Commit(PARTITION, 2, encode(2, [(3, 10)])[0])
    gate = Gate(lambda task: False)
    with RunningConsumer(gate.handle, cluster=cluster) as run:
        until(lambda: cluster.committed[PARTITION].offset == 10)
        assert run.stop().exit_code == 0
    assert gate.passed == [2]
    assert not run.of(ConsumerSkipMapIgnored)


def test_a_member_that_is_assigned_nothing_is_in_the_group_and_stops_at_once() -> None:
    cluster = ScriptedCluster()
    cluster.create_topic("t", 1)
    with RunningConsumer(ignore, cluster=cluster) as first:
        until(lambda: first.consumer.pulse().partitions == 1)
        with RunningConsumer(ignore, cluster=cluster) as second:
            until(lambda: second.consumer.pulse().in_group)
            assert second.consumer.pulse().partitions == 0
            assert first.consumer.pulse().partitions == 1
            assert second.stop().exit_code == 0
    assert second.of(ConsumerAssigned)[0].partitions == []


def test_a_pause_of_the_client_does_not_outlive_the_assignment_in_which_it_was_made() -> None:
    """The client keeps the pause: a partition that returns would not be fetched."""
    done = Gate(lambda task: False)
    with RunningConsumer(done.handle) as run:
        until(lambda: run.consumer.pulse().partitions)
        run.source.happens(lambda: run.source.pause([PARTITION]))
        assert run.source.revoke(PARTITION).wait(60)
        assert run.source.assign(PARTITION).wait(60)
        run.push(*sessions(0, 3))
        done.until_passed(3)


# --- partitions that are revoked --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_revoke_waits_for_what_runs_commits_it_and_begins_nothing_more(kind: str) -> None:
    gate = Gate()
    with RunningConsumer(gate.handler(kind), workers=2, commit_interval=60.0) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 4)) for n in range(12)])
        gate.until_begun(2)
        revoked = run.source.revoke(PARTITION)
        until(lambda: run.source.is_leaving)  # the poller has waited for the tasks, and continues beside them
        assert not revoked.is_set()
        gate.open()
        assert revoked.wait(60)
        assert run.commit_point() == 2
        assert run.consumer.pulse().partitions == 0
        assert run.stop().exit_code == 0
    assert sorted(gate.begun) == [0, 1]
    event = run.of(ConsumerRevoked)[0]
    assert (event.partitions, event.abandoned, event.released) == (["t[0]"], 0, 10)
    assert event.drain_seconds >= QUICK_SECONDS


def test_a_revoke_of_one_partition_stops_no_task_of_another() -> None:
    held, other = Gate(lambda task: task.partition == 0), Gate()

    def handle(task: Task) -> None:
        (held if task.partition == 0 else other).handle(task)

    with RunningConsumer(handle, workers=2, partitions=2) as run:
        run.push(FakeRecord(0, b"a"), *[FakeRecord(n, b"b", partition=1) for n in range(200)])
        held.until_begun()
        other.until_begun()
        revoked = run.source.revoke(PARTITION)
        until(lambda: PARTITION in run.cluster.withheld)
        other.open()
        other.until_passed(200)
        assert not revoked.is_set()
        held.open()
        assert revoked.wait(60)
        until(lambda: run.commit_point(1) == 200)


def leaving_slowly(gate: Gate, kind: str = KINDS[0], **options: Any) -> RunningConsumer:
    """A consumer of two partitions whose gate blocks the tasks of the first one."""
    return RunningConsumer(gate.handler(kind), partitions=2, **options)


def until_it_leaves_slowly(run: RunningConsumer, gate: Gate) -> threading.Event:
    """Revokes the first partition while a task of it runs. Returns once the poller continues during the drain."""
    run.push(FakeRecord(0, b"held"), *[FakeRecord(n, b"waits%d" % n) for n in range(1, 4)])
    gate.until_begun(4)
    revoked = run.source.revoke(PARTITION)
    until(lambda: run.source.is_leaving)
    return revoked


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_that_come_to_a_partition_that_stays_are_done_and_committed_while_another_drains(kind: str) -> None:
    gate = Gate(lambda task: task.partition == 0)
    with leaving_slowly(gate, kind) as run:
        revoked = until_it_leaves_slowly(run, gate)
        run.push(*sessions(0, 100, partition=1))
        gate.until_passed(100)
        until(lambda: run.commit_point(1) == 100)
        assert not revoked.is_set()
        assert run.consumer.pulse().partitions == 2
        gate.open()
        assert revoked.wait(60)
        assert run.commit_point(0) == 4
        assert run.consumer.pulse().partitions == 1
        assert run.stop().exit_code == 0
    event = run.of(ConsumerRevoked)[0]
    assert (event.partitions, event.abandoned, event.released) == (["t[0]"], 0, 0)


def test_records_that_come_to_a_partition_while_it_drains_are_left_to_its_next_owner() -> None:
    gate = Gate(lambda task: task.partition == 0)
    with leaving_slowly(gate) as run:
        revoked = until_it_leaves_slowly(run, gate)
        run.push(*sessions(4, 10), *sessions(0, 5, partition=1))
        gate.until_passed(5)
        gate.open()
        assert revoked.wait(60)
        assert (run.commit_point(0), len(gate.begun)) == (4, 9)
        assert run.source.assign(PARTITION).wait(60)
        until(lambda: run.commit_point(0) == 10)
        assert run.stop().exit_code == 0
    assert len(gate.begun) == len(gate.passed) == 15


def test_a_drain_beside_which_the_poller_goes_on_is_bounded_and_abandons_what_still_runs() -> None:
    gate = Gate(lambda task: task.partition == 0 and task.offset == 1)
    with leaving_slowly(gate, drain_timeout=3.0) as run:
        revoked = until_it_leaves_slowly(run, gate)
        assert revoked.wait(60)
        assert run.cluster.committed[PARTITION].offset == 1
        assert [event.offset for event in run.of(TaskAbandoned)] == [1]
        assert run.of(ConsumerRevoked)[0].abandoned == 1
        assert run.of(ConsumerRevoked)[0].drain_seconds >= 3.0
        gate.open()
        assert run.stop().exit_code == 0


def test_a_stop_during_a_drain_waits_for_it_and_gives_the_partition_up_in_order() -> None:
    gate = Gate(lambda task: task.partition == 0)
    with leaving_slowly(gate) as run:
        revoked = until_it_leaves_slowly(run, gate)
        run.consumer.request_stop("the test")
        run.until_event(ConsumerStopping)
        assert not revoked.is_set()
        gate.open()
        assert run.wait().exit_code == 0
    assert run.commit_point(0) == 4
    assert run.of(ConsumerRevoked)[0].partitions == ["t[0]"]
    assert not run.of(TaskAbandoned)


def test_a_stop_at_once_during_a_drain_abandons_what_runs_and_gives_the_partition_up() -> None:
    gate = Gate(lambda task: task.partition == 0 and task.offset == 1)
    with leaving_slowly(gate) as run:
        until_it_leaves_slowly(run, gate)
        run.until_settled(3)
        run.consumer.request_stop_now("the test")
        assert run.wait().exit_code == 3
        assert run.source.is_closed.is_set()
        gate.open()
    assert run.commit_point(0) == 1
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]
    assert run.of(ConsumerRevoked)[0].abandoned == 1


def test_a_stop_is_exit_3_if_a_task_of_a_partition_that_drains_meanwhile_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The drain of the revoke ends before that of the stop, and then nothing runs any more that counts."""
    monkeypatch.setattr(ScriptedSource, "poll_seconds", 1.0)
    gate = Gate(lambda task: task.offset == 1)
    with RunningConsumer(gate.handle, drain_timeout=60.0) as run:
        run.push(*sessions(0, 4))
        gate.until_passed(3)
        run.consumer.request_stop("the test")
        run.until_event(ConsumerStopping)
        run.source.revoke(PARTITION)
        assert run.wait().exit_code == 3
        gate.open()
    assert run.commit_point(0) == 1
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]
    assert run.of(ConsumerRevoked)[0].abandoned == 1


def test_a_stop_is_exit_3_if_what_is_settled_of_a_partition_that_leaves_meanwhile_cannot_be_committed() -> None:
    gate = Gate(lambda task: task.partition == 1)
    with RunningConsumer(gate.handle, partitions=2) as run:
        until(lambda: run.commit_point(0) == 0)
        run.source.refuses = lambda commits: "no" if any(each.partition == PARTITION for each in commits) else None
        run.push(*sessions(0, 1), *sessions(0, 1, partition=1))
        gate.until_passed(1)
        gate.until_begun(2)
        run.consumer.request_stop("the test")
        run.until_event(ConsumerStopping)
        run.source.revoke(PARTITION)
        run.until_event(ConsumerRevoked)
        gate.open()
        assert run.wait().exit_code == 3
    assert (run.commit_point(0), run.commit_point(1)) == (0, 1)


def test_a_stop_is_exit_3_if_a_running_task_is_lost_to_another_member_meanwhile() -> None:
    gate = Gate()
    with RunningConsumer(gate.handle) as run:
        run.push(*sessions(0, 1))
        gate.until_begun(1)
        run.consumer.request_stop("the test")
        run.until_event(ConsumerStopping)
        run.cluster.give_up(run.source)
        assert run.until_event(ConsumerLost).running == 1
        assert run.wait().exit_code == 3
        gate.open()


def test_a_stop_is_exit_3_if_what_is_settled_is_lost_to_another_member_before_it_is_committed() -> None:
    with RunningConsumer(ignore, drain_timeout=60.0) as run:
        until(lambda: run.commit_point() == 0)
        run.source.refusal = "no"
        run.push(*sessions(0, 1))
        run.settled(1)
        run.consumer.request_stop("the test")
        run.until_it_drains()
        run.cluster.give_up(run.source)
        assert run.until_event(ConsumerLost).running == 0
        run.source.refusal = None
        assert run.wait().exit_code == 3
    assert run.commit_point() == 0


def test_a_stop_is_exit_3_if_an_output_of_a_partition_that_leaves_meanwhile_is_not_accepted() -> None:
    """With exactly-once, no task runs any more then, and everything else of the partition is committed."""
    gate = Gate(lambda task: task.partition == 1)

    def answer(task: Task) -> bytes:
        gate.handle(task)
        return b"%d" % task.partition

    options: dict[str, Any] = {"delivery": "exactly-once", "results_topic": "r"}
    with RunningConsumer(answer, partitions=2, drain_timeout=60.0, **options) as run:
        run.source.refuses_output = lambda output: "too large" if output.value == b"0" else None
        run.push(*sessions(0, 1), *sessions(0, 1, partition=1))
        run.until_event(TaskDeliveryFailed)
        gate.until_begun(2)
        run.consumer.request_stop("the test")
        run.until_it_drains()
        run.source.revoke(PARTITION)
        run.until_event(ConsumerRevoked)
        gate.open()
        assert run.wait().exit_code == 3
    assert (run.commit_point(0) or 0, run.commit_point(1)) == (0, 1)


def test_a_partition_that_leaves_is_committed_again_if_its_last_commit_is_not_answered() -> None:
    """Its answer may be a refusal, and then nothing commits the partition any more."""
    with RunningConsumer(ignore) as run:
        until(lambda: run.commit_point() == 0)
        run.source.keeps = lambda commits: True
        run.push(*sessions(0, 1))
        until(lambda: run.source.kept)
        run.source.revoke(PARTITION)
        run.until_event(ConsumerRevoked)
        assert run.commit_point() == 1
        run.source.keeps = lambda commits: False


def test_what_is_committed_counts_as_committed_also_if_the_group_refuses_a_repetition_of_it() -> None:
    """What is settled behind a running task is in the skip map of the commit."""
    gate = Gate(lambda task: task.offset == 1)
    with RunningConsumer(gate.handle) as run:
        committer = run.consumer._committer

        def has_uncommitted(*, stamped: bool = True) -> bool:
            answers = list[bool]()

            def ask() -> None:
                if not stamped:
                    committer._known.stamps.clear()
                answers.append(committer.has_uncommitted([PARTITION]))

            assert run.source.happens(ask).wait(60.0)
            return answers[0]

        run.push(*sessions(0, 3))
        gate.until_passed(2)
        until(lambda: run.commit_point() == 1 and decode(run.cluster.committed[PARTITION].metadata, 1) == [(2, 3)])
        until(lambda: not has_uncommitted(), "the commit is answered")
        run.source.refusal = "no"
        assert not has_uncommitted(stamped=False)
        gate.open()
        run.settled(3)
        assert has_uncommitted()
        run.source.refusal = None


def test_a_member_that_is_given_up_during_a_drain_loses_what_leaves_with_what_stays_and_commits_nothing() -> None:
    gate = Gate(lambda task: task.partition == 0)
    with leaving_slowly(gate) as run:
        revoked = until_it_leaves_slowly(run, gate)
        run.cluster.give_up(run.source)
        lost = run.until_event(ConsumerLost)
        assert (sorted(lost.partitions), lost.running) == (["t[0]", "t[1]"], 4)
        assert revoked.wait(60)
        gate.open()
        until(lambda: run.consumer.pulse().running == 0)
        assert run.commit_point(0) in (None, 0)
        assert not run.of(ConsumerRevoked)
        run.push(*sessions(0, 5, partition=1))
        until(lambda: run.commit_point(1) == 5)
        assert run.stop().exit_code == 0


def test_after_a_drain_the_next_revoke_is_served() -> None:
    gate = Gate(lambda task: task.partition == 0)
    with leaving_slowly(gate) as run:
        revoked = until_it_leaves_slowly(run, gate)
        run.push(*sessions(0, 5, partition=1))
        next_revoked = run.source.revoke(OTHER)
        gate.until_passed(5)
        assert not next_revoked.is_set()
        gate.open()
        assert revoked.wait(60)
        assert next_revoked.wait(60)
        assert (run.commit_point(0), run.commit_point(1)) == (4, 5)
        assert run.stop().exit_code == 0
    assert [event.partitions for event in run.of(ConsumerRevoked)[:2]] == [["t[0]"], ["t[1]"]]


def test_a_handler_that_outlives_the_drain_timeout_of_a_revoke_is_abandoned_and_not_committed() -> None:
    gate = Gate(lambda task: task.offset == 1)
    with RunningConsumer(gate.handle, drain_timeout=0.1) as run:
        run.push(*sessions(0, 4))
        run.until_settled(3)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.cluster.committed[PARTITION].offset == 1
        assert [event.offset for event in run.of(TaskAbandoned)] == [1]
        assert run.of(TaskAbandoned)[0].running_seconds >= 0.1
        assert run.of(ConsumerRevoked)[0].abandoned == 1
        gate.open()
        until(lambda: run.consumer.pulse().running == 0)
        assert run.commit_point() == 1
        assert run.stop().exit_code == 0
    assert run.of(ConsumerStats)[-1].abandoned == 1


def test_a_task_that_waits_for_its_next_attempt_is_released_by_a_revoke_and_begins_again_in_its_next_consumer() -> None:
    attempts: list[int] = []

    def fail_at_first(task: Task) -> None:
        attempts.append(task.attempt)
        if len(attempts) == 1:
            raise ConnectionError("not yet")

    with RunningConsumer(fail_at_first, backoff=30.0, backoff_max=30.0) as run:
        run.push(FakeRecord(0, b"s"), FakeRecord(1, b"s"))
        until(lambda: attempts and run.consumer.pulse().running == 0)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.of(ConsumerRevoked)[0].released == 2
        assert run.source.assign(PARTITION).wait(60)
        run.settled(2)
        assert run.stop().exit_code == 0
    assert attempts == [1, 1, 1]


def test_a_revoke_waits_for_a_dead_letter_that_is_under_way() -> None:
    def reject(task: Task) -> None:
        raise Reject("never")

    with RunningConsumer(reject) as run:
        run.sink.holding = True
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.sink.held)
        revoked = run.source.revoke(PARTITION)
        assert not revoked.wait(0.1)  # time is what is tested: it waits
        run.sink.acknowledge()
        assert revoked.wait(60)
        assert run.commit_point() == 1


def test_a_failure_after_its_partition_was_given_up_sends_no_dead_letter() -> None:
    """The next consumer runs the task again, and has its own outcome."""
    gate = Gate()

    def fail(task: Task) -> None:
        gate.handle(task)
        raise Reject("never")

    with RunningConsumer(fail, drain_timeout=0.1) as run:
        run.push(FakeRecord(0, b"s"))
        gate.until_begun()
        assert run.source.revoke(PARTITION).wait(60)
        gate.open()
        until(lambda: run.consumer.pulse().running == 0)
        assert run.stop().exit_code == 0
    assert run.sink.sent == []


def test_a_dead_letter_that_is_refused_is_not_sent_again_once_its_partition_is_another_consumers() -> None:
    def reject(task: Task) -> None:
        raise Reject("never")

    with RunningConsumer(reject, drain_timeout=0.1) as run:
        run.sink.refusals = refusals = 1000
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.sink.refusals < refusals)
        assert run.source.lose(PARTITION).wait(60)
        run.sink.refusals = 0
        until(lambda: run.consumer.pulse().running == 0)
        assert run.stop().exit_code == 0
    assert run.sink.sent == []


# --- partitions that are lost -----------------------------------------------------------------------


def test_a_loss_is_logged_with_what_ran_and_what_waited() -> None:
    gate = Gate()
    with RunningConsumer(gate.handle, workers=1) as run:
        run.push(*[FakeRecord(n, b"s") for n in range(4)])
        gate.until_begun()
        assert run.source.lose(PARTITION).wait(60)
        gate.open()
        until(lambda: run.consumer.pulse().running == 0)
        assert run.stop().exit_code == 0
    (lost,) = run.of(ConsumerLost)
    assert (lost.partitions, lost.running) == (["t[0]"], 1)
    assert lost.released >= 0
    assert run.of(ConsumerStats)[-1].rebalances >= 3  # assigned, lost, assigned nothing
    assert gate.begun == [0]


def test_a_member_that_lost_its_partitions_is_out_of_the_group_until_it_has_joined_again() -> None:
    with RunningConsumer(ignore) as run:
        until(lambda: run.consumer.pulse().in_group)

        run.source.lets_in_again = False
        run.cluster.give_up(run.source)
        until(lambda: not run.consumer.pulse().in_group)
        run.source.lets_in.set()
        until(lambda: run.consumer.pulse().in_group)
        run.push(*sessions(0, 3))
        until(lambda: run.commit_point() == 3)


def test_a_partition_that_was_lost_and_comes_back_begins_at_what_the_group_has() -> None:
    """Tasks that were settled but not committed run again; committed ones do not."""
    ran: list[int] = []
    with RunningConsumer(lambda task: ran.append(task.offset)) as run:
        run.push(*sessions(0, 5))
        until(lambda: run.commit_point() == 5)
        run.source.refusal = "not a member"
        run.push(*sessions(5, 10))
        run.settled(10)
        assert run.source.lose(PARTITION).wait(60)
        run.source.refusal = None
        assert run.source.assign(PARTITION).wait(60)
        until(lambda: run.commit_point() == 10)
        assert run.stop().exit_code == 0
    assert Counter(ran) == {**dict.fromkeys(range(5), 1), **dict.fromkeys(range(5, 10), 2)}


# --- several consumers ------------------------------------------------------------------------------


class Ledger:
    """Records what the handlers of several consumers did, by session, and detects overlaps."""

    def __init__(self) -> None:
        self.ran: dict[str, list[int]] = defaultdict(list)
        self.overlaps: list[str] = []
        self._inside: set[str] = set()
        self._lock = threading.Lock()

    def handle(self, task: Task) -> None:
        with self._lock:
            if task.session_id in self._inside:
                self.overlaps.append(task.session_id)
            self._inside.add(task.session_id)
            self.ran[task.session_id].append(task.offset)
        with self._lock:
            self._inside.discard(task.session_id)

    @property
    def tasks(self) -> int:
        with self._lock:
            return sum(map(len, self.ran.values()))


def load(partitions: int, count: int) -> list[FakeRecord]:
    """Tasks of a hundred sessions, each in one partition."""
    sessions_of = 100 // partitions
    return [
        FakeRecord(n, b"p%d-s%d" % (partition, n % sessions_of), partition=partition)
        for n in range(count)
        for partition in range(partitions)
    ]


def test_partitions_move_to_a_consumer_that_joins_and_back_when_it_leaves() -> None:
    cluster, ledger = ScriptedCluster(), Ledger()
    cluster.create_topic("t", 4)
    with RunningConsumer(ledger.handle, cluster=cluster) as first:
        until(lambda: first.consumer.pulse().partitions == 4)
        first.push(*load(4, 500))
        with RunningConsumer(ledger.handle, cluster=cluster) as second:
            until(lambda: second.consumer.pulse().partitions == 2 == first.consumer.pulse().partitions)
            second.push(*[FakeRecord(500 + r.offset(), r.key(), partition=r.partition()) for r in load(4, 500)])
            until(lambda: ledger.tasks >= 2000)
            assert second.stop().exit_code == 0
        until(lambda: ledger.tasks >= 4000)
        until(lambda: all(first.commit_point(number) == 1000 for number in range(4)))
        until(lambda: first.consumer.pulse().partitions == 4)
        assert first.stop().exit_code == 0
    assert not ledger.overlaps
    assert ledger.tasks == 4000, "a task ran twice though every partition was given up in order"
    assert all(offsets == sorted(offsets) for offsets in ledger.ran.values())


def test_consumers_that_join_and_leave_under_load_lose_repeat_and_reorder_no_task() -> None:
    cluster, ledger = ScriptedCluster(), Ledger()
    partitions, count = 8, 1_000
    cluster.create_topic("t", partitions)
    cluster.append(*load(partitions, count))
    with RunningConsumer(ledger.handle, cluster=cluster, max_in_flight=200) as stays:
        until(lambda: stays.consumer.pulse().partitions)
        while ledger.tasks < partitions * count:
            with ExitStack() as stack:
                others = [
                    stack.enter_context(RunningConsumer(ledger.handle, cluster=cluster, max_in_flight=200))
                    for _ in range(2)
                ]
                until(lambda: all(other.consumer.pulse().partitions for other in others))  # noqa: B023
                assert [other.stop().exit_code for other in others] == [0, 0]
        places = [Partition("t", number) for number in range(partitions)]
        until(lambda: all(stays.commit_point(place.number) == count for place in places))
        assert stays.stop().exit_code == 0
    assert not ledger.overlaps
    assert ledger.tasks == partitions * count
    assert all(offsets == sorted(offsets) for offsets in ledger.ran.values())
