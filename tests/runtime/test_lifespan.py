"""An application's lifespan: before the first task of each consumer, and after its last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from processor.errors import LoadError
from processor.handlers.task import Task
from processor.processor import Processor
from processor.telemetry.events import ConsumerLifespanFailed, ConsumerStarted
from tests.runtime.fakes import FakeRecord
from tests.runtime.gate import Gate
from tests.runtime.running import RunningConsumer
from tests.support.until import until

KINDS = ("plain", "async")


def application(kind: str, handler: str, seen: list[object]) -> Processor:
    """An application whose lifespan and handler, each of one of `KINDS`, note what they do in `seen`."""
    app = Processor()

    @contextmanager
    def noted() -> Iterator[str]:
        seen.append("opened")
        yield "shared"
        seen.append("closed")

    if kind == "plain":

        @app.lifespan
        def plain() -> Iterator[str]:
            with noted() as state:
                yield state

    else:

        @app.lifespan
        async def later() -> AsyncIterator[str]:
            await asyncio.sleep(0)
            with noted() as state:
                yield state
                await asyncio.sleep(0)

    if handler == "plain":
        app.default(lambda task: seen.append(task.state))
    else:

        @app.default
        async def handle(task: Task) -> None:
            seen.append(task.state)

    return app


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("handler", KINDS)
def test_the_lifespan_opens_before_the_first_task_and_closes_after_the_last_and_each_task_has_its_state(
    kind: str, handler: str
) -> None:
    seen: list[object] = []
    with RunningConsumer(application(kind, handler, seen)) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(3)])
        run.settled(3)
        assert run.stop().exit_code == 0
    assert seen == ["opened", "shared", "shared", "shared", "closed"]


def test_a_retry_has_the_state_as_well() -> None:
    app, seen = Processor(), list[object]()

    @app.lifespan
    def lifespan() -> Iterator[str]:
        yield "shared"

    @app.default
    def handle(task: Task) -> None:
        seen.append((task.attempt, task.state))
        if task.attempt == 1:
            raise ConnectionError

    with RunningConsumer(app) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    assert seen == [(1, "shared"), (2, "shared")]


def test_without_a_lifespan_there_is_no_state() -> None:
    seen: list[object] = []
    with RunningConsumer(lambda task: seen.append(task.state)) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
    assert seen == [None]


@pytest.mark.parametrize("kind", KINDS)
def test_both_halves_of_a_lifespan_run_in_the_same_thread_or_loop(kind: str) -> None:
    """A thread, or a task of the event loop: what a database driver or a task group opens belongs to it."""
    app, places = Processor(), list[object]()

    if kind == "plain":

        @app.lifespan
        def plain() -> Iterator[None]:
            places.append(threading.get_ident())
            yield
            places.append(threading.get_ident())

    else:

        @app.lifespan
        async def later() -> AsyncIterator[None]:
            places.append(asyncio.current_task())
            async with asyncio.TaskGroup():
                yield
            places.append(asyncio.current_task())

    app.default(lambda task: None)
    with RunningConsumer(app) as run:
        assert run.stop().exit_code == 0
    assert len(places) == 2
    assert places[0] is places[1] or places[0] == places[1]


def test_an_async_lifespan_shares_its_loop_with_async_handlers() -> None:
    app, loops = Processor(), list[object]()

    @app.lifespan
    async def lifespan() -> AsyncIterator[None]:
        loops.append(asyncio.get_running_loop())
        yield

    @app.task("async")
    async def handle(task: Task) -> None:
        loops.append(asyncio.get_running_loop())

    app.task("plain")(lambda task: None)
    with RunningConsumer(app) as run:
        run.push(FakeRecord(0, b"s", name="async"))
        run.settled(1)
    assert loops[0] is loops[1]


def fail(error: BaseException) -> None:
    raise error


def refused(app: Processor) -> tuple[str, RunningConsumer]:
    """Return why the consumer does not start."""
    app.default(lambda task: None)
    run = RunningConsumer(app)
    run.push(FakeRecord(0, b"s"))
    with pytest.raises(LoadError) as caught:
        run.consumer.run()
    assert not run.cluster.members
    assert not run.of(ConsumerStarted)
    assert "\n" not in str(caught.value)
    return str(caught.value), run


def test_a_lifespan_that_fails_before_its_yield_keeps_the_consumer_from_joining_the_group() -> None:
    app = Processor()

    @app.lifespan
    def database() -> Iterator[None]:
        fail(ConnectionError("no route\nto the database"))
        yield

    sentence, _ = refused(app)
    assert "database failed: ConnectionError: no route to the database" in sentence
    assert sentence.endswith(f"({__file__}:{fail.__code__.co_firstlineno + 1})")


def test_an_async_lifespan_that_exits_is_a_failure() -> None:
    app = Processor()

    @app.lifespan
    async def database() -> AsyncIterator[None]:
        fail(SystemExit(3))
        yield

    assert "database failed: SystemExit: 3" in refused(app)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lifespan_that_does_not_yield_is_a_failure(kind: str) -> None:
    app = Processor()

    def plain() -> Iterator[None]:
        yield from ()

    async def later() -> AsyncIterator[None]:
        for state in list[None]():
            yield state

    app.lifespan(plain if kind == "plain" else later)
    assert "ended without a yield" in refused(app)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_after_the_yield_is_logged_and_the_stop_stays_clean(kind: str) -> None:
    app = Processor()

    def plain() -> Iterator[None]:
        yield
        raise OSError("the socket was closed")

    async def later() -> AsyncIterator[None]:
        yield
        raise OSError("the socket was closed")

    app.lifespan(plain if kind == "plain" else later)
    app.default(lambda task: None)
    with RunningConsumer(app) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    assert run.commit_point() == 1
    (failed,) = run.of(ConsumerLifespanFailed)
    assert failed.error_type == "builtins.OSError"
    assert failed.error.startswith(f"the socket was closed ({__file__}:")


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_yield_is_logged(kind: str) -> None:
    app = Processor()

    def plain() -> Iterator[None]:
        yield
        yield

    async def later() -> AsyncIterator[None]:
        yield
        yield

    app.lifespan(plain if kind == "plain" else later)
    app.default(lambda task: None)
    with RunningConsumer(app) as run:
        assert run.stop().exit_code == 0
    assert [event.error for event in run.of(ConsumerLifespanFailed)] == ["it yields more than once"]


def test_a_second_half_that_hangs_ends_with_the_drain_timeout() -> None:
    app, released = Processor(), threading.Event()

    @app.lifespan
    def lifespan() -> Iterator[None]:
        yield
        released.wait(60)

    app.default(lambda task: None)
    with RunningConsumer(app, drain_timeout=0.1) as run:
        until(lambda: run.commit_point() is not None or run.consumer.pulse().in_group)
        assert run.stop().exit_code == 0
    released.set()
    (failed,) = run.of(ConsumerLifespanFailed)
    assert failed.error_type == "builtins.TimeoutError"


def test_a_consumer_that_opens_slowly_is_alive_and_stops_when_it_has_opened() -> None:
    app, opens, seen = Processor(), threading.Event(), list[str]()

    @app.lifespan
    def lifespan() -> Iterator[None]:
        seen.append("begun")
        assert opens.wait(30)
        yield
        seen.append("closed")

    app.default(lambda task: None)
    with RunningConsumer(app) as run:
        until(lambda: seen)
        before = run.consumer.pulse().last_loop_at
        until(lambda: run.consumer.pulse().last_loop_at > before)
        run.consumer.request_stop("the test is over")
        opens.set()
        assert run.wait().exit_code == 0
    assert seen == ["begun", "closed"]


def test_a_stop_at_once_does_not_wait_for_a_lifespan_that_opens_slowly() -> None:
    app, opens = Processor(), threading.Event()

    @app.lifespan
    def lifespan() -> Iterator[None]:
        opens.wait(60)
        yield

    app.default(lambda task: None)
    with RunningConsumer(app) as run:
        run.consumer.request_stop_now("twice")
        assert run.wait().exit_code == 0
    opens.set()
    assert not run.of(ConsumerLifespanFailed)


def test_the_lifespan_closes_after_the_tasks_that_ran_at_the_stop() -> None:
    seen: list[object] = []
    app, gate = Processor(), Gate()

    @app.lifespan
    def lifespan() -> Iterator[None]:
        yield
        seen.extend(gate.passed)

    app.default(gate.handle)
    with RunningConsumer(app) as run:
        run.push(FakeRecord(0, b"s"))
        gate.until_begun()
        run.consumer.request_stop("the test is over")
        gate.open()
        assert run.wait().exit_code == 0
    assert seen == [0]


def test_the_second_half_runs_even_if_the_client_fails_while_it_leaves_the_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []
    run = RunningConsumer(application("plain", "plain", seen))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the client failed")

    monkeypatch.setattr(run.source, "close", fail)
    run.push(FakeRecord(0, b"s"))
    errors: list[str] = []

    def process() -> None:
        try:
            run.consumer.run()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=process)
    thread.start()
    until(lambda: run.commit_point() == 1)
    run.consumer.request_stop("test")
    thread.join(60)
    assert errors == ["the client failed"]
    assert seen[-1] == "closed"
    assert run.consumer._desk.lending._closed
