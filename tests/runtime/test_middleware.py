"""Middleware around the attempts of a consumer, in worker threads and in the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from processor.handlers.exceptions import Reject, TaskTimeout
from processor.handlers.task import Task
from processor.processor import Processor
from processor.telemetry.events import TaskTimedOut
from tests.runtime.fakes import FakeRecord
from tests.runtime.gate import KINDS
from tests.runtime.running import RunningConsumer

Around = Callable[[Task, Callable[[Task], Any]], Any]


def application(kind: str, around: Around, handler: Callable[[Task], Any]) -> Processor:
    """`handler` as a plain or an async one, inside a middleware of its kind that does what `around` does."""
    app = Processor()
    if kind == "plain":
        app.middleware(around)
        app.default(handler)
        return app

    @app.middleware
    async def middleware(task: Task, call: Callable[[Task], Awaitable[Any]]) -> Any:
        awaited = await call(task)
        return around(task, lambda _: awaited)

    @app.default
    async def handle(task: Task) -> Any:
        await asyncio.sleep(0)
        return handler(task)

    return app


@pytest.mark.parametrize("kind", KINDS)
def test_middleware_surrounds_each_attempt_and_may_change_its_result(kind: str) -> None:
    seen: list[object] = []

    def handler(task: Task) -> bytes:
        seen.append(f"attempt {task.attempt}")
        if task.attempt == 1:
            raise ConnectionError
        return b"done"

    def around(task: Task, call: Callable[[Task], Any]) -> Any:
        try:
            return b"<" + call(task) + b">"
        finally:
            seen.append("around")

    with RunningConsumer(application(kind, around, handler), results_topic="r") as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    assert [sent.value for sent in run.sink.sent] == [b"<done>"]
    assert seen == (["attempt 1", "around", "attempt 2", "around"] if kind == "plain" else seen)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_of_middleware_fails_the_attempt(kind: str) -> None:
    def around(task: Task, call: Callable[[Task], Any]) -> Any:
        raise Reject("not for us") if task.offset == 0 else ValueError("no")

    with RunningConsumer(application(kind, around, lambda task: None), max_attempts=2) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"))
        run.settled(2)
        assert run.stop().exit_code == 0
    letters = {sent.headers["dlq-offset"]: sent.headers for sent in run.sink.sent}
    assert (letters[b"0"]["dlq-error-type"], letters[b"0"]["dlq-attempts"]) == (b"processor.Reject", b"1")
    assert (letters[b"1"]["dlq-error-type"], letters[b"1"]["dlq-attempts"]) == (b"builtins.ValueError", b"2")


def test_middleware_runs_within_the_deadline_of_a_thread() -> None:
    app, seen = Processor(), list[str]()

    @app.middleware
    def slow(task: Task, call: Callable[[Task], Any]) -> Any:
        try:
            while task.attempt == 1:
                time.sleep(0.001)
        except TaskTimeout:
            seen.append("interrupted")
            raise
        return call(task)

    app.default(lambda task: None)
    with RunningConsumer(app, timeout=0.5) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    assert seen == ["interrupted"]
    assert len(run.of(TaskTimedOut)) == 1


def test_middleware_runs_within_the_deadline_of_a_coroutine() -> None:
    app, seen = Processor(), list[str]()

    @app.middleware
    async def slow(task: Task, call: Callable[[Task], Awaitable[Any]]) -> Any:
        try:
            if task.attempt == 1:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return await call(task)

    @app.default
    async def handle(task: Task) -> None:
        pass

    with RunningConsumer(app, timeout=0.5) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    assert seen == ["cancelled"]
    assert len(run.of(TaskTimedOut)) == 1


def test_sync_and_async_middleware_each_surround_handlers_of_their_kind() -> None:
    app, seen = Processor(), list[tuple[str, str]]()

    @app.middleware
    def plain(task: Task, call: Callable[[Task], Any]) -> Any:
        seen.append(("plain", task.name))
        return call(task)

    @app.middleware
    async def later(task: Task, call: Callable[[Task], Awaitable[Any]]) -> Any:
        seen.append(("async", task.name))
        return await call(task)

    app.task("plain")(lambda task: None)

    @app.task("async")
    async def handle(task: Task) -> None:
        await asyncio.sleep(0)

    with RunningConsumer(app) as run:
        run.push(FakeRecord(0, b"s", name="plain"), FakeRecord(1, b"s", name="async"))
        run.settled(2)
        assert run.stop().exit_code == 0
    assert seen == [("plain", "plain"), ("async", "async")]


def test_a_middleware_that_forgets_to_await_fails_the_attempt() -> None:
    """A coroutine that is not awaited would count as a success."""
    app = Processor()

    @app.middleware
    async def forgetful(task: Task, call: Callable[[Task], Any]) -> Any:
        return call(task)

    @app.default
    async def handle(task: Task) -> None:
        pass

    with RunningConsumer(app, max_attempts=1) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        assert run.stop().exit_code == 0
    (letter,) = run.sink.sent
    assert letter.headers["dlq-error-type"] == b"builtins.TypeError"
