"""The demo's application: handlers that take their time, fail as they are told, and keep a ledger of what they did."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from processor.handlers.task import Reject, Task
from processor.processor import Processor

LEDGER: Final = "PROCESSOR_DEMO_LEDGER"
"""The environment variable that tells the consumers of the demo where their ledger is."""

Outcome = Literal["done", "failed", "refused"]


class Entry(msgspec.Struct, frozen=True):
    """One attempt, written by the handler when it ended. Times are seconds of the machine's monotonic clock."""

    session: str
    number: int
    """The task's place in its session, from 0."""
    attempt: int
    partition: int
    consumer: int
    """Its process's ID."""
    worker: str
    began: float
    ended: float
    outcome: Outcome


class Work(msgspec.Struct, frozen=True):
    """What a task of the demo asks for."""

    number: int
    milliseconds: float
    """How long its handler works."""
    failures: int = 0
    """How many attempts fail before one succeeds."""
    refuse: bool = False
    """Whether its handler rejects it."""


class DemoFailure(Exception):
    """Raised where a task asks for it, as a service that is down would do."""


app = Processor()


@app.task("work")
def work(task: Task) -> None:
    """Sleeps as a call to some service would, and ends as its payload says."""
    wanted = msgspec.convert(task.payload, Work)
    began = time.monotonic()
    time.sleep(wanted.milliseconds / 1000)
    if wanted.refuse:
        _note(task, wanted, began, "refused")
        raise Reject("the demo asks for it")
    if task.attempt <= wanted.failures:
        _note(task, wanted, began, "failed")
        raise DemoFailure(f"attempt {task.attempt} fails, as the demo asks for")
    _note(task, wanted, began, "done")


def _note(task: Task, wanted: Work, began: float, outcome: Outcome) -> None:
    entry = Entry(
        session=task.session_id,
        number=wanted.number,
        attempt=task.attempt,
        partition=task.partition,
        consumer=os.getpid(),
        worker=threading.current_thread().name,
        began=began,
        ended=time.monotonic(),
        outcome=outcome,
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
    """What is written so far; a file that nobody has made yet is empty."""
    if not path.exists():
        return []
    decode = msgspec.json.Decoder(Entry).decode
    return [decode(line) for line in path.read_bytes().splitlines()]
