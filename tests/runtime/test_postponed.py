"""Tasks whose values cannot be decoded yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from processor.handlers.task import Task
from processor.telemetry.events import ConsumerStats, TaskDeferred
from tests.runtime.fakes import UNREADABLE, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.until import until


def noting(seen: list[tuple[str, int, int]]) -> Callable[[Task], Any]:
    def handler(task: Task) -> None:
        seen.append((task.session_id, task.offset, task.attempt))

    return handler


def noting_async(seen: list[tuple[str, int, int]]) -> Callable[[Task], Any]:
    async def handler(task: Task) -> None:
        seen.append((task.session_id, task.offset, task.attempt))

    return handler


@pytest.mark.parametrize("noting_kind", [noting, noting_async])
def test_a_task_that_cannot_be_read_yet_waits_with_its_session_only_and_uses_no_attempt_up(noting_kind: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    with RunningConsumer(noting_kind(seen), max_attempts=1, workers=2) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b", UNREADABLE), FakeRecord(2, b"b"), FakeRecord(3, b"c"))
        until(lambda: run.codec.put_off > 5)
        until(lambda: len(seen) == 2)
        until(lambda: run.commit_point() == 1)
        run.codec.ready.set()
        until(lambda: run.commit_point() == 4)
        assert run.stop().exit_code == 0
    stats = run.of(ConsumerStats)[-1]
    assert (stats.failed_attempts, stats.retried, stats.dead_lettered) == (0, 0, 0)
    assert stats.handler_seconds_buckets["+Inf"] == 4, "what was put off counts as an attempt"
    assert sorted(seen[:2]) == [("a", 0, 1), ("c", 3, 1)]
    assert seen[2:] == [("b", 1, 1), ("b", 2, 1)]
    assert run.sink.sent == []


def test_many_more_sessions_than_workers_may_wait_and_those_that_can_be_read_run() -> None:
    seen: list[tuple[str, int, int]] = []
    with RunningConsumer(noting(seen), workers=2) as run:
        run.push(*[FakeRecord(n, b"s%d" % n, UNREADABLE) for n in range(200)])
        until(lambda: run.codec.put_off > 200)
        run.push(*[FakeRecord(200 + n, b"s%d" % (200 + n)) for n in range(50)])
        until(lambda: len(seen) == 50)
        run.codec.ready.set()
        until(lambda: run.commit_point() == 250)
    assert {attempt for _, _, attempt in seen} == {1}


def test_a_stop_does_not_wait_for_what_cannot_be_read_and_commits_what_is_done() -> None:
    seen: list[tuple[str, int, int]] = []
    with RunningConsumer(noting(seen), drain_timeout=20.0) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b", UNREADABLE), FakeRecord(2, b"c"))
        until(lambda: len(seen) == 2 and run.codec.put_off)
        began = time.monotonic()
        assert run.stop().exit_code == 0
        assert time.monotonic() - began < 10.0
    assert run.commit_point() == 1
    assert run.sink.sent == []


def test_a_failed_attempt_is_remembered_over_a_time_in_which_the_task_cannot_be_read() -> None:
    seen: list[int] = []
    failed = threading.Event()

    def handler(task: Task) -> None:
        seen.append(task.attempt)
        if task.attempt == 1:
            run.codec.ready.clear()
            failed.set()
            raise ConnectionError("not yet")

    with RunningConsumer(handler, max_attempts=2) as run:
        run.codec.ready.set()
        run.push(FakeRecord(0, b"a", UNREADABLE))
        until(failed.is_set)
        until(lambda: run.codec.put_off > 2)
        run.codec.ready.set()
        until(lambda: run.commit_point() == 1)
    assert seen == [1, 2]


@pytest.mark.parametrize(("level", "is_logged"), [("debug", True), ("info", False)])
def test_each_deferral_is_logged_at_debug_and_none_above(level: str, is_logged: bool) -> None:
    with RunningConsumer(noting([]), log_level=level) as run:
        run.push(FakeRecord(0, b"a", UNREADABLE))
        until(lambda: run.codec.put_off > 2)
        run.codec.ready.set()
        until(lambda: run.commit_point() == 1)
    assert bool(run.of(TaskDeferred)) is is_logged
    assert all((event.offset, event.error) == (0, "its schema is away") for event in run.of(TaskDeferred))
