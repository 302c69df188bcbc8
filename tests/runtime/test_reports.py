"""What a consumer reports about itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.telemetry.events import ConsumerStats, Event, HeadOfLine, PartitionStats
from processor.telemetry.idle_reports import IdleReports
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import Gate
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedSource
from tests.support.until import until

QUICK: dict[str, Any] = {"stats_interval": 0.1}


def head_of(run: RunningConsumer) -> HeadOfLine | None:
    reports = run.of(PartitionStats)
    return reports[-1].head if reports else None


def until_head(run: RunningConsumer, state: str) -> HeadOfLine:
    def found() -> HeadOfLine | None:
        head = head_of(run)
        return head if head is not None and head.state == state else None

    return until(found, f"the head of the partition is {state}")


def test_a_running_task_that_holds_its_partition_is_named_with_what_waits_behind_it() -> None:
    gate = threading.Event()

    def handler(task: Task) -> None:
        if task.session_id == "slow":
            gate.wait(60)

    with RunningConsumer(handler, **QUICK) as run:
        run.push(*[FakeRecord(n, b"slow" if n < 3 else b"s%d" % n) for n in range(20)])
        head = until_head(run, "running")
        assert (head.session_id, head.offset, head.attempt, head.session_waiting) == ("slow", 0, 1, 2)
        assert (head.error_type, head.produced_at) == (None, 1234)
        until(lambda: run.of(PartitionStats)[-1].gap == 20)
        until(lambda: (now := head_of(run)) is not None and now.state_seconds > 0.3)
        gate.set()
        until(lambda: head_of(run) is None)
        run.stop()


def test_a_parked_task_is_reported_with_its_error_and_when_its_next_attempt_is_due() -> None:
    def handler(task: Task) -> None:
        raise OSError("no route to the bank")

    with RunningConsumer(handler, backoff=30.0, backoff_max=30.0, **QUICK) as run:
        run.push(FakeRecord(0, b"s"), FakeRecord(1, b"s"))
        head = until_head(run, "parked")
        assert (head.attempt, head.error_type, head.error) == (2, "builtins.OSError", "no route to the bank")
        assert head.retry_in_seconds is not None
        assert 10 < head.retry_in_seconds <= 30
        assert head.session_waiting == 1
        assert run.of(PartitionStats)[-1].parked == 1
        run.stop()


def test_a_dead_letter_that_is_refused_is_reported_with_the_brokers_reason() -> None:
    def handler(task: Task) -> None:
        raise Reject("never")

    with RunningConsumer(handler, **QUICK) as run:
        run.sink.refusals = 2
        run.push(FakeRecord(0, b"s"))
        head = until_head(run, "delivering")
        assert head.error_type == "processor.errors.DeliveryError"
        assert head.error == "t.dlq: the topic is away"
        until(lambda: head_of(run) is None)
        run.stop()


def test_a_coroutine_that_holds_its_partition_is_running() -> None:
    gate = Gate(lambda task: task.offset == 0)
    with RunningConsumer(gate.handle_async, **QUICK) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(5)])
        assert until_head(run, "running").offset == 0
        gate.open()
        run.settled(5)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerStats)[-1].handler_seconds_buckets["+Inf"] == 5


def test_latencies_are_those_of_the_last_interval_and_buckets_those_since_the_start() -> None:
    def handler(task: Task) -> None:
        if task.offset < 10:
            time.sleep(0.6)  # time is what is tested

    with RunningConsumer(handler, **QUICK) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(10)])
        run.settled(10)
        until(lambda: any(stats.handler_p50_seconds for stats in run.of(ConsumerStats)))
        slow = next(stats for stats in run.of(ConsumerStats) if stats.handler_p50_seconds)
        assert slow.handler_p50_seconds is not None
        assert slow.handler_max_seconds is not None
        assert 0.5 <= slow.handler_p50_seconds <= slow.handler_max_seconds < 5
        until(lambda: run.of(ConsumerStats)[-1].handler_p50_seconds is None)
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(10, 20)])
        run.settled(20)
        assert run.stop().exit_code == 0
    buckets = run.of(ConsumerStats)[-1].handler_seconds_buckets
    assert buckets["+Inf"] == 20
    assert buckets["0.5"] == 10


def test_attempts_that_fail_or_time_out_are_counted_as_what_they_are() -> None:
    def handler(task: Task) -> None:
        while task.offset == 0:
            pass
        raise ValueError("no")

    with RunningConsumer(handler, max_attempts=2, timeout=0.2) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"))
        run.settled(2)
        assert run.stop().exit_code == 0
    stats = run.of(ConsumerStats)[-1]
    assert (stats.failed_attempts, stats.timed_out, stats.retried, stats.dead_lettered) == (4, 2, 2, 2)
    assert (stats.stuck, stats.handler_seconds_buckets["+Inf"]) == (0, 4)


# --- what is held -----------------------------------------------------------------------------------


def test_a_report_counts_waiting_and_running_tasks_and_their_bytes() -> None:
    gate = Gate()
    records = [FakeRecord(n, b"s%d" % (n % 4), b"v" * n) for n in range(10)]
    with RunningConsumer(gate.handle, workers=1, **QUICK) as run:
        run.push(*records)
        gate.until_begun()
        stats = run.until_event(ConsumerStats, lambda stats: stats.in_flight == 10 and stats.running)
        partition = run.until_event(PartitionStats, lambda partition: partition.in_flight == 10)
        gate.open()
        run.settled(10)
        assert run.stop().exit_code == 0
    assert (stats.active_sessions, partition.active_sessions) == (4, 4)
    assert 1 <= stats.running <= 4
    assert 10 - 3 * stats.running <= stats.waiting < 10  # a lane that is lent has up to three tasks
    size = sum(len(r.key() or b"") + len(r.value() or b"") + len("trace") + len(b"1") for r in records)
    assert stats.in_flight_bytes == partition.in_flight_bytes == size
    last = run.of(ConsumerStats)[-1]
    assert (last.in_flight, last.in_flight_bytes, last.waiting, last.running, last.active_sessions) == (0,) * 5


def test_the_busiest_sessions_are_named_in_their_order_and_no_more_than_five() -> None:
    gate = Gate(lambda task: task.session_id == "first")
    sizes = {b"a": 3, b"b": 9, b"\xff": 7, b"d": 5, b"e": 4, b"f": 2, b"g": 8}
    keys = [b"first", *[key for key, size in sizes.items() for _ in range(size)]]
    with RunningConsumer(gate.handle, workers=1, **QUICK) as run:
        run.push(FakeRecord(0, b"first"))
        gate.until_begun()
        run.push(*[FakeRecord(n, key) for n, key in enumerate(keys) if n])
        stats = run.until_event(ConsumerStats, lambda stats: stats.in_flight == len(keys))
        gate.open()
        run.settled(len(keys))
    assert [(load.session_id, load.waiting) for load in stats.busiest_sessions] == [
        ("b", 9),
        ("g", 8),
        ("\\xff", 7),
        ("d", 5),
        ("e", 4),
    ]
    assert {(load.topic, load.partition) for load in stats.busiest_sessions} == {("t", 0)}
    assert stats.busiest_session_waiting == 9


def test_a_partition_is_reported_with_its_commit_point_its_lag_and_what_is_done_ahead() -> None:
    gate = Gate(lambda task: task.offset == 3)
    with RunningConsumer(gate.handle, workers=2, **QUICK) as run:
        run.push(*[FakeRecord(n, b"k%d" % n) for n in range(20)])
        gate.until_passed(19)
        held = run.until_event(PartitionStats, lambda stats: (stats.committed, stats.succeeded) == (3, 19))
        gate.open()
        done = run.until_event(PartitionStats, lambda partition: partition.committed == 20)
        assert run.stop().exit_code == 0
    assert (held.topic, held.partition, held.commit_point, held.highest_settled) == ("t", 0, 3, 19)
    assert (held.gap, held.lag, held.succeeded, held.in_flight) == (17, 17, 19, 1)
    assert (done.commit_point, done.gap, done.lag, done.succeeded, done.in_flight) == (20, 0, 0, 20, 0)


def test_an_age_grows_while_its_task_runs_and_is_zero_when_nothing_is_left() -> None:
    gate = Gate()
    with RunningConsumer(gate.handle, **QUICK) as run:
        run.push(FakeRecord(0, b"s"))
        gate.until_begun()
        old = run.until_event(ConsumerStats, lambda stats: stats.oldest_running_seconds > 0.3)
        assert old.oldest_unsettled_seconds >= old.oldest_running_seconds
        gate.open()
        run.settled(1)
        assert run.stop().exit_code == 0
    last = run.of(ConsumerStats)[-1]
    assert (last.oldest_running_seconds, last.oldest_unsettled_seconds) == (0.0, 0.0)


def test_the_cores_that_a_process_uses_are_those_of_the_last_interval() -> None:
    stop = threading.Event()

    def compute(task: Task) -> None:
        while not stop.is_set():
            pass

    with RunningConsumer(compute, stats_interval=0.3) as run:
        run.push(FakeRecord(0, b"s"))
        busy = run.until_event(ConsumerStats, lambda stats: stats.running == 1 and stats.used_cores > 0.05)
        stop.set()
        until(lambda: (last := run.of(ConsumerStats)[-1]).running == 0 and last.used_cores < busy.used_cores)
        run.stop()


def test_a_rate_is_that_of_the_last_interval() -> None:
    with RunningConsumer(lambda task: None, **QUICK) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(500)])
        run.settled(500)
        busy = run.until_event(ConsumerStats, lambda stats: stats.succeeded == 500)
        run.until_event(ConsumerStats, lambda stats: stats.uptime_seconds > busy.uptime_seconds)
        idle = run.of(ConsumerStats)[-1]
    assert max(stats.tasks_per_second for stats in run.of(ConsumerStats)) > 0
    assert (idle.succeeded, idle.tasks_per_second) == (500, 0.0)


# --- what is not new --------------------------------------------------------------------------------


def test_an_idle_consumer_logs_every_sixth_report_although_it_commits_to_renew_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedSource, "session_seconds", 1.5)
    received: list[ConsumerStats] = []
    logged_at: dict[float, float] = {}
    to_log = IdleReports.to_log

    def note(reports: IdleReports, stats: ConsumerStats, *rest: Any, **more: Any) -> Iterator[Event]:
        events = list(to_log(reports, stats, *rest, **more))
        if stats in events:
            logged_at[stats.uptime_seconds] = rest[1]
        return iter(events)

    monkeypatch.setattr(IdleReports, "to_log", note)
    run = RunningConsumer(lambda task: None, **QUICK)
    run.consumer.report_to(lambda stats, partitions: received.append(stats))
    with run:
        run.push(FakeRecord(0, b"s"))
        idle = run.until_event(ConsumerStats, lambda stats: stats.succeeded == 1 and not stats.tasks_per_second)
        until(lambda: run.of(ConsumerStats)[-1].uptime_seconds > idle.uptime_seconds + 2.0)
        logged = run.of(ConsumerStats)
        reports = [stats.uptime_seconds for stats in received]
    quiet = [stats.uptime_seconds for stats in logged[logged.index(idle) :]]
    assert logged[-1].commits > idle.commits
    times = [logged_at[uptime] for uptime in quiet]
    assert min(after - before for before, after in pairwise(times)) > 0.599  # it reports every 0.1 s
    assert len([at for at in reports if quiet[0] <= at <= quiet[-1]]) > len(quiet)


# --- what holds the commit point --------------------------------------------------------------------


def test_a_task_that_waits_for_a_worker_may_hold_its_partition() -> None:
    gate = Gate(lambda task: task.partition == 1)
    with RunningConsumer(gate.handle, workers=1, partitions=2, **QUICK) as run:
        run.push(FakeRecord(0, b"busy", partition=1))
        gate.until_begun()
        run.push(FakeRecord(0, b"s"))
        waiting = run.until_event(PartitionStats, lambda partition: partition.partition == 0 and partition.head)
        gate.open()
        run.settled(2)
    assert waiting.head is not None
    assert (waiting.head.state, waiting.head.session_id, waiting.head.attempt) == ("waiting", "s", 1)
    assert waiting.head.state_seconds == waiting.head.age_seconds


def test_a_session_that_an_abandoned_handler_blocks_is_reported_as_blocked() -> None:
    """A second handler of the session must not run while one that outlived its drain still runs."""
    gate = Gate()
    with RunningConsumer(gate.handle, drain_timeout=0.1, **QUICK) as run:
        run.push(FakeRecord(0, b"s"))
        gate.until_begun()
        assert run.source.revoke(PARTITION).wait(60)
        assert run.source.assign(PARTITION).wait(60)
        head = until_head(run, "blocked")
        gate.open()
        until(lambda: run.commit_point() == 1)
    assert (head.session_id, head.offset, head.session_waiting) == ("s", 0, 0)
    assert gate.begun == [0, 0]
