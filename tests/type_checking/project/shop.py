"""A user's project: everything that type checkers have to accept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, assert_type

import msgspec

from processor import (
    AsyncDispatcher,
    BatchError,
    Dispatcher,
    Processor,
    ProcessorError,
    RegistrySettings,
    Reject,
    Retry,
    Settings,
    Step,
    Task,
    TaskTimeout,
)
from processor.testing import Report, run, task


@dataclass
class Order:
    customer: str
    cents: int


class Refund(msgspec.Struct):
    order: str


class Database:
    def charge(self, order: Order) -> str:
        return order.customer


app = Processor()


@app.lifespan
def resources() -> Iterator[Database]:
    yield Database()


@app.middleware
def timed(task: Task, call: Callable[[Task], Any]) -> Any:
    began = time.monotonic()
    try:
        return call(task)
    finally:
        print(time.monotonic() - began)


@app.middleware
async def timed_async(task: Task, call: Callable[[Task], Awaitable[Any]]) -> Any:
    return await call(task)


@app.task(
    "charge",
    timeout=10,
    max_attempts=5,
    retry_on=(ConnectionError, TimeoutError),
    reject_on=ValueError,
    backoff=0.5,
    backoff_max=30,
    outage_on=ConnectionRefusedError,
    concurrency=8,
    rate="100/s",
    expires=60,
)
def charge(task: Task[Order]) -> str:
    assert_type(task, Task[Order])
    assert_type(task.payload, Order)
    assert_type((task.id, task.session_id, task.name, task.topic), tuple[str, str, str, str])
    assert_type((task.partition, task.offset, task.timestamp, task.attempt), tuple[int, int, int, int])
    assert_type(task.headers, dict[str, bytes | None])
    assert_type((task.deadline, task.remaining()), tuple[float, float])
    if task.payload.cents <= 0:
        raise Reject("nothing to charge")
    try:
        database: Database = task.state
        return database.charge(task.payload)
    except ConnectionResetError as error:
        raise Retry(after=5, counts=False) from error
    except TaskTimeout:
        raise


@app.task("refund")
async def refund(task: Task[Refund]) -> None:
    assert_type(task.payload, Refund)
    await asyncio.sleep(0)


@app.task(schema="order.avsc")
def ordered(task: Task[Order]) -> None: ...


@app.batch("reading", size=500, wait=0.1)
def readings(tasks: list[Task[float]]) -> list[float | None]:
    assert_type(tasks[0].payload, float)
    cold: dict[int, Exception] = {n: ValueError("cold") for n, task in enumerate(tasks) if task.payload < 0}
    if cold:
        raise BatchError(cold)
    return [task.payload for task in tasks]


@app.batch("insert", sessions=1)
async def insert(tasks: list[Task]) -> None:
    await asyncio.sleep(0)


@app.default
def anything_else(task: Task) -> dict[str, Any]:
    assert_type(task.payload, Any)
    return {"payload": task.payload["anything"]}


other = Processor()


@other.default(timeout=5)
async def everything(task: Task[Any]) -> None: ...


@other.lifespan
async def async_resources() -> AsyncIterator[Database]:
    yield Database()


class Handler:
    """A handler may be an object with a `__call__`."""

    def __call__(self, task: Task[list[int]]) -> int:
        return sum(task.payload)


other.task("sum")(Handler())


def handlers_keep_their_types() -> None:
    given: Task[Order] = task(Order("anna", 1200), "anna")
    assert_type(charge(given), str)
    report = run(app, [("anna", {"customer": "anna", "cents": 1200})])
    assert_type(report, Report)
    assert_type(report.dead_letters[0].error, str)


def send() -> int:
    registry = RegistrySettings(url="http://localhost:8081")
    try:
        with Dispatcher("localhost:9092", "orders", value_format="avro", schema_registry=registry) as dispatcher:
            sent = dispatcher.submit(
                "anna", {"cents": 1200}, "charge", id="o-1", headers={"source": "till", "raw": b""}
            )
            dispatcher.submit("anna", {"cents": 80}, priority=5, delay=1.5)
            pack = Step("store", {"order": 1}, "pack", delay=2, headers={"source": "till"})
            dispatcher.submit(Step("anna", {"cents": 80}, "charge", id="o-2").then(pack.then(Step("anna", None))))
            dispatcher.submit("anna", {"cents": 80}, not_before="2026-01-01T00:00:00Z", expires_in=60)
            future: Future[Any] = sent
            assert_type(dispatcher.pending(), int)
            assert_type(dispatcher.flush(), int)
    except ProcessorError as error:
        return error.exit_code
    assert_type(sent.result(timeout=30).topic, str)
    future.add_done_callback(lambda ended: print(ended.result()))
    return sent.result().offset


async def send_async() -> int:
    async with AsyncDispatcher("localhost:9092", "orders", value_format="json", max_pending=100) as dispatcher:
        where = await dispatcher.submit("anna", {"cents": 1200}, "charge", priority=5)
        where = await dispatcher.submit(Step("anna", 1).then(Step("ben", 2)))
        both = await asyncio.gather(dispatcher.submit("anna", 1), dispatcher.submit("ben", 2))
        assert_type(await dispatcher.flush(30), int)
    assert_type((where.topic, where.partition, where.offset), tuple[str, int, int])
    return both[0].offset


def main() -> int:
    settings = Settings(topics=("orders",), group="shop", value_format="json", workers=8)
    exit_code = app.run("orders", group=settings.group, bootstrap_servers="localhost:9092", value_format="json")
    assert_type(exit_code, int)
    app.stop()
    return exit_code
