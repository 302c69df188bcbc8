"""`processor control cancel`, applied by a real consumer on the in-memory Kafka, wherever the task is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from processor import Processor, Retry, Task, TaskCancelled
from processor.engine.cancels import Cancel, Cancels, CancelTarget
from processor.engine.pauses import ALL, Target
from processor.handlers.joins import Join
from processor.handlers.links import Planned, write_plan
from processor.runtime import settlement
from processor.runtime.cancelled import cancel_of
from processor.runtime.commands import key_of, value_of
from processor.runtime.ports import Headers
from processor.telemetry import events
from processor.telemetry.events import ConsumerStats, ControlCancelEnded, ControlCancelled, TaskDeadLettered
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, POISON, PRODUCED_AT, UNREADABLE, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_control import FakeFeed, obeying
from tests.runtime.test_follow_ups import SHIP
from tests.runtime.test_joins import JOIN, arrival, marker
from tests.runtime.test_outputs import of_kind
from tests.support.until import until

NOW = PRODUCED_AT
"""All tasks here were produced before the command, unless a test says otherwise."""

HOUR = 3_600_000
SESSION = CancelTarget("session", "s")


class Commands(FakeFeed):
    """A control topic, and what `processor control cancel` writes to it."""

    def __init__(self, *cancelled: CancelTarget) -> None:
        super().__init__()
        self._cancelled = cancelled

    def start(self, apply: Callable[[bytes | None, bytes | None], None]) -> None:
        super().start(apply)
        for target in self._cancelled:
            self.cancel(target)

    def cancel(self, target: CancelTarget, *, since: int = NOW, until: int | None = None, **options: Any) -> None:
        ends = until if until is not None else int(time.time() * 1000) + HOUR
        self.apply(key_of("g", target), value_of(Cancel(since, "ann@host", ends, **options)))

    def withdraw(self, target: CancelTarget) -> None:
        self.apply(key_of("g", target), None)


def cancelled(run: RunningConsumer) -> list[int]:
    """The offsets of the tasks that were logged as cancelled."""
    return [event.offset for event in run.of(events.TaskCancelled)]


def wait_settled(run: RunningConsumer, count: int) -> None:
    """Waits until this many tasks are settled and committed."""
    run.settled(count)
    until(lambda: run.commit_point() == count)


def of_s_and_u(count: int) -> list[FakeRecord]:
    return [FakeRecord(n, b"su"[n % 2 : n % 2 + 1], name=("charge", "ship")[n // 2 % 2]) for n in range(count)]


def app_of(function: Callable[[Task], Any], kind: str = "plain", **policy: Any) -> Processor:
    app = Processor()
    for name in ("charge", "ship"):
        app.task(name, **policy)(of_kind(kind, function))
    return app


# --- what waits for a worker ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (SESSION, {0, 2, 4, 6, 8}),
        (CancelTarget("session", "s", "ship"), {2, 6}),
        (CancelTarget("task", "t-0-4"), {4}),
        (CancelTarget("session", "v"), set()),
    ],
)
def test_a_task_cancelled_before_the_start_is_settled_without_running(
    kind: str, target: CancelTarget, expected: set[int]
) -> None:
    ran: list[int] = []
    with obeying(app_of(lambda task: ran.append(task.offset), kind), Commands(target)) as run:
        run.push(*of_s_and_u(10))
        wait_settled(run, 10)
    assert sorted(ran) == sorted(set(range(10)) - expected)
    assert cancelled(run) == sorted(expected)
    stats = run.of(ConsumerStats)[-1]
    assert (stats.cancelled, stats.succeeded, stats.dead_lettered) == (len(expected), 10 - len(expected), 0)
    assert [event.by for event in run.of(ControlCancelled)] == ["ann@host"]
    assert run.sink.sent == []


def test_a_session_is_cancelled_up_to_the_command_and_goes_on_behind_it() -> None:
    ran, feed = list[int](), Commands()
    with obeying(lambda task: ran.append(task.offset), feed) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.cancel(SESSION, since=NOW)
        run.push(*[MemoryRecord(PARTITION, n, b"s", b"", timestamp=NOW + n - 5) for n in range(10)])
        wait_settled(run, 10)
    assert ran == [6, 7, 8, 9]
    assert cancelled(run) == [0, 1, 2, 3, 4, 5]


def test_what_is_replayed_after_its_cancellation_runs_and_what_is_sent_otherwise_does_not() -> None:
    ran, feed = list[int](), Commands()
    own_id: Headers = [("task-id", b"order-815")]
    replayed: Headers = [*own_id, ("dlq-replays", b"1")]
    with obeying(lambda task: ran.append(task.offset), feed) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.cancel(CancelTarget("task", "order-815"), since=NOW)
        run.push(
            MemoryRecord(PARTITION, 0, b"s", b"", own_id, timestamp=NOW - 1),
            MemoryRecord(PARTITION, 1, b"s", b"", own_id, timestamp=NOW + 1),
            MemoryRecord(PARTITION, 2, b"s", b"", replayed, timestamp=NOW - 1),
            MemoryRecord(PARTITION, 3, b"s", b"", replayed, timestamp=NOW + 1),
        )
        wait_settled(run, 4)
    assert ran == [3]
    assert cancelled(run) == [0, 1, 2]


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_cancelled_tasks_become_dead_letters_if_the_command_asks_for_it(delivery: str) -> None:
    feed = Commands()
    with obeying(app_of(lambda task: None), feed, delivery=delivery) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.cancel(SESSION, dead_letter=True)
        run.push(*of_s_and_u(4))
        wait_settled(run, 4)
        until(lambda: len(run.cluster.records("t.dlq")) == 2)
    letters = [dict(letter.headers() or ()) for letter in run.cluster.records("t.dlq")]
    assert [letter["dlq-error-type"] for letter in letters] == [b"processor.Cancelled"] * 2
    assert [letter["dlq-error-message"] for letter in letters] == [b"cancelled by ann@host"] * 2
    assert [(letter["dlq-offset"], letter["dlq-attempts"]) for letter in letters] == [(b"0", b"0"), (b"2", b"0")]
    assert [event.offset for event in run.of(TaskDeadLettered)] == [0, 2]
    stats = run.of(ConsumerStats)[-1]
    assert (stats.cancelled, stats.succeeded, stats.dead_lettered, stats.failed_attempts) == (2, 2, 2, 0)


def test_a_record_that_cannot_be_decoded_is_a_dead_letter_for_that_cancelled_or_not() -> None:
    with obeying(lambda task: None, Commands(SESSION)) as run:
        run.push(FakeRecord(0, b"s", POISON))
        wait_settled(run, 1)
    (letter,) = run.sink.sent
    assert letter.headers["dlq-error-type"] == b"processor.errors.DecodeError"


# --- what waits for something else ------------------------------------------------------------------


def test_a_task_that_waits_for_its_retry_is_settled_and_the_next_one_begins_at_once() -> None:
    ran, feed = list[int](), Commands()

    def handler(task: Task) -> None:
        ran.append(task.offset)
        if task.offset == 0:
            raise Retry(after=3600)

    with obeying(handler, feed) as run:
        run.push(FakeRecord(0, b"s"), FakeRecord(1, b"s"))
        run.until_event(ConsumerStats)
        until(lambda: ran == [0] and run.consumer.pulse().running == 0)
        feed.cancel(CancelTarget("task", "t-0-0"), dead_letter=True)
        wait_settled(run, 2)
    assert ran == [0, 1]
    (letter,) = run.sink.sent
    assert letter.headers["dlq-attempts"] == b"1"


def test_a_delayed_task_is_settled_long_before_its_time() -> None:
    ran, feed = list[int](), Commands()
    tomorrow: Any = [("task-not-before", str(int(time.time() * 1000) + 24 * HOUR).encode())]
    with obeying(lambda task: ran.append(task.offset), feed, stats_interval=0.1) as run:
        run.push(MemoryRecord(PARTITION, 0, b"s", b"", tomorrow, timestamp=NOW), FakeRecord(1, b"s"))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_sessions == 1)
        feed.cancel(CancelTarget("task", "t-0-0"))
        wait_settled(run, 2)
        # a task that comes after the command is not delayed either
        feed.cancel(CancelTarget("task", "t-0-2"))
        run.push(MemoryRecord(PARTITION, 2, b"s", b"", tomorrow, timestamp=NOW), FakeRecord(3, b"s"))
        wait_settled(run, 4)
    assert (ran, cancelled(run)) == ([1, 3], [0, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_waits_for_the_concurrency_of_its_handler_is_settled(kind: str) -> None:
    gate, feed = Gate(lambda task: task.session_id == "first"), Commands()
    app = Processor()
    app.task("charge", concurrency=1)(gate.handler(kind))
    with obeying(app, feed, stats_interval=0.1) as run:
        run.push(FakeRecord(0, b"first", name="charge"))
        gate.until_begun()
        run.push(*[FakeRecord(n, b"s%d" % n, name="charge") for n in (1, 2, 3)])
        run.until_event(ConsumerStats, lambda stats: stats.held == 3)
        feed.cancel(CancelTarget("session", "s2"))
        run.until_event(ConsumerStats, lambda stats: stats.held == 2 and stats.cancelled == 1)
        gate.open()
        gate.until_passed(3)
        wait_settled(run, 4)
    assert (gate.passed, cancelled(run)) == ([0, 1, 3], [2])


def test_tasks_of_a_suspended_handler_are_settled_while_its_dependency_is_unavailable() -> None:
    feed, is_away = Commands(), [True]
    app = Processor()

    @app.task("charge", outage_on=ConnectionError, backoff=0.01, backoff_max=3600)
    def charge(task: Task) -> None:
        if is_away:
            raise ConnectionError("away")

    with obeying(app, feed, stats_interval=0.1) as run:
        run.push(*[FakeRecord(n, b"s%d" % n, name="charge") for n in range(40)])
        run.until_event(ConsumerStats, lambda stats: stats.suspended_handlers == 1 and stats.held >= 30)
        for n in range(40):
            feed.cancel(CancelTarget("session", f"s{n}"))
        wait_settled(run, 40)
    assert run.of(ConsumerStats)[-1].cancelled == 40


@pytest.mark.parametrize("target", [SESSION, CancelTarget("session", "s", "charge")])
def test_a_paused_session_is_settled_while_it_is_paused(target: CancelTarget) -> None:
    ran, feed = list[int](), Commands()
    with obeying(app_of(lambda task: ran.append(task.offset)), feed, stats_interval=0.1) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.pause(Target("session", "s"))
        run.push(*[FakeRecord(n, b"s", name="charge") for n in range(300)])
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 300 and stats.running == 0)
        feed.cancel(target)
        wait_settled(run, 300)
        run.push(*[FakeRecord(300 + n, b"s", name="charge") for n in range(5)])  # produced before, fetched later
        wait_settled(run, 305)
    assert ran == []


def test_a_task_whose_name_is_paused_is_settled() -> None:
    ran, feed = list[int](), Commands()
    with obeying(app_of(lambda task: ran.append(task.offset)), feed) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.pause(Target("name", "charge"))
        run.push(FakeRecord(0, b"s", name="charge"), FakeRecord(1, b"s", name="ship"))
        feed.cancel(CancelTarget("task", "t-0-0"))
        wait_settled(run, 2)
    assert ran == [1]


def test_a_task_that_waits_for_its_schema_is_settled_by_its_session() -> None:
    feed = Commands()
    with obeying(lambda task: None, feed) as run:
        run.push(FakeRecord(0, b"s", UNREADABLE))
        until(lambda: run.codec.put_off)
        feed.cancel(SESSION)
        wait_settled(run, 1)
    assert cancelled(run) == [0]


# --- what runs --------------------------------------------------------------------------------------


class Endless:
    """Handlers that run until they are interrupted."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.raised: list[str] = []

    def plain(self, task: Task) -> None:
        try:
            self.begun.append(task.offset)
            while task.session_id == "s":
                time.sleep(0.001)
        except BaseException as error:
            self.raised.append(type(error).__name__)
            raise

    async def asynchronous(self, task: Task) -> None:
        try:
            self.begun.append(task.offset)
            while task.session_id == "s":
                await asyncio.sleep(0.001)
        except BaseException as error:
            self.raised.append(type(error).__name__)
            raise

    def app(self, kind: str, **policy: Any) -> Processor:
        """`mixed` is an async handler in an application with a plain one: a worker thread waits for its coroutine."""
        app = Processor()
        app.task("charge", **policy)(self.plain if kind == "plain" else self.asynchronous)
        if kind == "mixed":
            app.task("other")(self.plain)
        return app


@pytest.mark.parametrize("policy", [{}, {"concurrency": 2}])
@pytest.mark.parametrize(
    ("kind", "error"), [("plain", "TaskCancelled"), ("async", "CancelledError"), ("mixed", "CancelledError")]
)
def test_a_running_attempt_is_interrupted_and_is_not_repeated(kind: str, error: str, policy: dict[str, int]) -> None:
    endless, feed = Endless(), Commands()
    with obeying(endless.app(kind, **policy), feed) as run:
        run.push(*[FakeRecord(n, key, name="charge") for n, key in enumerate((b"s", b"u", b"s", b"u"))])
        until(lambda: 0 in endless.begun)
        feed.cancel(CancelTarget("task", "t-0-0"))
        until(lambda: 2 in endless.begun)
        feed.cancel(CancelTarget("session", "s"), dead_letter=True)
        wait_settled(run, 4)
        assert run.stop().exit_code == 0
    assert endless.raised == [error, error]
    assert sorted(endless.begun) == [0, 1, 2, 3]
    assert [(event.offset, event.running) for event in run.of(events.TaskCancelled)] == [(0, True), (2, True)]
    (letter,) = run.sink.sent
    assert letter.headers["dlq-attempts"] == b"1"
    stats = run.of(ConsumerStats)[-1]
    assert (stats.cancelled, stats.succeeded, stats.retried, stats.timed_out) == (2, 2, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_that_fails_while_its_task_is_cancelled_is_not_repeated(kind: str) -> None:
    begun, feed = list[int](), Commands()

    def refuse(task: Task) -> None:
        try:
            begun.append(task.offset)
            while True:
                time.sleep(0.001)
        except TaskCancelled:
            raise OSError("interrupted") from None

    async def refuse_async(task: Task) -> None:
        try:
            begun.append(task.offset)
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("interrupted") from None

    with obeying(refuse if kind == "plain" else refuse_async, feed) as run:
        run.push(FakeRecord(0, b"s"))
        until(lambda: begun)
        feed.cancel(SESSION)
        wait_settled(run, 1)
    assert (begun, cancelled(run)) == ([0], [0])


def test_an_attempt_that_fails_when_its_cancellation_is_withdrawn_is_repeated_or_cancelled_but_no_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cancellation is withdrawn right after it was found to cover the failed task."""
    gate, feed, begun = Gate(), Commands(), list[int]()

    def fail_once(task: Task) -> None:
        begun.append(task.attempt)
        if len(begun) == 1:
            gate.handle(task)
            raise OSError("once")

    def found_and_withdrawn(cancels: Cancels, task: Task) -> Cancel | None:
        found = cancel_of(cancels, task)
        if found is not None:
            feed.withdraw(SESSION)
        return found

    with obeying(fail_once, feed) as run:
        run.push(FakeRecord(0, b"s"))
        gate.until_begun()
        monkeypatch.setattr(settlement, "cancel_of", found_and_withdrawn)
        feed.cancel(SESSION)
        gate.open()
        wait_settled(run, 1)
    assert not run.of(TaskDeadLettered)
    assert begun == [1, 2] or cancelled(run) == [0]


def test_a_cancelled_handler_that_succeeds_counts_as_a_success() -> None:
    began, feed = list[int](), Commands()

    def insist(task: Task) -> bytes:
        try:
            began.append(task.offset)
            while True:
                time.sleep(0.001)
        except TaskCancelled:
            return b"done"

    with obeying(insist, feed, results_topic="r") as run:
        run.push(FakeRecord(0, b"s"))
        until(lambda: began)
        feed.cancel(SESSION)
        wait_settled(run, 1)
    assert cancelled(run) == []
    assert [sent.value for sent in run.sink.sent] == [b"done"]


def test_the_tasks_behind_a_running_one_are_taken_back_from_its_worker() -> None:
    gate, feed = Gate(lambda task: task.offset == 0), Commands()
    with obeying(gate.handle, feed, workers=1) as run:
        run.push(*[FakeRecord(n, b"s") for n in range(20)])
        gate.until_begun()
        for n in range(1, 20):
            feed.cancel(CancelTarget("task", f"t-0-{n}"))
        gate.open()
        wait_settled(run, 20)
    assert gate.passed == [0]
    assert run.of(ConsumerStats)[-1].cancelled == 19


# --- batches ------------------------------------------------------------------------------------------


def batches(calls: list[list[int]], *, wait: float, size: int = 10) -> Processor:
    app = Processor()

    @app.batch("charge", size=size, wait=wait)
    def charge(batch: list[Task]) -> None:
        calls.append([task.offset for task in batch])

    return app


def test_gathered_tasks_that_are_cancelled_leave_their_batch() -> None:
    calls, feed = list[list[int]](), Commands()
    with obeying(batches(calls, wait=3600.0, size=5), feed, stats_interval=0.1) as run:
        run.push(*[FakeRecord(n, b"s%d" % n, name="charge") for n in range(4)])
        run.until_event(ConsumerStats, lambda stats: stats.in_flight == 4 and stats.running == 4)
        feed.cancel(CancelTarget("session", "s1"))
        run.until_event(ConsumerStats, lambda stats: stats.cancelled == 1)
        run.push(*[FakeRecord(n, b"s%d" % n, name="charge") for n in (4, 5)])
        wait_settled(run, 6)
    assert sorted(chain(*calls)) == [0, 2, 3, 4, 5]


def test_a_batch_takes_the_tasks_of_a_session_up_to_a_cancelled_one() -> None:
    calls = list[list[int]]()
    with obeying(batches(calls, wait=0.01), Commands(CancelTarget("task", "t-0-2"))) as run:
        run.push(*[FakeRecord(n, b"s", name="charge") for n in range(5)])
        wait_settled(run, 5)
    assert [*chain(*calls)] == [0, 1, 3, 4]
    assert all(not (1 in call and 3 in call) for call in calls)


def test_a_running_batch_is_interrupted_once_all_of_its_tasks_are_cancelled() -> None:
    begun, feed = list[list[int]](), Commands()
    app = Processor()

    @app.batch("charge", size=2, wait=3600.0)
    def charge(batch: list[Task]) -> None:
        begun.append([task.offset for task in batch])
        while batch[0].offset == 0:
            time.sleep(0.001)

    with obeying(app, feed) as run:
        run.push(FakeRecord(0, b"s", name="charge"), FakeRecord(1, b"u", name="charge"))
        until(lambda: begun)
        feed.cancel(SESSION)
        run.until_event(ControlCancelled)
        feed.cancel(CancelTarget("session", "u"))
        wait_settled(run, 2)
        assert run.of(ConsumerStats)[-1].retried == 0
    assert begun == [[0, 1]]
    assert sorted(cancelled(run)) == [0, 1]


def test_a_task_that_is_cancelled_in_a_batch_that_fails_is_not_attempted_again() -> None:
    gate, feed, calls = Gate(), Commands(), list[list[int]]()
    app = Processor()

    @app.batch("charge", size=2, wait=3600.0)
    def charge(batch: list[Task]) -> None:
        calls.append([task.offset for task in batch])
        if len(calls) == 1:
            gate.handle(batch[0])
            raise OSError("for both")

    with obeying(app, feed) as run:
        run.push(FakeRecord(0, b"s", name="charge"), FakeRecord(1, b"u", name="charge"))
        gate.until_begun()
        feed.cancel(SESSION)
        gate.open()
        wait_settled(run, 2)
    assert calls == [[0, 1], [1]]
    assert cancelled(run) == [0]


# --- what follows, ends and restarts -----------------------------------------------------------------


@pytest.mark.parametrize("dead_letter", [False, True])
def test_a_follow_up_task_is_not_sent_and_is_dead_lettered_only_with_its_predecessor(*, dead_letter: bool) -> None:
    feed = Commands()
    with obeying(lambda task: None, feed) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.cancel(SESSION, dead_letter=dead_letter)
        run.push(MemoryRecord(PARTITION, 0, b"s", b"", [("task-then", write_plan([SHIP]))], timestamp=NOW))
        wait_settled(run, 1)
    assert [event.unmet for event in run.of(events.TaskCancelled)] == [1]
    types = [letter.headers["dlq-error-type"] for letter in run.sink.sent]
    assert types == ([b"processor.Cancelled", b"processor.DependencyFailed"] if dead_letter else [])


def test_a_branch_that_has_succeeded_arrives_at_its_join_although_it_is_cancelled_then() -> None:
    feed = Commands()
    with obeying(lambda task: None, feed, stats_interval=0.1) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.pause(ALL)
        run.push(arrival(0, 0), arrival(1, 1), FakeRecord(2, b"s"))
        run.until_event(ConsumerStats, lambda stats: stats.paused == 3)
        feed.cancel(CancelTarget("task", "8/1"))
        feed.cancel(SESSION)
        until(lambda: 2 in cancelled(run))  # the waiting lanes have been examined
        feed.resume(ALL)
        wait_settled(run, 3)
        assert cancelled(run) == [2]


def test_a_cancellation_that_is_withdrawn_covers_no_later_task() -> None:
    ran, feed = list[int](), Commands(SESSION, CancelTarget("task", "t-0-1"))
    with obeying(lambda task: ran.append(task.offset), feed) as run:
        run.push(FakeRecord(0, b"s"))
        wait_settled(run, 1)
        feed.withdraw(SESSION)
        feed.withdraw(SESSION)
        feed.withdraw(CancelTarget("task", "t-0-1"))
        run.push(FakeRecord(1, b"s"))
        wait_settled(run, 2)
    assert ran == [1]
    assert [(event.session_id, event.reason) for event in run.of(ControlCancelEnded)] == [
        ("s", "withdrawn"),
        ("", "withdrawn"),
    ]


def test_a_cancellation_whose_time_is_over_covers_nothing() -> None:
    ran, feed = list[int](), Commands()
    with obeying(lambda task: ran.append(task.offset), feed) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.cancel(SESSION, until=1)
        feed.cancel(CancelTarget("task", "t-0-1"), until=int(time.time() * 1000) + 2000)
        run.until_event(ControlCancelEnded)
        run.push(FakeRecord(0, b"s"), FakeRecord(1, b"s"))
        wait_settled(run, 2)
    assert ran == [0, 1]
    assert [(event.task_id, event.reason) for event in run.of(ControlCancelEnded)] == [("t-0-1", "expired")]


def test_cancelled_tasks_are_settled_for_the_next_owner_too() -> None:
    gate = Gate(lambda task: task.offset == 0)
    with obeying(gate.handle, Commands(CancelTarget("session", "u")), drain_timeout=0.2) as run:
        run.push(*[FakeRecord(n, b"s" if n == 0 else b"u") for n in range(5)])
        run.until_settled(4)
        assert run.source.revoke(PARTITION).wait(30)
        gate.open()
        assert run.source.assign(PARTITION).wait(30)
        until(lambda: run.commit_point() == 5)
    assert set(gate.begun) == {0}
    assert cancelled(run) == [1, 2, 3, 4]


# --- groups that wait -------------------------------------------------------------------------------

JOIN_OF_THREE = Join("8/then", "t-0-0", "t", 3, JOIN.then)
OTHER = Join("9/then", "t-0-0", "t", 2, JOIN.then)

JOINED = CancelTarget("task", "8/then")
"""What follows from the group whose arrivals the tests use."""


def waiting_group(*cancelled: CancelTarget) -> tuple[Commands, RunningConsumer]:
    feed = Commands(*cancelled)
    return feed, obeying(lambda task: None, feed, stats_interval=0.1)


def wait_kept(run: RunningConsumer, joins: int) -> None:
    """Waits until this many joins wait for branches."""
    run.until_event(ConsumerStats, lambda stats: stats.open_joins == joins)


@pytest.mark.parametrize("target", [JOINED, CancelTarget("session", "8/then")])
def test_a_group_that_waits_is_cancelled_by_what_follows_it(target: CancelTarget) -> None:
    feed, consumer = waiting_group()
    with consumer as run:
        run.push(arrival(0, 0), arrival(1, 0, OTHER), FakeRecord(2, b"u"))
        wait_kept(run, 2)
        feed.cancel(target, since=int(time.time() * 1000))
        until(lambda: run.commit_point() == 1)
        run.push(arrival(3, 1, OTHER))
        wait_settled(run, 4)
        assert cancelled(run) == [0]
        assert [event.session_id for event in run.of(events.TaskCancelled)] == ["8/then"]
    assert [each.headers["task-id"] for each in run.sink.sent] == [b"9/then"]


def test_a_branch_that_arrives_while_its_group_is_cancelled_is_cancelled() -> None:
    feed, consumer = waiting_group(JOINED)
    with consumer as run:
        run.push(arrival(0, 0), arrival(1, 1))
        wait_settled(run, 2)
        assert cancelled(run) == [0, 1]
        feed.withdraw(JOINED)
        run.until_event(ControlCancelEnded)
        run.push(arrival(2, 0), arrival(3, 1))  # as of a group that is begun again
        wait_settled(run, 4)
        assert len(cancelled(run)) == 2
    assert [each.headers["task-id"] for each in run.sink.sent] == [b"8/then"]


def test_a_group_that_is_cancelled_with_dead_letters_is_joined_when_they_are_replayed() -> None:
    feed, consumer = waiting_group()
    with consumer as run:
        run.push(arrival(0, 0, JOIN_OF_THREE), arrival(1, 1, JOIN_OF_THREE))
        wait_kept(run, 1)
        feed.cancel(JOINED, dead_letter=True)
        wait_settled(run, 2)
        types = [letter.headers["dlq-error-type"] for letter in run.sink.sent]
        assert sorted(map(str, types)) == ["b'processor.Cancelled'"] * 2 + ["b'processor.DependencyFailed'"]
        assert sum(event.unmet for event in run.of(events.TaskCancelled)) == 1
        feed.withdraw(JOINED)
        run.until_event(ControlCancelEnded)
        run.push(*(arrival(2 + n, n, JOIN_OF_THREE) for n in range(3)))
        wait_settled(run, 5)
    assert [each.headers["task-id"] for each in run.sink.sent[3:]] == [b"8/then"]


def test_arrivals_of_a_paused_partition_are_cancelled_with_their_group() -> None:
    feed, consumer = waiting_group()
    with consumer as run:
        until(lambda: hasattr(feed, "apply"))
        feed.pause(ALL)
        run.push(arrival(0, 0))
        run.until_event(ConsumerStats, lambda stats: stats.paused == 1)
        feed.cancel(JOINED)
        wait_settled(run, 1)
        assert cancelled(run) == [0]


def test_a_group_whose_last_branch_has_arrived_is_not_cancelled_any_more() -> None:
    feed, consumer = waiting_group()
    with consumer as run:
        run.sink.holding = True
        run.push(arrival(0, 0), arrival(1, 1))
        until(lambda: run.sink.held)
        feed.cancel(JOINED)
        run.until_event(ControlCancelled)
        run.sink.acknowledge()
        wait_settled(run, 2)
        assert cancelled(run) == []
    assert [each.headers["task-id"] for each in run.sink.sent] == [b"8/then"]


def test_a_group_that_has_not_begun_is_cancelled_by_its_id() -> None:
    plan = write_plan([Planned(group=[[SHIP], [SHIP]]), SHIP])
    begin: Any = [("task-id", b"8"), ("task-arrival", b"{}"), ("task-then", plan)]
    _, consumer = waiting_group(CancelTarget("task", "8"))
    with consumer as run:
        run.push(MemoryRecord(PARTITION, 0, b"8", None, begin))
        wait_settled(run, 1)
        assert [event.unmet for event in run.of(events.TaskCancelled)] == [3]
    assert run.sink.sent == []


def test_a_marker_is_not_cancelled_with_its_group() -> None:
    _, consumer = waiting_group(JOINED)
    with consumer as run:
        run.push(marker(0, {}), FakeRecord(1, b"u"))
        wait_settled(run, 2)
        assert cancelled(run) == []


def test_a_cancellation_that_replaces_one_whose_time_is_over_stays_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command comes after the watchdog has found that the earlier one is over, and before it ends that."""
    run = RunningConsumer(lambda _: None)
    cancellation, cancels = run.consumer._control._cancellation, run.consumer._desk.cancelling.cancels
    over, later = Cancel(NOW, "ann@host", 1), Cancel(NOW, "ann@host", int(time.time() * 1000) + HOUR)
    cancels.begin(SESSION, over)
    find_ended = cancels.ended

    def find_and_replace(epoch: float) -> list[CancelTarget]:
        found = find_ended(epoch)
        cancellation.begin(SESSION, later)
        return found

    monkeypatch.setattr(cancels, "ended", find_and_replace)
    cancellation.examine()
    assert cancels.in_force == {SESSION: later}
    assert not run.of(ControlCancelEnded)
    run.consumer._cancel_search.close()
