"""What becomes of tasks that do not simply succeed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from time import monotonic

import pytest

from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.processor import Processor
from processor.runtime import watchdog
from processor.runtime.interrupt import grace
from processor.runtime.watchdog import CHECK_SECONDS
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerStopped,
    ConsumerStopping,
    ConsumerWorkerError,
    TaskAbandoned,
    TaskDeliveryFailed,
    TaskStuck,
    TaskTimedOut,
)
from tests.runtime.fakes import PARTITION, POISON, FakeRecord
from tests.runtime.gate import give_way
from tests.runtime.running import RunningConsumer
from tests.support.until import until


def error_types(run: RunningConsumer) -> list[bytes | None]:
    return [sent.headers["dlq-error-type"] for sent in run.sink.sent]


def fail(task: Task) -> None:
    raise ValueError("no")


def test_a_dead_letter_settles_its_task_only_when_it_is_acknowledged() -> None:
    with RunningConsumer(fail, max_attempts=2) as run:
        run.sink.holding = True
        run.push(FakeRecord(0, b"s", b"v"))
        until(lambda: run.sink.held)
        assert run.consumer.pulse().running == 1
        assert run.commit_point() in (None, 0)
        run.sink.acknowledge()
        until(lambda: run.commit_point() == 1)
        assert run.stop().exit_code == 0
    (letter,) = run.sink.sent
    assert (letter.topic, letter.key, letter.value) == ("t.dlq", b"s", b"v")
    assert letter.headers["trace"] == b"1"
    assert letter.headers["dlq-attempts"] == b"2"
    assert letter.headers["dlq-error-type"] == b"builtins.ValueError"


def test_a_refused_dead_letter_is_sent_again_and_other_sessions_go_on() -> None:
    done: list[int] = []

    def handler(task: Task) -> None:
        if task.session_id == "bad":
            raise Reject("never")
        done.append(task.offset)

    with RunningConsumer(handler) as run:
        run.sink.refusals = 1
        run.push(FakeRecord(0, b"bad"), *[FakeRecord(n, b"good") for n in range(1, 20)])
        until(lambda: len(done) == 19)
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert len(run.of(TaskDeliveryFailed)) == 1
    assert len(run.sink.sent) == 1


def test_an_undecodable_value_is_a_dead_letter_after_no_attempt() -> None:
    with RunningConsumer(lambda task: None) as run:
        run.push(FakeRecord(0, b"s", POISON), FakeRecord(1, b"s"))
        run.settled(2)
    (letter,) = run.sink.sent
    assert (letter.headers["dlq-attempts"], letter.value) == (b"0", POISON)
    assert letter.headers["dlq-error-type"] == b"processor.errors.DecodeError"
    assert letter.headers["dlq-error-message"] == b"it is poison"


def test_a_result_settles_its_task_only_when_it_is_acknowledged() -> None:
    with RunningConsumer(lambda task: b"result", results_topic="r") as run:
        run.sink.holding = True
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.sink.held)
        assert run.commit_point() in (None, 0)
        run.sink.acknowledge()
        until(lambda: run.commit_point() == 1)
    assert [(sent.topic, sent.key, sent.value) for sent in run.sink.sent] == [("r", b"s", b"result")]


def plain_raiser(task: Task) -> None:
    _raise(task)


async def async_raiser(task: Task) -> None:
    await give_way()
    _raise(task)


def _raise(task: Task) -> None:
    errors: dict[bytes, type[BaseException]] = {
        b"exit": SystemExit, b"interrupt": KeyboardInterrupt, b"memory": MemoryError, b"generator": GeneratorExit,
    }  # fmt: skip
    error = errors.get(task.payload)
    if error is not None:
        raise error


@pytest.mark.parametrize("handler", [plain_raiser, async_raiser])
def test_no_exception_of_a_handler_ends_more_than_its_attempt(handler: Callable[[Task], object]) -> None:
    with RunningConsumer(handler, workers=1, max_attempts=1) as run:
        run.push(*[FakeRecord(n, b"s", v) for n, v in enumerate([b"exit", b"interrupt", b"memory", b"generator", b""])])
        run.settled(5)
        assert run.stop().exit_code == 0
    names = [b"SystemExit", b"KeyboardInterrupt", b"MemoryError", b"GeneratorExit"]
    assert error_types(run) == [b"builtins." + name for name in names]
    assert not run.of(ConsumerWorkerError)


async def goes_on(task: Task) -> None:
    await give_way()


def forgets_to_await(task: Task) -> object:
    return goes_on(task)


async def forgets_to_await_too(task: Task) -> object:
    return goes_on(task)


def forgets_to_iterate(task: Task) -> object:
    return (n for n in (1, 2))


@pytest.mark.parametrize("results_topic", [None, "r"])
@pytest.mark.parametrize("handler", [forgets_to_await, forgets_to_await_too, forgets_to_iterate])
def test_what_a_handler_returns_without_running_it_is_a_dead_letter_and_no_success(
    handler: Callable[[Task], object], results_topic: str | None
) -> None:
    with RunningConsumer(handler, workers=1, results_topic=results_topic) as run:
        run.push(FakeRecord(0, b"s"), FakeRecord(1, b"s"))
        run.settled(2)
        assert run.stop().exit_code == 0
    assert error_types(run) == [b"builtins.TypeError"] * 2
    assert {b"has not run" in (sent.headers["dlq-error-message"] or b"") for sent in run.sink.sent} == {True}


def test_a_loop_in_python_is_interrupted_and_the_next_task_is_not() -> None:
    done: list[int] = []

    def handler(task: Task) -> None:
        while task.payload == b"hang":
            pass
        done.append(task.offset)

    with RunningConsumer(handler, workers=1, timeout=1.0, max_attempts=1) as run:
        run.push(FakeRecord(0, b"s", b"hang"), *[FakeRecord(n, b"s") for n in range(1, 200)])
        run.settled(200)
        ending = run.stop()
    assert (ending.exit_code, ending.recycle) == (0, False)
    assert done == list(range(1, 200))
    assert error_types(run) == [b"processor.TaskTimeout"]
    assert len(run.of(TaskTimedOut)) == 1


def test_an_async_handler_over_its_time_is_cancelled_and_the_others_are_not() -> None:
    done: list[int] = []

    async def handler(task: Task) -> None:
        if task.payload == b"hang":
            await asyncio.Event().wait()
        done.append(task.offset)

    with RunningConsumer(handler, timeout=1.0, max_attempts=1) as run:
        run.push(FakeRecord(0, b"s", b"hang"), *[FakeRecord(n, b"s%d" % (n % 9)) for n in range(1, 200)])
        run.settled(200)
        assert run.stop().exit_code == 0
    assert sorted(done) == list(range(1, 200))
    assert error_types(run) == [b"processor.TaskTimeout"]


def test_a_coroutine_that_was_cancelled_for_its_time_costs_the_next_task_of_its_session_nothing() -> None:
    """It suppresses the cancellation, or ends just when that arrives. The next attempt must not be cancelled by it."""
    app, done, limit = Processor(), list[int](), 0.05

    async def handler(task: Task) -> None:
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        if task.payload == b"swallows":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        elif task.payload == b"just in time":  # time is what is tested: it ends well after its limit
            await asyncio.sleep(limit + task.offset % 7 * 0.03)
        else:
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(give_way())
        done.append(task.offset)

    app.task("slow", timeout=limit)(handler)
    app.default(handler)
    sessions = [b"s%d" % n for n in range(40)]
    slow = [
        FakeRecord(40 * turn + n, key, value, name="slow")
        for turn, value in enumerate((b"swallows", b"just in time"))
        for n, key in enumerate(sessions)
    ]
    quick = [FakeRecord(80 + n, sessions[n % 40]) for n in range(80)]
    with RunningConsumer(app, workers=64, max_attempts=1) as run:
        run.push(*slow, *quick)
        run.settled(160)
        assert run.stop().exit_code == 0
    assert set(error_types(run)) == {b"processor.TaskTimeout"}
    assert {offset for offset in done if not 40 <= offset < 80} == {*range(40), *range(80, 160)}


def test_a_handler_that_blocks_in_c_is_stuck_its_session_is_held_and_the_consumer_is_recycled() -> None:
    blocked = threading.Lock()
    blocked.acquire()
    ran: list[tuple[str, int]] = []

    def handler(task: Task) -> None:
        ran.append((task.session_id, task.offset))
        if task.payload == b"hang":
            blocked.acquire()

    with RunningConsumer(handler, workers=2, timeout=0.05, max_attempts=5) as run:
        run.push(FakeRecord(0, b"s", b"hang"), FakeRecord(1, b"s"), *[FakeRecord(n, b"o") for n in range(2, 10)])
        ending = run.wait()
        blocked.release()
    assert (ending.exit_code, ending.recycle) == (0, True)
    assert error_types(run) == [b"processor.HandlerStuck"]
    (stuck,) = run.of(TaskStuck)
    assert "blocked.acquire()" in stuck.stack
    assert ("s", 1) not in ran, "its session went on beside the stuck handler"
    assert run.commit_point() == 1


@pytest.mark.parametrize("mixed", [False, True])
def test_of_coroutines_only_the_one_that_keeps_the_loop_to_itself_is_stuck(mixed: bool) -> None:
    go_on, begun = threading.Event(), list[float]()
    app = Processor()

    @app.default
    async def handler(task: Task) -> None:
        begun.append(monotonic())
        if task.payload != b"hang":
            await asyncio.Event().wait()
        while len(begun) < 4:
            await give_way()
        go_on.wait(30)

    if mixed:
        app.task("plain")(lambda task: None)
    with RunningConsumer(app, workers=4, timeout=1.0, max_attempts=1) as run:
        run.push(FakeRecord(0, b"s", b"hang"), *[FakeRecord(n, b"s%d" % n) for n in range(1, 4)])
        until(lambda: run.of(TaskStuck) and monotonic() > max(begun) + 1.0 + grace(1.0) + 10 * CHECK_SECONDS)
        go_on.set()
        assert run.wait().recycle
    assert [event.offset for event in run.of(TaskStuck)] == [0]
    assert sorted(map(str, error_types(run))) == ["b'processor.HandlerStuck'", *["b'processor.TaskTimeout'"] * 3]


def test_a_drain_that_times_out_exits_3_and_commits_what_is_done() -> None:
    go_on = threading.Event()
    begun = threading.Event()

    def handler(task: Task) -> None:
        if task.offset == 1:
            begun.set()
            go_on.wait(30)

    with RunningConsumer(handler, drain_timeout=0.1) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"))
        until(begun.is_set)
        run.until_settled(1)
        ending = run.stop()
        go_on.set()
    assert ending.exit_code == 3
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]
    assert run.commit_point() == 1


def test_a_drain_waits_for_what_runs() -> None:
    go_on = threading.Event()
    begun = threading.Event()

    def handler(task: Task) -> None:
        begun.set()
        go_on.wait(30)

    with RunningConsumer(handler) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"a"))
        until(begun.is_set)
        run.consumer.request_stop("now")
        run.until_event(ConsumerStopping)
        run.until_it_drains()
        go_on.set()
        assert run.wait().exit_code == 0
    assert run.commit_point() == 1


def test_the_session_of_a_stuck_handler_stays_blocked_if_its_partition_has_left_and_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "grace", lambda limit: 1.5)
    released, began = threading.Event(), list[int]()

    def handler(task: Task) -> None:
        began.append(task.offset)
        while not released.is_set():
            with contextlib.suppress(BaseException):
                released.wait(60)

    with RunningConsumer(handler, timeout=1.0, drain_timeout=0.4, workers=4, max_attempts=1) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"a"))
        until(lambda: began)
        run.source.revoke(PARTITION)
        run.until_event(TaskAbandoned)
        run.source.assign(PARTITION)
        until(lambda: len(run.of(ConsumerAssigned)) > 1)
        run.until_event(TaskStuck)
        run.until_event(ConsumerStopping)  # it recycles: its drain is the time in which another worker could begin
        until(lambda: run.of(ConsumerStopped))
        assert began == [0]
        released.set()
        run.wait()
