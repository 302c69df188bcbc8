"""Log lines about single tasks: all or a sample of them at debug, and a limited number of problems per second."""

from __future__ import annotations

import pytest

from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.runtime import task_log
from processor.runtime.task_log import PER_SECOND, in_sample
from processor.telemetry.events import ConsumerStats, TaskDeadLettered, TaskRetrying, TaskSucceeded
from tests.runtime.fakes import FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.support.until import until


def reject(task: Task) -> None:
    raise Reject("never")


def fail_once(task: Task) -> None:
    if task.attempt == 1:
        raise ConnectionError("not yet")


def sessions(count: int) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % (n % 7)) for n in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_success_is_logged_at_debug_and_none_above(kind: str) -> None:
    gate = Gate(lambda task: False)
    for level, logged in (("debug", 20), ("info", 0)):
        with RunningConsumer(gate.handler(kind), log_level=level) as run:
            run.push(*sessions(20))
            run.settled(20)
            assert run.stop().exit_code == 0
        successes = run.of(TaskSucceeded)
        assert sorted(event.offset for event in successes) == list(range(logged))
        assert all(event.handler_seconds >= 0 and event.attempt == 1 for event in successes)


def test_a_retry_is_logged_at_debug_alone() -> None:
    for level, logged in (("debug", 20), ("info", 0)):
        with RunningConsumer(fail_once, log_level=level) as run:
            run.push(*sessions(20))
            until(lambda: run.commit_point() == 20)
            assert run.stop().exit_code == 0
        assert len(run.of(TaskRetrying)) == logged
        assert {event.attempt for event in run.of(TaskSucceeded)} == ({2} if logged else set())


def test_a_sample_is_the_same_tasks_for_every_event_and_every_run() -> None:
    places: list[set[int]] = []
    for _ in range(2):
        with RunningConsumer(fail_once, log_level="debug", log_sample=0.25) as run:
            run.push(*sessions(400))
            until(lambda: run.commit_point() == 400)
            assert run.stop().exit_code == 0
        places += [{e.offset for e in run.of(TaskSucceeded)}, {e.offset for e in run.of(TaskRetrying)}]
    assert all(place == places[0] for place in places)
    assert 60 < len(places[0]) < 140


def test_a_larger_sample_has_what_is_in_a_smaller_one() -> None:
    shares = [{n for n in range(2000) if in_sample(FakeRecord(n, None), share)} for share in (0.0, 0.1, 0.5, 1.0)]
    assert shares[0] == set()
    assert shares[1] < shares[2] < shares[3] == set(range(2000))
    assert 150 < len(shares[1]) < 250


def test_a_sample_of_zero_logs_no_line_even_at_debug() -> None:
    with RunningConsumer(fail_once, log_level="debug", log_sample=0.0) as run:
        run.push(*sessions(20))
        until(lambda: run.commit_point() == 20)
    assert not run.of(TaskSucceeded)
    assert not run.of(TaskRetrying)


def test_problems_are_bounded_in_each_second_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that fails with every task would fill a disk. The clock stands still, then advances by a second."""
    now = 100.0
    monkeypatch.setattr(task_log, "monotonic", lambda: now)
    with RunningConsumer(reject) as run:
        run.push(*sessions(50))
        until(lambda: run.commit_point() == 50)
        until(lambda: len(run.of(TaskDeadLettered)) + run.consumer._log.suppressed == 50)  # a line follows a commit
        assert len(run.of(TaskDeadLettered)) == PER_SECOND
        now = 101.0
        run.push(*[FakeRecord(n, b"s") for n in range(50, 53)])
        until(lambda: run.commit_point() == 53)
        assert run.stop().exit_code == 0
    assert len(run.of(TaskDeadLettered)) == PER_SECOND + 3
    stats = run.of(ConsumerStats)[-1]
    assert (stats.suppressed_warnings, stats.dead_lettered) == (50 - PER_SECOND, 53)
