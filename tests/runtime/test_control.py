"""The control topic's commands, applied by a real consumer on the in-memory Kafka."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from processor import Processor, Task
from processor.engine.cancels import Cancel, Cancels, CancelTarget
from processor.engine.pauses import ALL, Pause, Pauses, Target
from processor.runtime import control
from processor.runtime.cancelled import CancelledTask
from processor.runtime.commands import WorkersOrder, WorkersTarget, key_of, value_of
from processor.runtime.control import Apply
from processor.runtime.runner import NamePaused
from processor.runtime.tracing import Tracing
from processor.telemetry.events import (
    ConsumerStats,
    ConsumerWorkersChanged,
    ControlForeignRecord,
    ControlPaused,
    ControlResumed,
    ControlUnread,
    PartitionStats,
)
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_outputs import of_kind
from tests.support.until import until

PAUSE = Pause(1234, "ann@host")
SESSION = Target("session", "s")
NAME = Target("name", "charge")


class FakeFeed:
    """A control topic whose records a test provides. Those that it has at first are applied before `wait` returns."""

    def __init__(self, *targets: Target, is_away: bool = False) -> None:
        self._targets = targets
        self._is_away = is_away
        self.is_closed = False

    def start(self, apply: Apply) -> None:
        self.apply = apply
        for target in self._targets:
            self.pause(target)

    def wait(self, seconds: float) -> bool:
        return not self._is_away

    def close(self) -> None:
        self.is_closed = True

    def pause(self, target: Target, group: str = "g") -> None:
        self.apply(key_of(group, target), value_of(PAUSE))

    def resume(self, target: Target, group: str = "g") -> None:
        self.apply(key_of(group, target), None)

    def cancel_sessions(self, sessions: Iterable[bytes]) -> None:
        """Cancel all tasks that these sessions have until now, for a minute."""
        now = time.time_ns() // 1_000_000
        for session in sessions:
            target = CancelTarget("session", session.decode())
            self.apply(key_of("g", target), value_of(Cancel(now, "ann@host", now + 60_000)))


def obeying(app: object, feed: FakeFeed, **options: Any) -> RunningConsumer:
    run = RunningConsumer(app, **options)
    run.consumer.obey(feed)
    return run


def app_of(kind: str, function: Callable[[Task], Any]) -> Processor:
    app = Processor()
    for name in ("charge", "ship"):
        app.task(name)(of_kind(kind, function))
    return app


def tasks(count: int, *sessions: bytes, partition: int = 0, first: int = 0) -> list[FakeRecord]:
    """Tasks that alternate between the sessions and, in each session, between `charge` and `ship`."""
    return [
        FakeRecord(
            first + n,
            sessions[n % len(sessions)],
            partition=partition,
            name=("charge", "ship")[n // len(sessions) % 2],
        )
        for n in range(count)
    ]


class Done:
    """Records which tasks have run, in order."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int, str, str]] = []

    def note(self, task: Task) -> None:
        self.places.append((task.partition, task.offset, task.session_id, task.name))

    def until(self, count: int) -> None:
        until(lambda: len(self.places) >= count, lambda: f"{len(self.places)} of {count} tasks are done", 30)
        assert len(self.places) == count

    def of(self, session: str) -> list[int]:
        return [offset for _, offset, of, _ in self.places if of == session]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (SESSION, {"s": [], "u": [*range(1, 40, 2)]}),
        (Target("partition", "t:0"), {"s": [], "u": []}),
        (ALL, {"s": [], "u": []}),
    ],
)
def test_what_is_paused_at_the_start_does_not_begin_until_it_is_resumed(
    kind: str, target: Target, expected: dict[str, list[int]]
) -> None:
    done, feed = Done(), FakeFeed(target)
    elsewhere = [FakeRecord(n, b"v", partition=1, name="ship") for n in range(20)] if target != ALL else []
    with obeying(app_of(kind, done.note), feed, partitions=2, stats_interval=0.1) as run:
        run.push(*tasks(40, b"s", b"u"), *elsewhere)
        done.until(sum(map(len, expected.values())) + len(elsewhere))
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 60 - len(done.places) - (20 - len(elsewhere)))
        assert {session: done.of(session) for session in expected} == expected
        assert run.of(ControlPaused)[0].by == "ann@host"
        feed.resume(target)
        done.until(40 + len(elsewhere))
        run.settled(40 + len(elsewhere))
        assert done.of("s") == [*range(0, 40, 2)]
        assert done.of("u") == [*range(1, 40, 2)]
        until(lambda: run.commit_point() == 40)
    assert len(run.of(ControlResumed)) == 1
    assert feed.is_closed


class FeedWithHistory(FakeFeed):
    """A topic that still has commands that were ended, and one that is in force."""

    def start(self, apply: Apply) -> None:
        super().start(apply)
        self.pause(SESSION)
        self.resume(SESSION)
        self.apply(key_of("g", WorkersTarget()), value_of(WorkersOrder(3, 1234, "ann@host")))
        self.apply(key_of("g", WorkersTarget()), None)
        self.pause(NAME)


def test_commands_that_ended_before_the_start_are_neither_obeyed_nor_logged() -> None:
    done, feed = Done(), FeedWithHistory()
    with obeying(app_of("plain", done.note), feed) as run:
        run.push(*[FakeRecord(n, b"s", name="ship") for n in range(5)])
        done.until(5)
    assert [(event.kind, event.task_name) for event in run.of(ControlPaused)] == [("name", "charge")]
    assert not run.of(ControlResumed)
    assert not run.of(ConsumerWorkersChanged)


@pytest.mark.parametrize("kind", KINDS)
def test_a_paused_name_holds_its_sessions_at_its_first_task(kind: str) -> None:
    done, feed = Done(), FakeFeed()
    with obeying(app_of(kind, done.note), feed) as run:
        until(lambda: hasattr(feed, "apply"))
        feed.pause(NAME)
        shipped = [FakeRecord(20 + n, b"w", name="ship") for n in range(20)]
        ship_first = [FakeRecord(40, b"x", name="ship"), FakeRecord(41, b"x", name="charge")]
        run.push(*tasks(20, b"s", b"u"), *shipped, *ship_first)
        done.until(21)
        assert {name for *_, name in done.places} == {"ship"}
        assert (done.of("s"), done.of("u"), done.of("x")) == ([], [], [40])
        feed.resume(NAME)
        done.until(42)
        assert (done.of("s"), done.of("u")) == ([*range(0, 20, 2)], [*range(1, 20, 2)])
        assert done.of("x") == [40, 41]
        run.settled(42)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [SESSION, NAME, ALL, Target("partition", "t:0")])
def test_a_running_task_ends_and_the_next_one_of_its_session_does_not_begin(kind: str, target: Target) -> None:
    gate, feed = Gate(lambda task: task.session_id == "s" and task.offset == 0), FakeFeed()
    app = Processor()
    app.task("charge")(gate.handler(kind))
    with obeying(app, feed, workers=2, stats_interval=0.1) as run:
        run.push(*[FakeRecord(n, b"s", name="charge") for n in range(30)])
        gate.until_begun()
        feed.pause(target)
        gate.open()
        gate.until_passed(1)
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 29 and stats.running == 0)
        assert gate.begun == [0]
        feed.resume(target)
        gate.until_passed(30)
        assert gate.begun == [*range(30)]
        run.settled(30)


def test_what_is_paused_is_reported_by_pause_and_by_partition() -> None:
    feed = FakeFeed(SESSION, NAME)
    with obeying(app_of("plain", Done().note), feed, partitions=2, stats_interval=0.1) as run:
        run.push(*tasks(4, b"s"), *[FakeRecord(n, b"u", partition=1, name="charge") for n in range(3)])
        stats = run.until_event(ConsumerStats, lambda stats: stats.paused == 7)
        assert [(one.kind, one.session_id, one.task_name, one.waiting) for one in stats.paused_by] == [
            ("session", "s", "", 4),
            ("name", "", "charge", 3),
        ]
        assert {(one.since, one.by) for one in stats.paused_by} == {PAUSE}
        assert (stats.pauses, stats.held) == (2, 0)
        assert stats.longest_pause_seconds > 1e9  # since 1970
        first = run.until_event(PartitionStats, lambda each: each.partition == 0 and each.paused == 4)
        assert first.head is not None
        assert (first.head.state, first.head.session_id, first.head_paused) == ("paused", "s", True)
        assert (run.consumer.pulse().pauses, run.consumer.pulse().paused_since) == (2, PAUSE.since)
        feed.resume(SESSION)
        feed.resume(NAME)
        run.settled(7)
        after = run.until_event(ConsumerStats, lambda stats: stats.pauses == 0)
        assert (after.paused, after.paused_by, after.longest_pause_seconds) == (0, [], 0.0)


def test_two_pauses_of_the_same_tasks_are_ended_one_by_one() -> None:
    done, feed = Done(), FakeFeed(SESSION, ALL, NAME)
    with obeying(app_of("plain", done.note), feed, stats_interval=0.1) as run:
        run.push(*tasks(10, b"s"))
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 10 and stats.running == 0)
        feed.resume(ALL)
        feed.resume(ALL)
        feed.resume(NAME)
        assert done.places == []
        feed.resume(SESSION)
        done.until(10)
        assert len(run.of(ControlResumed)) == 3
        run.settled(10)


def test_a_batch_takes_no_task_of_a_paused_session() -> None:
    batches: list[set[str]] = []
    feed, app = FakeFeed(SESSION), Processor()

    @app.batch("charge", size=10, wait=0.01)
    def charge(batch: list[Task]) -> None:
        batches.append({task.session_id for task in batch})

    with obeying(app, feed) as run:
        run.push(*[FakeRecord(n, b"su"[n % 2 : n % 2 + 1], name="charge") for n in range(40)])
        run.settled(20)
        assert set().union(*batches) == {"u"}
        feed.resume(SESSION)
        run.settled(40)
    assert set().union(*batches) == {"s", "u"}


def test_tasks_that_are_gathered_for_a_batch_wait_when_their_name_is_paused() -> None:
    calls: list[int] = []
    feed, app = FakeFeed(), Processor()

    @app.batch("charge", size=10, wait=4.0)
    def charge(batch: list[Task]) -> None:
        calls.append(len(batch))

    with obeying(app, feed, stats_interval=0.1) as run:
        run.push(*[FakeRecord(n, b"s%d" % n, name="charge") for n in range(5)])
        run.until_event(ConsumerStats, lambda stats: stats.in_flight == 5)
        feed.pause(NAME)
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 5 and stats.running == 0)
        calls_before = sum(calls)
        feed.resume(NAME)
        run.settled(5)
    assert sum(calls) == 5
    assert calls_before == 0


def test_a_limited_handler_keeps_no_place_for_a_paused_session() -> None:
    gate, feed = Gate(lambda task: task.session_id == "first"), FakeFeed()
    app = Processor()
    app.task("charge", concurrency=1)(gate.handle)
    with obeying(app, feed) as run:
        run.push(FakeRecord(0, b"first", name="charge"))
        gate.until_begun()
        run.push(FakeRecord(1, b"s", name="charge"), FakeRecord(2, b"u", name="charge"))
        until(lambda: run.consumer.pulse().running == 1)
        feed.pause(SESSION)
        gate.open()
        gate.until_passed(2)
        assert gate.begun == [0, 2]
        feed.resume(SESSION)
        gate.until_passed(3)
        run.settled(3)


def test_a_paused_session_is_given_up_in_a_revoke_and_still_paused_in_the_next_assignment() -> None:
    done, feed = Done(), FakeFeed(SESSION)
    with obeying(app_of("plain", done.note), feed) as run:
        run.push(*tasks(10, b"s", b"u"))
        done.until(5)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.source.assign(PARTITION).wait(60)
        run.push(*tasks(2, b"s", b"u", first=10))
        done.until(6)
        assert done.of("s") == []
        feed.resume(SESSION)
        done.until(12)
        assert done.of("s") == [0, 2, 4, 6, 8, 10]
        run.settled(12)


def test_a_thousand_sessions_are_paused_and_resumed_one_by_one_each_in_its_order() -> None:
    sessions = [b"s%d" % n for n in range(1000)]
    done, feed = Done(), FakeFeed(*[Target("session", session.decode()) for session in sessions])
    with obeying(app_of("plain", done.note), feed, stats_interval=0.2) as run:
        run.push(*tasks(3000, *sessions), *tasks(1, b"free", first=3000))
        run.until_event(ConsumerStats, lambda stats: stats.paused == 3000 and stats.succeeded == 1)
        last = run.of(ConsumerStats)[-1]
        assert (last.pauses, len(last.paused_by)) == (1000, 10)
        assert len(done.places) == 1
        for session in sessions[:500]:
            feed.resume(Target("session", session.decode()))
        done.until(1501)
        feed.cancel_sessions(sessions[500:])
        run.settled(3001)
        assert {session: done.of(session.decode()) for session in sessions[:500]} == {
            session: [n, n + 1000, n + 2000] for n, session in enumerate(sessions[:500])
        }
        assert len(done.places) == 1501
        until(lambda: run.commit_point() == 3001)


def test_foreign_records_are_ignored_and_the_first_one_is_logged() -> None:
    done, feed = Done(), FakeFeed()
    with obeying(app_of("plain", done.note), feed) as run:
        until(lambda: hasattr(feed, "apply"))
        foreign = [
            (None, b"{}"), (b"orders", b"1"), (b'["g","tribe","s"]', value_of(PAUSE)),
            (key_of("g", ALL), b"[]"), (key_of("g", ALL), b'{"since":"now","by":1}'), (b"\xff", b"\xff"),
            (key_of("g", ALL), b'{"x":' + b"[" * 100_000),
        ]  # fmt: skip
        for key, value in foreign:
            feed.apply(key, value)
        feed.pause(ALL, group="another")
        run.push(*tasks(10, b"s"))
        done.until(10)
        run.settled(10)
    assert len(run.of(ControlForeignRecord)) == 1
    assert run.of(ControlPaused) == []


def test_a_control_topic_that_cannot_be_read_delays_the_start_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "READ_SECONDS", 0.05)
    done = Done()
    with obeying(app_of("plain", done.note), FakeFeed(is_away=True)) as run:
        run.push(*tasks(10, b"s"))
        done.until(10)
        run.settled(10)
    assert len(run.of(ControlUnread)) == 1


def test_a_stop_does_not_wait_for_the_control_topic() -> None:
    feed = FakeFeed(is_away=True)
    run = obeying(app_of("plain", Done().note), feed)
    run.consumer.request_stop("the test is over")
    with run:
        assert run.wait().exit_code == 0
    assert run.of(ControlUnread) == []
    assert feed.is_closed


def test_a_record_of_the_control_topic_is_json() -> None:
    assert json.loads(key_of("g", SESSION)) == ["g", "session", "s"]
    assert json.loads(value_of(PAUSE)) == {"since": 1234, "by": "ann@host"}


class SlowStep:
    """Attempts are traced. Once it is armed, the next thread that composes the steps before a call stops here."""

    def __init__(self) -> None:
        self.is_armed = False
        self.is_reached, self.may_go_on = threading.Event(), threading.Event()

    @property
    def begin(self) -> Callable[..., Any]:
        if self.is_armed:
            self.is_armed = False
            self.is_reached.set()
            assert self.may_go_on.wait(60)
        return lambda prepare, record, number, now: prepare(record, number, now)


def test_of_two_commands_that_come_at_the_same_time_neither_undoes_the_other() -> None:
    """The poller and the thread of the control topic both change what is checked before an attempt."""
    runner, step = RunningConsumer(lambda _: None).consumer._runner, SlowStep()
    runner.trace(cast(Tracing, step))
    pauses, cancels = Pauses(), Cancels()
    pauses.begin(NAME, PAUSE)
    cancels.begin(CancelTarget("task", "t-0-0"), Cancel(0, "ann@host", 1 << 50))
    step.is_armed = True
    first = threading.Thread(target=runner.look_for_names, args=(pauses,))
    second = threading.Thread(target=runner.look_for_cancelled, args=(cancels,))
    first.start()
    assert step.is_reached.wait(60)
    second.start()
    second.join(0.5)  # it ends here only if it does not wait for the first one, which then undoes it
    step.may_go_on.set()
    for thread in (first, second):
        thread.join(60)
    with pytest.raises(CancelledTask):
        runner._prepared(FakeRecord(0, b"s", name="ship"), 1, time.monotonic())
    with pytest.raises(NamePaused):
        runner._prepared(FakeRecord(1, b"s", name="charge"), 1, time.monotonic())
