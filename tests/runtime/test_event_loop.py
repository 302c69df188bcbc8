"""Async handlers: all run in one event loop, together with worker threads if the application has both kinds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections import Counter, deque
from typing import cast

import pytest

from processor.engine.ledger import Loan
from processor.handlers.task import Task
from processor.processor import Processor
from processor.runtime import event_loop
from processor.runtime.desk import Desk
from processor.runtime.event_loop import Coroutines, EventLoop
from processor.runtime.runner import Runner
from processor.runtime.seat import Seat
from processor.telemetry.events import ConsumerWorkerError, Event, TaskTimedOut
from tests.runtime.fakes import FakeRecord
from tests.runtime.gate import Gate, give_way
from tests.runtime.running import RunningConsumer
from tests.support.until import until


def error_types(run: RunningConsumer) -> list[bytes | None]:
    return [sent.headers["dlq-error-type"] for sent in run.sink.sent]


def sessions(count: int, of: int) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % (n % of)) for n in range(count)]


def test_exactly_as_many_coroutines_run_beside_each_other_as_there_are_workers() -> None:
    """Fewer would never get past the barrier."""
    inside = most = 0
    barrier = asyncio.Barrier(8)

    async def handler(task: Task) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await barrier.wait()
        inside -= 1

    with RunningConsumer(handler, workers=8) as run:
        run.push(*sessions(200, 200))
        run.settled(200)
        assert run.stop().exit_code == 0
    assert most == 8


def test_all_coroutines_share_one_loop_so_that_they_may_share_what_belongs_to_a_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    lock = asyncio.Lock()

    async def handler(task: Task) -> None:
        async with lock:
            await give_way()
            loops.append(asyncio.get_running_loop())

    with RunningConsumer(handler) as run:
        run.push(*sessions(40, 10))
        run.settled(40)
        assert run.stop().exit_code == 0
    assert len(loops) == 40
    assert len(set(loops)) == 1


def test_a_waiting_coroutine_delays_its_own_session_and_no_other() -> None:
    gate = Gate(lambda task: task.session_id == "slow")
    with RunningConsumer(gate.handle_async, workers=2) as run:
        run.push(FakeRecord(0, b"slow"), FakeRecord(1, b"slow"), *[FakeRecord(n, b"s%d" % n) for n in range(2, 100)])
        gate.until_passed(98)
        assert 1 not in gate.begun
        gate.open()
        until(lambda: run.commit_point() == 100)


class FullDesk:
    """A desk that lends as many loans as it is asked for, and always has more lanes that are ready."""

    def __init__(self) -> None:
        self.lending = self
        self.visits: list[int] = []
        """The number of loans asked for."""
        self.is_open = True

    def enter_invited(self, borrower: Coroutines) -> None:
        borrower.invite()

    def exchange(self, borrower: Coroutines, slots: int) -> bool:
        self.visits.append(slots)
        borrower.finished.clear()
        if self.is_open:
            borrower.batch.extend(cast("Loan", object()) for _ in range(slots))
            borrower.invite()
        return self.is_open


class WaitingRunner:
    """A runner whose coroutines wait for an event each."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []

    async def work_off(self, seat: Seat, batch: deque[Loan], now: float) -> None:
        event = asyncio.Event()
        self.waiting.append(event)
        await event.wait()
        seat.borrower.finished.extend(batch)


def test_the_loop_visits_the_desk_only_to_bring_something_back_or_to_borrow() -> None:
    desk, runner, host = FullDesk(), WaitingRunner(), EventLoop(list[Event]().append)
    host.start()
    coroutines = Coroutines(host, 2, cast("Desk", desk), cast("Runner", runner), lambda _: None)
    coroutines.start()
    until(lambda: len(runner.waiting) == 2)
    round_trip(host)
    assert desk.visits == [2]
    let_go(runner, host)
    until(lambda: len(runner.waiting) == 4)
    round_trip(host)
    assert sum(desk.visits[1:]) == 2
    assert 0 not in desk.visits
    desk.is_open = False
    let_go(runner, host)
    until(lambda: not coroutines.busy)
    host.close()


def let_go(runner: WaitingRunner, host: EventLoop) -> None:
    for event in list(runner.waiting):  # the coroutines that begin meanwhile wait
        host.loop.call_soon_threadsafe(event.set)


def round_trip(host: EventLoop) -> None:
    """Returns when all that was due in the loop has run, and what followed from it."""
    for _ in range(3):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), host.loop).result(30)


def test_an_application_with_both_kinds_runs_each_where_it_belongs() -> None:
    app, threads = Processor(), list[tuple[str, str]]()

    def note(task: Task) -> None:
        threads.append((task.name, threading.current_thread().name.rstrip("0123456789")))

    app.task("plain")(note)

    @app.task("async")
    async def coroutine(task: Task) -> None:
        await give_way()
        note(task)

    with RunningConsumer(app, workers=3) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 5), name=("plain", "async")[n % 2]) for n in range(40)])
        run.settled(40)
        assert run.stop().exit_code == 0
    assert Counter(threads) == {("plain", "worker-"): 20, ("async", "event-loop"): 20}
    assert not run.sink.sent


def test_an_error_that_looks_like_a_timeout_or_a_cancellation_is_the_handlers_own() -> None:
    """Only an attempt that exceeds its time limit raises `TaskTimeout`."""
    errors: list[type[BaseException]] = [TimeoutError, asyncio.CancelledError]

    async def handler(task: Task) -> None:
        await give_way()
        raise errors[task.offset]

    for name in ("", "plain"):  # alone in the loop, and for worker threads
        app = Processor()
        app.default(handler)
        if name:
            app.task(name)(lambda task: None)
        with RunningConsumer(app, max_attempts=1) as run:
            run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"))
            run.settled(2)
            assert run.stop().exit_code == 0
        assert sorted(map(str, error_types(run))) == [
            "b'asyncio.exceptions.CancelledError'",
            "b'builtins.TimeoutError'",
        ]
        assert not run.of(TaskTimedOut)


def test_a_coroutine_over_its_time_is_cancelled_and_tried_again_where_there_are_both_kinds_as_well() -> None:
    app, attempts, cancelled = Processor(), list[int](), list[int]()

    @app.default
    async def handler(task: Task) -> None:
        attempts.append(task.attempt)
        if task.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(task.attempt)
                raise

    app.task("plain")(lambda task: None)
    with RunningConsumer(app, timeout=0.5) as run:
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.commit_point() == 1)
        assert run.stop().exit_code == 0
    assert (attempts, cancelled) == ([1, 2], [1])
    (timed_out,) = run.of(TaskTimedOut)
    assert (timed_out.offset, timed_out.attempt, timed_out.timeout_seconds) == (0, 1, 0.5)


def test_a_task_that_a_handler_leaves_behind_in_the_loop_delays_no_stop() -> None:
    left = threading.Event()

    async def forget(task: Task) -> None:
        async def background() -> None:
            left.set()
            await give_way()

        task_of_loop = asyncio.get_running_loop().create_task(background())
        assert not task_of_loop.done()

    with RunningConsumer(forget) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    assert left.is_set()


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside plain handlers"])
def test_a_stop_at_once_cancels_what_runs_in_the_loop_and_closes_it(
    beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next consumer runs the task again. A process that continues keeps no resource of the loop."""
    monkeypatch.setattr(event_loop, "CLOSE_SECONDS", 60.0)
    begun, ended = threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    app = Processor()

    @app.default
    async def handler(task: Task) -> None:
        loops.append(asyncio.get_running_loop())
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    if beside:
        app.task("plain")(lambda task: None)
    with RunningConsumer(app, max_attempts=1) as run:
        run.push(FakeRecord(0, b"s"))
        assert begun.wait(60)
        run.consumer.request_stop_now("the test")
        assert run.wait().exit_code == 3
    assert ended.wait(60)
    assert loops[0].is_closed()
    assert not run.cluster.records("t.dlq")
    assert not run.of(ConsumerWorkerError)
    assert run.commit_point() in (None, 0)


def test_an_abandoned_coroutine_is_not_reported_as_an_error_at_the_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left_alone: list[EventLoop] = []
    monkeypatch.setattr(event_loop, "_left_alone", left_alone)
    begun = threading.Event()

    async def refuse() -> None:
        while True:
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    host = EventLoop(list[Event]().append)
    host.start()
    asyncio.run_coroutine_threadsafe(refuse(), host.loop)
    assert begun.wait(60)
    host.close()
    assert left_alone == [host]
    host.loop.call_exception_handler({"message": "another error"})
    host.thread.join()
    host.loop.close()
    left_alone.clear()
    del host
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == ["another error"]


def test_a_task_of_a_handler_that_exits_does_not_end_the_loop() -> None:
    """asyncio passes a SystemExit on to whatever runs the loop. A thread would end with it, without a line."""
    left = list[asyncio.Task[None]]()

    async def leave() -> None:
        raise SystemExit("enough")

    async def handler(task: Task) -> None:
        if task.offset == 3:
            left.append(asyncio.create_task(leave()))
        await give_way()

    with RunningConsumer(handler) as run:
        run.push(*sessions(20, 4))
        run.settled(20)
        assert run.stop().exit_code == 0
    (event,) = run.of(ConsumerWorkerError)
    assert (event.worker, event.error) == ("event-loop", "builtins.SystemExit: enough")
    assert isinstance(left[0].exception(), SystemExit)


def test_a_handler_that_cancels_all_other_tasks_of_the_loop_holds_up_none_of_their_sessions() -> None:
    """Those that have not begun never execute an instruction."""
    done: list[int] = []

    async def handler(task: Task) -> None:
        if task.offset == 0:
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
        await give_way()
        done.append(task.offset)

    with RunningConsumer(handler, backoff=0.0, workers=8) as run:
        run.push(*sessions(20, 20))
        run.settled(20)
        assert run.stop().exit_code == 0
    assert sorted(done) == list(range(20))
    assert all("cancelled the coroutines of others" in event.error for event in run.of(ConsumerWorkerError))


@pytest.mark.parametrize("both_kinds", [False, True])
def test_a_handler_that_stops_the_loop_does_not_end_it(both_kinds: bool) -> None:
    """All coroutines would wait forever, and no time limit would end them."""

    async def handler(task: Task) -> None:
        if task.offset == 3:
            asyncio.get_running_loop().stop()
        await give_way()

    app = Processor()
    app.default(handler)
    if both_kinds:
        app.task("plain")(lambda task: None)
    with RunningConsumer(app) as run:
        run.push(*sessions(20, 4))
        run.settled(20)
        assert run.stop().exit_code == 0


def test_a_coroutine_that_ignores_its_cancellation_does_not_delay_the_end() -> None:
    begun = threading.Event()

    async def handler(task: Task) -> None:
        while True:
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with RunningConsumer(handler) as run:
        run.push(FakeRecord(0, b"s"))
        assert begun.wait(60)
        run.consumer.request_stop_now("the test")
        assert run.wait().exit_code == 3
