"""The demo's application: a handler that sleeps or fails as its task asks, and writes each attempt to a ledger."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from processor.handlers.batch import BatchError
from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.handlers.terms import NOT_BEFORE
from processor.processor import Processor

LEDGER: Final = "PROCESSOR_DEMO_LEDGER"
"""The environment variable with the path of the ledger, for the consumers of the demo."""

BATCH: Final = 50
"""Number of tasks in a full batch."""

BATCH_SECONDS: Final = 0.02
"""How long a handler works on a batch, however many tasks it has."""

Outcome = Literal["done", "failed", "refused"]


class Entry(msgspec.Struct, frozen=True):
    """One attempt, written by the handler when it ended. Times are seconds of the machine's monotonic clock."""

    session: str
    number: int
    """The task's place in its session, from 0."""
    attempt: int
    partition: int
    consumer: int
    """The ID of the consumer's process."""
    worker: str
    began: float
    ended: float
    outcome: Outcome
    waited: float = 0.0
    """Seconds from its record's timestamp to its begin, by the clocks of producer and consumer."""
    overdue: float | None = None
    """Seconds by which it began after its earliest start; None if it has none."""
    batch: int | None = None
    """Number of tasks in its batch; None if its handler takes single tasks."""


class Work(msgspec.Struct, frozen=True):
    """The payload of a demo task, which determines the behaviour of its handler."""

    number: int
    milliseconds: float
    """How long its handler works."""
    failures: int = 0
    """Number of attempts that fail before one succeeds."""
    refuse: bool = False
    """Whether its handler rejects it."""


class DemoFailure(Exception):
    """The failure that a task's payload requests. It simulates a service that is down."""


app = Processor()


@app.task("work")
def work(task: Task) -> None:
    """Sleep as long as a call to a service takes, and end as the payload requires."""
    wanted = msgspec.convert(task.payload, Work)
    began = time.monotonic()
    time.sleep(wanted.milliseconds / 1000)
    if wanted.refuse:
        _note(task, wanted, began, "refused")
        raise Reject("the task asks to be rejected")
    if task.attempt <= wanted.failures:
        _note(task, wanted, began, "failed")
        raise DemoFailure(f"the task asks attempt {task.attempt} to fail")
    _note(task, wanted, began, "done")


@app.batch("store", size=BATCH, wait=0.1)
def store(tasks: list[Task]) -> None:
    """Sleep as long as a database takes to store a batch, and report failures for tasks whose payload requires them."""
    time.sleep(BATCH_SECONDS)
    errors: dict[int, Exception] = {}
    for index, task in enumerate(tasks):
        wanted = msgspec.convert(task.payload, Work)
        has_failed = task.attempt <= wanted.failures
        if has_failed:
            errors[index] = DemoFailure(f"the task asks attempt {task.attempt} to fail")
        _note(task, wanted, time.monotonic(), "failed" if has_failed else "done", batch=len(tasks))
    if errors:
        raise BatchError(errors)


def _note(task: Task, wanted: Work, began: float, outcome: Outcome, batch: int | None = None) -> None:
    ended = time.monotonic()
    began_at = time.time() - (ended - began)
    not_before = task.headers.get(NOT_BEFORE)
    entry = Entry(
        session=task.session_id,
        number=wanted.number,
        attempt=task.attempt,
        partition=task.partition,
        consumer=os.getpid(),
        worker=threading.current_thread().name,
        began=began,
        ended=ended,
        outcome=outcome,
        waited=began_at - task.timestamp / 1000,
        overdue=began_at - int(not_before) / 1000 if not_before is not None else None,
        batch=batch,
    )
    # One write to a file that is open for appending: processes and threads never write into each other's lines.
    os.write(_ledger(), msgspec.json.encode(entry) + b"\n")


_guard = threading.Lock()
_opened: int | None = None


def _ledger() -> int:
    global _opened  # noqa: PLW0603 — a process has one ledger
    with _guard:
        if _opened is None:
            _opened = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return _opened


def read_ledger(path: Path) -> list[Entry]:
    """Return the attempts that have been written so far; none if the file does not exist yet."""
    if not path.exists():
        return []
    decode = msgspec.json.Decoder(Entry).decode
    return [decode(line) for line in path.read_bytes().splitlines()]
