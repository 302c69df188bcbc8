"""A consumer from its first event to its last: what it reports, what it waits for, what it leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

import pytest

from processor import Processor
from processor.errors import BrokerError, ProcessorError
from processor.handlers.task import Task
from processor.runtime import membership
from processor.runtime.ports import Commit, Record
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerFailed,
    ConsumerRevoked,
    ConsumerStarted,
    ConsumerStats,
    ConsumerStopped,
    ConsumerStopping,
    PartitionStats,
    TaskAbandoned,
    TaskStuck,
)
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.support.until import until

OTHER = PARTITION._replace(number=1)


def ignore(task: Task) -> None:
    pass


def sessions(count: int, partition: int = 0) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % n, partition=partition) for n in range(count)]


# --- the start --------------------------------------------------------------------------------------


def test_a_consumer_starts_with_a_log_of_its_identity_and_a_report_of_zeros() -> None:
    """A counter that first appears above zero would not count as a rise."""
    with RunningConsumer(ignore, workers=3, value_format="json") as run:
        run.push(*sessions(5))
        run.settled(5)
        run.stop()
    started, zeros, *_ = run.events
    assert isinstance(started, ConsumerStarted)
    assert (started.topics, started.group, started.workers) == (["t"], "g", 3)
    assert (started.value_format, started.group_protocol) == ("json", "classic")
    assert isinstance(zeros, ConsumerStats)
    assert (zeros.succeeded, zeros.in_flight, zeros.commits, zeros.rebalances, zeros.assigned_partitions) == (0,) * 5


def test_a_report_goes_to_its_callback_as_well_as_to_the_log() -> None:
    reports: list[ConsumerStats] = []
    of_partitions: list[PartitionStats] = []

    def receive(stats: ConsumerStats, partitions: Sequence[PartitionStats]) -> None:
        reports.append(stats)
        of_partitions.extend(partitions)

    run = RunningConsumer(ignore, stats_interval=0.1)
    run.consumer.report_to(receive)
    with run:
        run.push(*sessions(5))
        run.until_event(ConsumerStats, lambda stats: stats.succeeded == 5)
        run.stop()
    logged = run.of(ConsumerStats)  # which leaves out what has not changed
    assert [one for one in reports if one in logged] == logged
    assert (logged[0], logged[-1]) == (reports[0], reports[-1])
    assert 0 < len(run.of(PartitionStats)) <= len(of_partitions)
    assert all(one in of_partitions for one in run.of(PartitionStats))


# --- an orderly stop --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_begins_nothing_more_and_waits_for_what_runs(kind: str) -> None:
    gate = Gate()
    with RunningConsumer(gate.handler(kind), workers=2) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 4)) for n in range(12)])
        gate.until_begun(2)
        run.consumer.request_stop("first")
        run.consumer.request_stop("second")
        stopping = run.until_event(ConsumerStopping)
        run.until_it_drains()
        gate.open()
        status = run.wait()
    assert status == (0, False, False)
    assert stopping.reason == "first"
    assert 0 < stopping.waiting <= 10  # without what was lent behind the two
    assert sorted(gate.passed) == sorted(gate.begun) == [0, 1]
    assert run.commit_point() == 2
    stopped = run.of(ConsumerStopped)
    assert [(end.exit_code, end.succeeded, end.abandoned) for end in stopped] == [(0, 2, 0)]
    assert run.events[-1] is stopped[0]


def test_an_ordinary_stop_does_not_leave_the_group_for_good() -> None:
    with RunningConsumer(ignore) as run:
        assert run.stop().exit_code == 0
    assert run.source.is_closed.is_set()
    assert not run.source.closed_for_good


@pytest.mark.parametrize("earlier", ["an ordinary stop", None])
def test_a_stop_for_good_leaves_the_group_for_good_although_an_ordinary_one_came_first(earlier: str | None) -> None:
    gate = Gate()
    with RunningConsumer(gate.handle) as run:
        run.push(FakeRecord(0, b"a"))
        gate.until_begun()
        if earlier is not None:
            run.consumer.request_stop(earlier)
            run.until_event(ConsumerStopping)
        run.consumer.request_stop("one consumer fewer", for_good=True)
        gate.open()
        assert run.wait().exit_code == 0
    assert run.of(ConsumerStopping)[0].reason == (earlier or "one consumer fewer")
    assert run.source.closed_for_good


def test_a_stop_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    app: list[str] = []
    with RunningConsumer(lambda task: app.append(threading.current_thread().name), workers=4) as run:
        run.push(*sessions(50))
        run.settled(50)
        assert len(set(threading.enumerate()) - before) >= 6  # workers, watchdog, and the test's own for the consumer
        assert run.stop().exit_code == 0
    assert {name.rstrip("0123456789") for name in app} == {"worker-"}
    until(lambda: not set(threading.enumerate()) - before)


def test_an_event_loop_ends_with_its_consumer() -> None:
    before = set(threading.enumerate())
    gate = Gate(lambda task: False)
    with RunningConsumer(gate.handle_async) as run:
        run.push(*sessions(50))
        run.settled(50)
        assert run.stop().exit_code == 0
    until(lambda: not set(threading.enumerate()) - before)


def test_a_consumer_that_stops_stays_in_the_group_until_its_tasks_have_ended() -> None:
    """It still responds to the group: a partition that is revoked meanwhile is committed and given up at once."""
    gate = Gate(lambda task: task.partition == 0)
    with RunningConsumer(gate.handle, partitions=2) as run:
        run.push(FakeRecord(0, b"a"), *sessions(3, partition=1))
        gate.until_begun(4)
        run.consumer.request_stop("now")
        run.until_event(ConsumerStopping)
        assert run.source.revoke(OTHER).wait(60)
        assert not run.source.is_closed.is_set()
        assert run.commit_point(1) == 3
        gate.open()
        assert run.wait().exit_code == 0
    assert run.of(ConsumerRevoked)[0].partitions == ["t[1]"]
    assert run.commit_point() == 1


def test_a_partition_that_is_assigned_to_a_consumer_that_stops_is_left_as_it_is() -> None:
    gate = Gate()
    run = RunningConsumer(gate.handle, partitions=2)
    run.cluster.withheld.add(OTHER)
    with run:
        run.push(FakeRecord(0, b"a"), *sessions(3, partition=1))
        gate.until_begun()
        run.consumer.request_stop("now")
        run.until_event(ConsumerStopping)
        assert run.source.assign(OTHER).wait(60)
        gate.open()
        assert run.wait().exit_code == 0
    assert run.of(ConsumerAssigned)[-1].partitions == ["t[1]@start"]
    assert gate.begun == [0]
    assert run.commit_point(1) in (None, 0)


def test_a_stop_waits_for_a_join_that_is_under_way() -> None:
    """A member that leaves during its join stays in the group, with partitions that no member serves."""
    run = RunningConsumer(ignore)
    run.source.lets_in.clear()
    with run:
        until(lambda: run.consumer.pulse().last_loop_at)
        run.consumer.request_stop("now")
        run.until_event(ConsumerStopping)
        assert not run.source.is_closed.wait(0.3)  # time is what is tested: it would be closed at once
        run.source.lets_in.set()
        assert run.wait().exit_code == 0
    assert len(run.of(ConsumerAssigned)) == 1


def test_a_stop_waits_for_a_group_that_never_answers_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "JOIN_SECONDS", 0.2)
    run = RunningConsumer(ignore)
    run.source.lets_in.clear()
    with run:
        assert run.stop().exit_code == 0
    assert run.of(ConsumerAssigned) == []
    assert run.source.is_closed.is_set()


def test_a_stop_tries_its_last_commit_until_the_group_accepts_it() -> None:
    """During a rebalance it is refused, and polling lets the rebalance end."""
    refused: list[Sequence[object]] = []

    def refuse_twice(commits: Sequence[object]) -> str | None:
        refused.append(commits)
        return "rebalance in progress" if len(refused) <= 2 else None

    gate = Gate()
    with RunningConsumer(gate.handle, commit_interval=60.0) as run:
        run.push(FakeRecord(0, b"a"))
        gate.until_begun()
        run.source.refuses = refuse_twice
        run.consumer.request_stop("now")
        gate.open()
        assert run.wait().exit_code == 0
    assert len(refused) == 3
    assert run.commit_point() == 1


def test_a_last_commit_that_is_never_accepted_is_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "LAST_COMMIT_SECONDS", 0.3)
    with RunningConsumer(ignore, drain_timeout=0.1, commit_interval=60.0) as run:
        run.push(*sessions(3))
        run.settled(3)
        run.source.refusal = "the coordinator is away"
        assert run.stop().exit_code == 3
    assert run.commit_point() in (None, 0)


def test_a_stop_waits_for_results_that_are_not_acknowledged_yet() -> None:
    with RunningConsumer(lambda task: b"result", results_topic="r") as run:
        run.sink.holding = True
        run.push(*sessions(3))
        until(lambda: len(run.sink.held) == 3)
        run.consumer.request_stop("now")
        run.until_event(ConsumerStopping)
        run.sink.acknowledge()
        assert run.wait().exit_code == 0
    assert run.commit_point() == 3


def test_a_stop_gives_up_results_that_are_not_acknowledged_within_the_drain_timeout() -> None:
    """Their tasks are not settled: the next consumer runs them again."""
    with RunningConsumer(lambda task: b"result", results_topic="r", drain_timeout=0.1) as run:
        run.sink.holding = True
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.sink.held)
        assert run.stop().exit_code == 3
    assert run.commit_point() in (None, 0)
    (abandoned,) = run.of(TaskAbandoned)
    assert (abandoned.offset, abandoned.running_seconds) == (0, 0.0)


def test_a_stop_that_abandons_tasks_is_exit_3_although_the_handler_of_another_one_is_stuck() -> None:
    gate, app = Gate(), Processor()
    app.task("stuck", timeout=0.05)(gate.handle)
    app.task("slow", timeout=600.0)(gate.handle)
    with RunningConsumer(app, workers=2, drain_timeout=60.0, max_attempts=1) as run:
        run.push(FakeRecord(0, b"a", name="stuck"), FakeRecord(1, b"b", name="slow"))
        gate.until_begun(2)
        run.consumer.request_stop("SIGTERM")
        run.until_event(TaskStuck)
        run.consumer.request_stop_now("SIGTERM")
        assert run.wait().exit_code == 3
        gate.open()
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]


def test_a_stop_at_once_waits_for_no_handler_and_commits_what_is_done() -> None:
    gate = Gate(lambda task: task.offset == 1)
    with RunningConsumer(gate.handle, drain_timeout=60.0, commit_interval=60.0) as run:
        run.push(*sessions(3))
        run.until_settled(2)
        gate.until_begun(3)
        began = monotonic()
        run.consumer.request_stop_now("twice")
        assert run.wait().exit_code == 3
        assert monotonic() - began < 10
        gate.open()
    commit = run.cluster.committed[PARTITION]
    assert commit.offset == 1
    assert commit.metadata, "offset 2 is done as well"
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]
    assert run.of(ConsumerStopped)[0].abandoned == 1


# --- an end that was not asked for ------------------------------------------------------------------


def raising(error: Exception) -> RunningConsumer:
    """A consumer whose client raises while it polls for the tasks after the first."""
    run = RunningConsumer(ignore)

    def fail() -> None:
        raise error

    run.push(FakeRecord(0, b"s"))
    run.source.happens(fail)
    return run


def test_a_client_whose_access_is_revoked_drains_and_exits_with_4() -> None:
    with raising(BrokerError("access denied by the broker")) as run:
        assert run.wait() == (4, False, False)
    (failed,) = run.of(ConsumerFailed)
    assert (failed.error, failed.exit_code) == ("access denied by the broker", 4)
    assert run.of(ConsumerStopping)[0].reason == "access denied by the broker"
    assert run.of(ConsumerStopped)[0].exit_code == 4
    assert run.source.is_closed.is_set()


def test_a_client_that_is_denied_access_at_the_start_fails_without_waiting() -> None:
    """Its join will not end."""
    run = RunningConsumer(ignore)
    run.source.lets_in.clear()

    def fail(limit: int, seconds: float) -> Sequence[Record]:
        raise BrokerError("access denied by the broker")

    run.source.take = fail  # type: ignore[method-assign]
    began = monotonic()
    with run:
        assert run.wait().exit_code == 4
    assert monotonic() - began < membership.JOIN_SECONDS


def test_an_error_of_this_package_ends_a_consumer_with_its_own_exit_code() -> None:
    with raising(ProcessorError("fenced: another consumer has the same group.instance.id")) as run:
        assert run.wait().exit_code == 1
    assert run.of(ConsumerFailed)[0].error == "fenced: another consumer has the same group.instance.id"


def test_an_unexpected_error_ends_a_consumer_in_order_and_is_named() -> None:
    with raising(ZeroDivisionError("by zero")) as run:
        assert run.wait().exit_code == 1
    assert run.of(ConsumerFailed)[0].error == "the poller failed: ZeroDivisionError: by zero"
    assert run.source.is_closed.is_set()


def test_a_consumer_ends_even_if_its_client_cannot_be_drained() -> None:
    with RunningConsumer(ignore, commit_interval=60.0) as run:
        run.push(*sessions(3))
        run.settled(3)

        def fail(commits: Sequence[Commit], seconds: float) -> str | None:
            raise OSError("the client is gone")

        run.source.commit_now = fail  # type: ignore[method-assign]
        assert run.stop().exit_code == 1
    assert run.of(ConsumerFailed)[0].error == "the drain failed: OSError: the client is gone"
    assert run.source.is_closed.is_set()
