"""Lines that handlers log have the fields of the task that logged them, and of no other."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from processor import Processor, Task
from processor.engine.record import Record
from processor.runtime.ports import Content
from processor.telemetry.events import Event, HandlerLog
from processor.telemetry.handler_logs import captured
from tests.runtime.fakes import FakeCodec, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.unconfigured_logging import unconfigured

log = structlog.get_logger("shop")
std = logging.getLogger("shop")


@contextmanager
def running(app: object, **options: Any) -> Iterator[RunningConsumer]:
    events: list[Event] = []
    with unconfigured(), captured(events.append, "info", wanted=True):
        with RunningConsumer(app, events=events, **options) as run:
            yield run


def lines(run: RunningConsumer) -> list[tuple[str, int | None, int | None]]:
    return sorted((event.message, event.offset, event.attempt) for event in run.of(HandlerLog))


def speak(task: Task) -> None:
    std.info("%d", task.offset)
    log.info(str(task.offset))


async def speak_async(task: Task) -> None:
    std.info("%d", task.offset)
    await asyncio.sleep(0)
    log.info(str(task.offset))


def mixed() -> Processor:
    app = Processor()
    app.task("plain")(speak)
    app.default(speak_async)
    return app


@pytest.mark.parametrize("app", [speak, speak_async, mixed()], ids=["threads", "coroutines", "both"])
def test_each_line_has_the_fields_of_its_task(app: object) -> None:
    with running(app, workers=4) as run:
        run.push(*(FakeRecord(n, b"k%d" % (n % 7), name="plain" if n % 2 else "") for n in range(50)))
        run.settled(50)
        found = run.of(HandlerLog)
    assert sorted(event.offset for event in found if event.offset is not None) == sorted([*range(50)] * 2)
    for event in found:
        assert event.offset == int(event.message)
        assert (event.topic, event.partition, event.session_id) == ("t", 0, f"k{event.offset % 7}")
        assert event.task_name == ("plain" if event.offset % 2 else "")
        assert (event.task_id, event.attempt, event.logger) == (f"t-0-{event.offset}", 1, "shop")


@pytest.mark.parametrize("is_async", [False, True])
def test_the_attempt_is_counted(is_async: bool) -> None:
    def fail_twice(task: Task) -> None:
        std.info("trying")
        if task.attempt < 3:
            raise ConnectionError

    async def fail_twice_async(task: Task) -> None:
        fail_twice(task)

    with running(fail_twice_async if is_async else fail_twice, max_attempts=3) as run:
        run.push(FakeRecord(0, b"k"))
        run.settled(1)
        assert lines(run) == [("trying", 0, 1), ("trying", 0, 2), ("trying", 0, 3)]


def test_coroutines_and_threads_that_an_async_handler_waits_for_belong_to_its_task() -> None:
    async def part() -> None:
        await asyncio.sleep(0)
        std.info("part")

    async def handle(task: Task) -> None:
        await asyncio.gather(part(), part(), asyncio.to_thread(std.info, "thread"))
        await log.ainfo("structlog's thread")

    with running(handle) as run:
        run.push(FakeRecord(0, b"k"))
        run.settled(1)
        assert lines(run) == [("part", 0, 1), ("part", 0, 1), ("structlog's thread", 0, 1), ("thread", 0, 1)]


def test_threads_that_a_handler_starts_belong_to_no_task_even_with_its_context() -> None:
    """A worker serves one session after another: a thread that outlives its handler would log as another task."""

    def handle(task: Task) -> None:
        thread = threading.Thread(target=std.info, args=("thread",))
        thread.start()
        thread.join()
        with ThreadPoolExecutor() as pool:
            pool.submit(copy_context().run, std.info, "pool").result()
        asyncio.run(in_a_loop_of_its_own())

    async def in_a_loop_of_its_own() -> None:
        std.info("same thread")

    with running(handle) as run:
        run.push(FakeRecord(0, b"k"))
        run.settled(1)
        assert lines(run) == [("pool", None, None), ("same thread", 0, 1), ("thread", None, None)]


def test_what_outlives_its_handler_is_never_logged_as_another_sessions() -> None:
    """With async handlers. If there are plain ones too, a line stays with the task that started its coroutine."""
    go = threading.Event()

    async def later() -> None:
        await asyncio.to_thread(go.wait)
        std.info("late")

    async def handle(task: Task) -> None:
        if task.session_id == "first":
            background.append(asyncio.create_task(later()))

    background: list[asyncio.Task[None]] = []
    for app, expected in ((handle, None), (both(handle), 0)):
        go.clear()
        with running(app) as run:
            run.push(FakeRecord(0, b"first"))
            run.settled(1)
            run.push(*(FakeRecord(n, b"second") for n in range(1, 9)))
            run.settled(9)
            go.set()
            assert run.until_event(HandlerLog).offset == expected


def both(handle: Callable[[Task], Any]) -> Processor:
    app = Processor()
    app.default(handle)
    app.task("plain")(speak)
    return app


@dataclass
class Order:
    cents: int

    def __post_init__(self) -> None:
        std.info("converting")


def handle_order(task: Task[Order]) -> None:
    std.info("handling")


async def handle_order_async(task: Task[Order]) -> None:
    std.info("handling")


class OrderCodec(FakeCodec):
    def decode(self, record: Record) -> Content:
        return Content({"cents": 1})


@pytest.mark.parametrize("handle", [handle_order, handle_order_async])
def test_a_conversion_that_logs_before_the_handler_is_not_taken_for_the_task_before(handle: Any) -> None:
    with running(handle, codec=OrderCodec()) as run:
        run.push(FakeRecord(0, b"k"), FakeRecord(1, b"k"))
        run.settled(2)
        found = [(event.message, event.offset) for event in run.of(HandlerLog)]
    assert found == [("converting", None), ("handling", 0), ("converting", None), ("handling", 1)]


def test_context_variables_of_one_coroutine_are_not_seen_by_another() -> None:
    colour: ContextVar[str] = ContextVar("colour", default="none")
    seen: list[str] = []

    async def handle(task: Task) -> None:
        seen.append(colour.get())
        colour.set(task.session_id)

    with running(handle, workers=1) as run:
        for number in range(5):
            run.push(FakeRecord(number, b"k%d" % number))
            run.settled(number + 1)
    assert seen == ["none"] * 5
