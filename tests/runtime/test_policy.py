"""What becomes of a task whose attempt failed, as its handler's policy says; on threads and as coroutines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from processor import Processor, Reject, Retry, Task
from processor.telemetry.events import (
    ConsumerStats,
    HandlerResumed,
    HandlerSuspended,
    TaskDeadLettered,
    TaskRetrying,
)
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import KINDS
from tests.runtime.running import RunningConsumer
from tests.runtime.test_outputs import of_kind
from tests.support.until import until


class Declined(Exception): ...


def app_of(kind: str, function: Callable[[Task], Any], **keywords: Any) -> Processor:
    app = Processor()
    app.task("charge", **keywords)(of_kind(kind, function))
    return app


def charge(offset: int, session: bytes = b"s", value: bytes = b"") -> FakeRecord:
    return FakeRecord(offset, session, value, name="charge")


@pytest.mark.parametrize("kind", KINDS)
def test_only_errors_of_retry_on_are_tried_again_and_reject_on_wins(kind: str) -> None:
    attempts: list[tuple[bytes, int]] = []
    errors = {b"io": ConnectionError("away"), b"value": ValueError("bad"), b"pipe": BrokenPipeError("broken")}

    def fail(task: Task) -> None:
        attempts.append((task.payload, task.attempt))
        raise errors[task.payload]

    app = app_of(kind, fail, retry_on=OSError, reject_on=BrokenPipeError, max_attempts=2)
    with RunningConsumer(app) as run:
        run.push(*[charge(n, b"s%d" % n, value) for n, value in enumerate(errors)])
        run.settled(3)
    assert sorted(attempts) == [(b"io", 1), (b"io", 2), (b"pipe", 1), (b"value", 1)]
    letters = {letter.error_type: letter.attempt for letter in run.of(TaskDeadLettered)}
    assert letters == {"builtins.ConnectionError": 2, "builtins.ValueError": 1, "builtins.BrokenPipeError": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_has_delays_of_its_own(kind: str) -> None:
    def fail(task: Task) -> None:
        raise ConnectionError("away")

    app = app_of(kind, fail, backoff=0.01, backoff_max=0.015, max_attempts=3)
    with RunningConsumer(app, backoff=30.0, backoff_max=60.0, log_level="debug") as run:
        run.push(charge(0))
        run.settled(1)
    first, second = [event.retry_in_seconds for event in run.of(TaskRetrying)]
    assert 0.0075 <= first <= 0.0125
    assert second == pytest.approx(0.015, rel=0.26)


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_comes_after_its_own_time_and_is_one_of_the_attempts(kind: str) -> None:
    ran: list[int] = []

    def ask(task: Task) -> None:
        ran.append(task.attempt)
        raise Retry("the bank is busy", after=0.02)

    with RunningConsumer(app_of(kind, ask, reject_on=Exception, max_attempts=3), log_level="debug") as run:
        run.push(charge(0))
        run.settled(1)
    assert ran == [1, 2, 3]
    assert [event.retry_in_seconds for event in run.of(TaskRetrying)] == [0.02, 0.02]
    (letter,) = run.sink.sent
    assert letter.headers["dlq-error-type"] == b"processor.Retry"
    assert letter.headers["dlq-error-message"] == b"the bank is busy"
    assert letter.headers["dlq-attempts"] == b"3"


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_that_does_not_count_uses_no_attempt_up_and_keeps_the_order_of_its_session(kind: str) -> None:
    ran: list[tuple[int, int]] = []

    def ask_nine_times(task: Task) -> None:
        ran.append((task.offset, task.attempt))
        if task.offset == 0 and len(ran) < 10:
            raise Retry(after=0, counts=False)
        if task.offset == 0 and len(ran) < 11:
            raise Declined("an attempt like any other")

    with RunningConsumer(app_of(kind, ask_nine_times, max_attempts=2), workers=2) as run:
        run.push(charge(0), charge(1))
        until(lambda: run.commit_point() == 2)
    assert ran == [*[(0, 1)] * 10, (0, 2), (1, 1)]
    stats = run.of(ConsumerStats)[-1]
    assert (stats.failed_attempts, stats.retried, stats.dead_lettered) == (1, 10, 0)


def test_a_raised_reject_is_never_retried_by_the_rules() -> None:
    def reject(task: Task) -> None:
        raise Reject("never")

    with RunningConsumer(app_of("plain", reject, retry_on=Exception)) as run:
        run.push(charge(0))
        run.settled(1)
    assert [letter.attempt for letter in run.of(TaskDeadLettered)] == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_without_a_time_is_a_failed_attempt_with_that_reason(kind: str) -> None:
    def ask(task: Task) -> None:
        raise Retry(after=-5)

    with RunningConsumer(app_of(kind, ask, max_attempts=1)) as run:
        run.push(charge(0))
        run.settled(1)
    (letter,) = run.of(TaskDeadLettered)
    assert letter.error == "Retry(after=…) must be a number of seconds from 0 on, not -5"


# --- expires ----------------------------------------------------------------------------------------


def aged(offset: int, session: bytes, seconds: float, *headers: tuple[str, bytes]) -> MemoryRecord:
    """A task that was produced this many seconds ago."""
    produced_at = time.time_ns() // 1_000_000 - round(seconds * 1000)
    return MemoryRecord(PARTITION, offset, session, b"", [("task-name", b"charge"), *headers], timestamp=produced_at)


def in_seconds(seconds: float) -> tuple[str, bytes]:
    return "task-expires", b"%d" % (time.time_ns() // 1_000_000 + round(seconds * 1000))


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_is_too_old_for_its_handler_is_a_dead_letter_without_an_attempt(kind: str) -> None:
    ran: list[int] = []
    with RunningConsumer(app_of(kind, lambda task: ran.append(task.offset), expires=3600)) as run:
        run.cluster.append(
            aged(0, b"s", 7200.0),
            aged(1, b"s", 10.0),
            aged(2, b"s", 7200.0, in_seconds(3600.0)),
            aged(3, b"s", 10.0, in_seconds(-5.0)),
            aged(4, b"s", 7200.0, ("task-priority", b"3")),
        )
        until(lambda: run.commit_point() == 5)
    assert ran == [1, 2]
    letters = {letter.offset: letter for letter in run.of(TaskDeadLettered)}
    assert {(offset, letter.error_type, letter.attempt) for offset, letter in letters.items()} == {
        (offset, "processor.Expired", 0) for offset in (0, 3, 4)
    }
    assert letters[0].error.startswith("it had to begin within 3600 s of its timestamp, 20")
    assert "as its header task-expires says" in letters[3].error
    stats = run.of(ConsumerStats)[-1]
    assert (stats.expired, stats.failed_attempts, stats.handler_seconds_buckets["+Inf"]) == (3, 0, 2)


def test_a_task_expires_between_two_attempts_and_has_those_that_it_had() -> None:
    ran: list[int] = []

    def fail(task: Task) -> None:
        ran.append(task.attempt)
        raise ConnectionError("away")

    app = app_of("plain", fail, expires=3600, max_attempts=10_000, backoff=0.01)
    with RunningConsumer(app) as run:
        run.cluster.append(aged(0, b"s", 3600.0 - 0.5))
        until(lambda: run.commit_point() == 1)
    (letter,) = run.of(TaskDeadLettered)
    assert (letter.error_type, letter.attempt) == ("processor.Expired", len(ran))
    assert ran == list(range(1, len(ran) + 1))


def test_tasks_that_expire_while_their_handler_is_suspended_count_as_no_attempt_of_it() -> None:
    gone = threading.Event()
    ran: list[int] = []

    def need(task: Task) -> None:
        if not gone.is_set():
            raise Declined("the bank is away")
        ran.append(task.offset)

    app = app_of("plain", need, expires=3600, outage_on=Declined, concurrency=12, backoff=0.001, backoff_max=0.01)
    with RunningConsumer(app, workers=12) as run:
        run.cluster.append(*[aged(n, b"s%d" % n, 3600.0 - (0.5 if n < 30 else 600.0)) for n in range(40)])
        run.until_event(HandlerSuspended)
        until(lambda: len(run.sink.sent) == 30)
        assert not run.of(HandlerResumed)
        gone.set()
        run.settled(40)
    assert sorted(ran) == list(range(30, 40))
