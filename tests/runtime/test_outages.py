"""Handlers with `outage_on`: a dependency becomes unavailable, and then available again."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from processor import Processor, Reject, Retry, Task, TaskTimeout
from processor.engine.suspension import SUSPEND_AFTER
from processor.errors import DecodeError
from processor.runtime.ports import Content, Partition, Record
from processor.telemetry.events import (
    ConsumerStats,
    HandlerResumed,
    HandlerSuspended,
    TaskDeadLettered,
    TaskRetrying,
)
from tests.runtime.fakes import TOPIC, FakeCodec, FakeRecord
from tests.runtime.gate import KINDS
from tests.runtime.running import RunningConsumer
from tests.runtime.test_outputs import of_kind
from tests.support.until import until

QUICK = {"backoff": 0.001, "backoff_max": 0.01}


class Away(Exception): ...


class Database:
    """Unavailable until it is back. Records which tasks used it."""

    def __init__(self) -> None:
        self.is_back = threading.Event()
        self.refused: list[tuple[str, int]] = []
        self.done: dict[str, list[int]] = defaultdict(list)
        self.attempts: list[int] = []

    def handle(self, task: Task) -> None:
        self.attempts.append(task.attempt)
        if not self.is_back.is_set():
            self.refused.append((task.session_id, task.offset))
            raise Away("connection refused")
        self.done[task.session_id].append(task.offset)

    def count(self) -> int:
        """How many tasks are done."""
        return sum(map(len, list(self.done.values())))


def app_of(kind: str, function: Callable[[Task], Any], **keywords: Any) -> Processor:
    app = Processor()
    app.task("store", **(QUICK | {"outage_on": Away} | keywords))(of_kind(kind, function))
    return app


def store(offset: int, session: bytes, partition: int = 0) -> FakeRecord:
    return FakeRecord(offset, session, partition=partition, name="store")


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_causes_no_dead_letter_costs_few_attempts_and_ends_in_order(kind: str) -> None:
    database, workers, tasks = Database(), 8, 2000
    with RunningConsumer(app_of(kind, database.handle, backoff_max=0.2), workers=workers, max_attempts=1) as run:
        run.push(*[store(n, b"s%d" % (n % 300)) for n in range(tasks)])
        suspended = run.until_event(HandlerSuspended)
        until(lambda: run.consumer.pulse().suspended == ["store"])
        until(lambda: run.consumer.pulse().running == 0)
        database.is_back.set()
        run.settled(tasks)
        until(lambda: run.commit_point() == tasks)
    assert run.sink.sent == []
    assert len(database.attempts) == len(database.refused) + tasks
    assert set(database.attempts) == {1}, "an outage has used attempts up"
    resumed = run.of(HandlerResumed)
    assert len(resumed) == 1
    assert len(database.refused) <= SUSPEND_AFTER + workers + resumed[0].attempts
    assert all(offsets == sorted(offsets) for offsets in database.done.values())
    assert (suspended.handler, suspended.error_type) == ("store", "tests.runtime.test_outages.Away")
    assert suspended.error == resumed[0].error == "connection refused"


@pytest.mark.parametrize("kind", KINDS)
def test_while_it_is_suspended_one_task_tries_and_the_others_take_no_worker(kind: str) -> None:
    database = Database()
    with RunningConsumer(app_of(kind, database.handle), workers=4, stats_interval=0.1) as run:
        run.push(*[store(n, b"s%d" % n) for n in range(50)])
        run.until_event(HandlerSuspended)
        begun = len(database.refused)
        stats = run.until_event(ConsumerStats, lambda event: event.held > 40)
        until(lambda: len(database.refused) > begun + 20)
        assert run.consumer.pulse().running <= 1
        database.is_back.set()
        run.settled(50)
    assert stats.suspended_handlers == stats.suspensions == 1
    (held,) = stats.held_handlers
    assert (held.handler, held.error) == ("store", "connection refused")
    assert held.suspended_seconds is not None
    last = run.of(ConsumerStats)[-1]
    assert (last.suspended_handlers, last.held, last.held_handlers, last.suspensions) == (0, 0, [], 1)
    assert last.failed_attempts == last.retried == len(database.refused)


@pytest.mark.parametrize("kind", KINDS)
def test_another_handler_goes_on_in_the_same_sessions_as_far_as_their_order_allows(kind: str) -> None:
    database, others = Database(), defaultdict[str, list[int]](list)

    def note(task: Task) -> None:
        others[task.session_id].append(task.offset)

    app = app_of(kind, database.handle)
    app.task("note")(of_kind(kind, note))
    sessions, rounds = 20, 10
    with RunningConsumer(app, workers=4) as run:
        run.push(*[store(n, b"away%d" % n) for n in range(30)])
        run.until_event(HandlerSuspended)
        mixed, free = 30, 30 + 2 * sessions
        for n in range(sessions):  # each of these has a task that must wait, and behind it one that waits for it
            run.push(FakeRecord(mixed + n, b"mixed%d" % n, name="note"))
        for n in range(sessions):
            run.push(store(mixed + sessions + n, b"mixed%d" % n))
        run.push(*[FakeRecord(free + n, b"free%d" % (n % 7), name="note") for n in range(sessions * rounds)])
        behind = free + sessions * rounds
        run.push(*[FakeRecord(behind + n, b"mixed%d" % n, name="note") for n in range(sessions)])
        until(lambda: sum(map(len, list(others.values()))) == sessions + sessions * rounds)
        assert database.done == {}
        database.is_back.set()
        run.settled(behind + sessions)
    for n in range(sessions):
        assert others[f"mixed{n}"] == [mixed + n, behind + n]
        assert database.done[f"mixed{n}"] == [mixed + sessions + n]
    assert run.sink.sent == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_success_in_between_prevents_a_suspension_and_each_task_waits_by_itself(kind: str) -> None:
    tries: Counter[int] = Counter()

    def handle(task: Task) -> None:
        tries[task.offset] += 1
        if task.offset % 2 and tries[task.offset] <= 3:
            raise Away("one bad connection")

    app = app_of(kind, handle)
    with RunningConsumer(app, workers=1, max_attempts=1, log_level="debug") as run:
        for n in range(0, 40, 2):
            run.push(store(n, b"good"), store(n + 1, b"bad"))
        run.settled(40)
    assert run.sink.sent == []
    assert not run.of(HandlerSuspended)
    assert {tries[n] for n in range(1, 40, 2)} == {4}
    delays = [event.retry_in_seconds for event in run.of(TaskRetrying) if event.offset == 1]
    assert delays[0] < delays[1] < delays[2] <= 0.005, "the delay does not grow with the failures of the task"
    assert {event.attempt for event in run.of(TaskRetrying)} == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_reject_and_other_errors_count_as_ever_while_the_handler_is_suspended(kind: str) -> None:
    database = Database()
    errors: dict[int, Exception] = {}

    def handle(task: Task) -> None:
        if (error := errors.get(task.offset)) is not None:
            raise error
        database.handle(task)

    with RunningConsumer(app_of(kind, handle, max_attempts=2), workers=4) as run:
        run.push(*[store(n, b"s%d" % n) for n in range(30)])
        run.until_event(HandlerSuspended)
        errors[3], errors[4] = Reject("never"), ValueError("no")
        errors[5] = Retry(after=0, counts=True)
        until(lambda: len(run.of(TaskDeadLettered)) == 3)
        assert not run.of(HandlerResumed)
        database.is_back.set()
        run.settled(30)
    letters = {letter.offset: (letter.error_type, letter.attempt) for letter in run.of(TaskDeadLettered)}
    assert letters == {3: ("processor.Reject", 1), 4: ("builtins.ValueError", 2), 5: ("processor.Retry", 2)}
    assert database.count() == 27


def test_every_error_may_be_an_outage_and_a_reject_is_none() -> None:
    gone = threading.Event()

    def handle(task: Task) -> None:
        if task.offset:
            raise Reject("never")
        if not gone.is_set():
            raise TaskTimeout

    with RunningConsumer(app_of("plain", handle, outage_on=Exception), workers=1, max_attempts=1) as run:
        run.push(store(0, b"s"), store(1, b"other"))
        run.until_event(HandlerSuspended)
        gone.set()
        run.settled(2)
    assert [(letter.offset, letter.error_type) for letter in run.of(TaskDeadLettered)] == [(1, "processor.Reject")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_does_not_wait_for_an_unavailable_dependency_and_the_next_consumer_runs_all_in_order(kind: str) -> None:
    database = Database()
    with RunningConsumer(app_of(kind, database.handle, backoff_max=5.0), drain_timeout=20.0) as run:
        run.push(*[store(n, b"s%d" % (n % 40)) for n in range(200)])
        run.until_event(HandlerSuspended)
        assert run.stop().exit_code == 0
        assert run.commit_point() in (None, 0)
    database.is_back.set()
    with RunningConsumer(app_of(kind, database.handle), cluster=run.cluster) as run:
        run.settled(200)
    assert all(offsets == sorted(offsets) for offsets in database.done.values())
    assert database.count() == 200


@pytest.mark.parametrize("kind", KINDS)
def test_partitions_that_leave_while_it_is_suspended_take_their_tasks_with_them(kind: str) -> None:
    """The probe may be one of their tasks: then another task becomes the probe."""
    database = Database()
    with RunningConsumer(app_of(kind, database.handle, backoff_max=0.05), partitions=4, workers=4) as run:
        for partition in range(4):
            run.push(*[store(n, b"%d-%d" % (partition, n % 20), partition) for n in range(40)])
        run.until_event(HandlerSuspended)
        for partition in range(3):
            begun = len(database.refused)
            assert run.source.revoke(Partition(TOPIC, partition)).wait(60)
            until(lambda: len(database.refused) > begun + 1)  # noqa: B023 — called before the next round
        database.is_back.set()
        until(lambda: run.commit_point(3) == 40)
        assert {session[0] for session in database.done} == {"3"}
        assert all(offsets == sorted(offsets) for offsets in database.done.values())
        assert run.stop().exit_code == 0


def test_an_outage_that_comes_back_suspends_again_after_few_attempts() -> None:
    database, limit = Database(), 30
    gone_again = threading.Event()

    def handle(task: Task) -> None:
        if database.count() >= limit and not gone_again.is_set():
            gone_again.set()
            database.is_back.clear()
        database.handle(task)

    with RunningConsumer(app_of("plain", handle, backoff=0.01, backoff_max=0.05), workers=8) as run:
        run.push(*[store(n, b"s%d" % n) for n in range(1000)])
        run.until_event(HandlerSuspended)
        database.is_back.set()
        until(lambda: len(run.of(HandlerSuspended)) == 2)
        refused = len(database.refused)
        database.is_back.set()
        run.settled(1000)
    assert refused <= 2 * (SUSPEND_AFTER + 8) + sum(event.attempts for event in run.of(HandlerResumed)) + 8
    assert run.sink.sent == []


def test_a_probe_that_expires_on_its_way_gives_its_place_to_another() -> None:
    """The task becomes a dead letter before its handler is called."""
    database, first, released = Database(), threading.Event(), threading.Event()
    app = app_of("plain", database.handle)

    @app.task("blocks")
    def block(task: Task) -> None:
        first.set()
        assert released.wait(60)

    with RunningConsumer(app, workers=1, codec=ExpiringCodec()) as run:
        run.push(*[store(n, b"s%d" % n) for n in range(20)])
        run.until_event(HandlerSuspended)
        run.push(FakeRecord(20, b"blocks", name="blocks"))
        assert first.wait(60)
        run.codec.expired.update(range(15))  # type: ignore[attr-defined]  # of the codec below
        released.set()
        until(lambda: len(run.sink.sent) == 15)
        database.is_back.set()
        run.settled(21)
    assert database.count() == 5


class ExpiringCodec(FakeCodec):
    """Some tasks cannot be decoded any more."""

    def __init__(self) -> None:
        super().__init__()
        self.expired: set[int] = set()

    def decode(self, record: Record) -> Content:
        if record.offset() in self.expired:
            raise DecodeError("not any more")
        return super().decode(record)
