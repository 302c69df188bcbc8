"""What a consumer tells of itself."""

from __future__ import annotations

import threading
import time
from typing import Any

from processor.handlers.task import Reject, Task
from processor.telemetry.events import ConsumerStats, HeadOfLine, PartitionStats
from tests.runtime.fakes import FakeRecord
from tests.runtime.gate import Gate
from tests.runtime.running import RunningConsumer
from tests.support.until import until

QUICK: dict[str, Any] = {"stats_interval": 0.1}


def head_of(run: RunningConsumer) -> HeadOfLine | None:
    reports = run.of(PartitionStats)
    return reports[-1].head if reports else None


def until_head(run: RunningConsumer, state: str) -> HeadOfLine:
    until(lambda: (head := head_of(run)) is not None and head.state == state)
    head = head_of(run)
    assert head is not None
    return head


def test_a_running_task_that_holds_its_partition_is_named_with_what_waits_behind_it() -> None:
    gate = threading.Event()

    def handler(task: Task) -> None:
        if task.session_id == "slow":
            gate.wait(20)

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


def test_a_parked_task_tells_its_error_and_when_it_is_tried_again() -> None:
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


def test_a_dead_letter_that_is_not_taken_is_told_with_the_brokers_reason() -> None:
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
        time.sleep(0.05 if task.offset < 10 else 0.0)  # time is what is tested

    with RunningConsumer(handler, **QUICK) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(10)])
        run.settled(10)
        until(lambda: any(stats.handler_p50_seconds for stats in run.of(ConsumerStats)))
        slow = next(stats for stats in run.of(ConsumerStats) if stats.handler_p50_seconds)
        assert slow.handler_p50_seconds is not None
        assert slow.handler_max_seconds is not None
        assert 0.04 <= slow.handler_p50_seconds <= slow.handler_max_seconds < 5
        until(lambda: run.of(ConsumerStats)[-1].handler_p50_seconds is None)
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(10, 20)])
        run.settled(20)
        assert run.stop().exit_code == 0
    buckets = run.of(ConsumerStats)[-1].handler_seconds_buckets
    assert buckets["+Inf"] == 20
    assert buckets["0.025"] == 10


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
