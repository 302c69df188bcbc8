"""What a producer asks for a task, in a real consumer: when it may begin, until when, and headers that say neither."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from processor.engine.record import Headers
from processor.handlers.task import Task
from processor.runtime import runner
from processor.runtime.desk import lending, set_aside, upkeep
from processor.runtime.ports import Partition
from processor.telemetry.events import ConsumerStats, PartitionStats, TaskDeadLettered
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, TOPIC
from tests.runtime.running import RunningConsumer
from tests.support.until import until

HOUR = 3600.0


def record(offset: int, key: bytes | None, **terms: object) -> MemoryRecord:
    """A record with a header for each of the terms: `priority`, `not_before`, `expires`."""
    headers: Headers = [(f"task-{name.replace('_', '-')}", str(value).encode()) for name, value in terms.items()]
    return MemoryRecord(PARTITION, offset, key, b"", headers)


def milliseconds(seconds_from_now: float) -> int:
    return int((time.time() + seconds_from_now) * 1000)


class Clock:
    """The machine's clock, which can be set."""

    def __init__(self) -> None:
        self.shift = 0.0

    def __call__(self) -> float:
        return time.time() + self.shift


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (lending, set_aside, upkeep, runner):
        monkeypatch.setattr(module, "time", clock)
    return clock


Seen = list[tuple[int, int, float]]
"""Offset, attempt, and when, in seconds since the epoch."""


def noting(seen: Seen) -> Callable[[Task], Any]:
    def handler(task: Task) -> None:
        seen.append((task.offset, task.attempt, time.time()))

    return handler


def noting_async(seen: Seen) -> Callable[[Task], Any]:
    async def handler(task: Task) -> None:
        seen.append((task.offset, task.attempt, time.time()))

    return handler


@pytest.mark.parametrize("noting_kind", [noting, noting_async])
def test_a_task_waits_for_its_time_with_its_session_only_and_without_a_worker(noting_kind: Any, clock: Clock) -> None:
    """The clock is set to a second before that time once the other session's task has run."""
    seen: Seen = []
    due = milliseconds(HOUR)
    with RunningConsumer(noting_kind(seen), workers=1) as run:
        run.push(record(0, b"a", not_before=due), record(1, b"a"), record(2, b"b"), record(3, None, not_before=due))
        until(lambda: seen)
        clock.shift = HOUR - 1.0
        until(lambda: run.commit_point() == 4)
        assert run.stop().exit_code == 0
    offsets = [offset for offset, _, _ in seen]
    assert offsets[0] == 2
    assert offsets.index(0) < offsets.index(1)
    assert min(at for offset, _, at in seen if offset != 2) + clock.shift >= due / 1000
    assert {attempt for _, attempt, _ in seen} == {1}


def test_many_more_delayed_sessions_than_workers_delay_no_other_task() -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen), workers=2, stats_interval=0.1) as run:
        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(300)])
        stats = run.until_event(ConsumerStats, lambda stats: stats.delayed_sessions == 300)
        run.push(*[record(300 + n, b"t%d" % n) for n in range(50)])
        until(lambda: len(seen) == 50)
        assert run.stop().exit_code == 0
    assert stats.next_delayed_seconds is not None
    assert HOUR - 60 < stats.next_delayed_seconds <= HOUR
    assert (stats.failed_attempts, stats.running) == (0, 0)
    assert run.commit_point() == 0


def test_a_stock_of_delayed_tasks_takes_no_room_from_other_tasks() -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen), max_in_flight=20, max_ahead=0, stats_interval=0.1) as run:
        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(20)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_sessions == 20)
        run.push(*[record(20 + n, b"t%d" % n) for n in range(100)])
        until(lambda: len(seen) == 100)
        assert run.stop().exit_code == 0
    assert run.commit_point() == 0


def test_delayed_tasks_that_fill_their_room_are_admitted_no_further_until_their_time_comes(clock: Clock) -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen), max_in_flight=20, max_ahead=0, stats_interval=0.1) as run:
        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(60)], record(60, b"last"))
        stats = run.until_event(ConsumerStats, lambda stats: stats.delayed_sessions == 40)
        clock.shift = HOUR
        until(lambda: run.commit_point() == 61)
        assert run.stop().exit_code == 0
    assert stats.in_flight == 40
    assert max(stats.in_flight for stats in run.of(ConsumerStats)) <= 40


def test_the_statistics_name_the_waiting_task_and_its_wait() -> None:
    with RunningConsumer(noting([]), stats_interval=0.1) as run:
        run.push(record(0, b"a", not_before=milliseconds(HOUR)))
        stats = run.until_event(PartitionStats, lambda stats: stats.head and stats.head.state == "delayed")
        assert run.stop().exit_code == 0
    assert stats.delayed == 1
    assert stats.head is not None
    assert HOUR - 60 < (stats.head.retry_in_seconds or 0) <= HOUR


def test_a_clock_that_is_set_forward_brings_tasks_to_their_time(clock: Clock) -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen), stats_interval=0.1) as run:
        run.push(record(0, b"a", not_before=milliseconds(HOUR)))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_sessions == 1)
        clock.shift = HOUR
        until(lambda: run.commit_point() == 1)


def test_after_a_clock_is_set_back_tasks_wait_for_the_time_that_it_shows(clock: Clock) -> None:
    seen: Seen = []
    clock.shift = HOUR
    with RunningConsumer(noting(seen), stats_interval=0.1) as run:
        run.push(record(0, b"a", not_before=milliseconds(HOUR + 30)))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_sessions == 1)
        clock.shift = 0.0
        stats = run.until_event(ConsumerStats, lambda stats: (stats.next_delayed_seconds or 0) > HOUR / 2)
        run.push(record(1, b"b"))
        until(lambda: [offset for offset, _, _ in seen] == [1])
        assert run.stop().exit_code == 0
    assert stats.delayed_sessions == 1


def test_an_expired_task_is_a_dead_letter_without_an_attempt_and_its_session_goes_on() -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen)) as run:
        run.push(record(0, b"a", expires=milliseconds(-1)), record(1, b"a", expires=milliseconds(HOUR)))
        until(lambda: run.commit_point() == 2)
        assert run.stop().exit_code == 0
    (letter,) = run.of(TaskDeadLettered)
    assert (letter.offset, letter.attempt, letter.error_type) == (0, 0, "processor.Expired")
    assert "task-expires" in letter.error
    assert letter.traceback is None
    assert [offset for offset, _, _ in seen] == [1]
    stats = run.of(ConsumerStats)[-1]
    assert (stats.expired, stats.dead_lettered, stats.failed_attempts) == (1, 1, 0)
    assert stats.handler_seconds_buckets["+Inf"] == 1, "what expired counts as an attempt"


def test_a_retry_that_would_start_too_late_is_a_dead_letter_with_its_number_of_attempts(clock: Clock) -> None:
    attempts: list[int] = []

    def handler(task: Task) -> None:
        attempts.append(task.attempt)
        if task.attempt == 2:
            clock.shift = HOUR  # a handler that has begun may end after the task has expired
        raise ConnectionError("not yet")

    with RunningConsumer(handler, max_attempts=5) as run:
        run.push(record(0, b"a", expires=milliseconds(60)))
        until(lambda: run.commit_point() == 1)
        assert run.stop().exit_code == 0
    (letter,) = run.of(TaskDeadLettered)
    assert (letter.attempt, letter.error_type) == (2, "processor.Expired")
    assert attempts == [1, 2]
    assert run.of(ConsumerStats)[-1].failed_attempts == 2


def test_a_task_that_expires_before_it_may_begin_is_a_dead_letter_when_it_expires() -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen)) as run:
        run.push(record(0, b"a", not_before=milliseconds(HOUR), expires=milliseconds(0.3)))
        until(lambda: run.commit_point() == 1)
        assert run.stop().exit_code == 0
    assert [letter.error_type for letter in run.of(TaskDeadLettered)] == ["processor.Expired"]
    assert not seen


@pytest.mark.parametrize(
    "terms", [{"priority": "high"}, {"not_before": "tomorrow"}, {"expires": "2026-11-29T08:30"}, {"priority": 11}]
)
def test_a_header_that_cannot_be_read_is_a_dead_letter_without_an_attempt(terms: dict[str, Any]) -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen)) as run:
        run.push(record(0, b"a"), record(1, b"a", **terms), record(2, b"a"))
        until(lambda: run.commit_point() == 3)
        assert run.stop().exit_code == 0
    (letter,) = run.of(TaskDeadLettered)
    assert (letter.offset, letter.attempt, letter.error_type) == (1, 0, "processor.InvalidHeader")
    assert [offset for offset, _, _ in seen] == [0, 2]
    (sent,) = run.sink.sent
    assert sent.headers["dlq-attempts"] == b"0"
    stats = run.of(ConsumerStats)[-1]
    assert (stats.expired, stats.dead_lettered, stats.failed_attempts) == (0, 1, 0)


def test_a_stop_waits_for_no_task_whose_time_has_not_come_and_commits_what_is_done() -> None:
    seen: Seen = []
    with RunningConsumer(noting(seen), drain_timeout=60.0) as run:
        run.push(record(0, b"a"), record(1, b"b", not_before=milliseconds(HOUR)), record(2, b"c"))
        until(lambda: len(seen) == 2)
        began = time.monotonic()
        assert run.stop().exit_code == 0
        assert time.monotonic() - began < 30.0
    assert run.commit_point() == 1
    assert run.sink.sent == []


def test_urgent_sessions_of_all_partitions_run_before_what_waits_already() -> None:
    order: list[tuple[int, int]] = []
    may_go_on = threading.Event()

    def handler(task: Task) -> None:
        order.append((task.partition, task.offset))
        may_go_on.wait(30)

    with RunningConsumer(handler, partitions=2, workers=1, stats_interval=0.1) as run:
        run.push(record(0, b"first"))
        until(lambda: order == [(0, 0)])
        run.push(
            *[record(1 + n, b"s%d" % n) for n in range(20)],
            record(21, b"u", priority=5),
            record(22, b"s19", priority=9),
        )
        run.push(MemoryRecord(Partition(TOPIC, 1), 0, b"v", b"", [("task-priority", b"7")]))
        run.until_event(ConsumerStats, lambda stats: stats.urgent_sessions == 3)
        may_go_on.set()
        until(lambda: len(order) == 24)
        assert run.stop().exit_code == 0
    assert order[1:5] == [(0, 20), (0, 22), (1, 0), (0, 21)], "an urgent task lifts its session, and no task overtakes"
    assert sorted(order[5:]) == [(0, offset) for offset in range(1, 20)]
