"""A handler that a test blocks, and lets continue when it likes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from processor.handlers.task import Task
from tests.support.until import until

SECONDS = 60.0

KINDS = ("plain", "async")
"""Of handlers. An application of plain ones runs in worker threads, one of async ones in an event loop."""


class Gate:
    """Tasks wait in it until it opens. It records which began and which passed, in their order."""

    def __init__(self, holds: Callable[[Task], bool] = lambda task: True) -> None:
        """It blocks the tasks for which `holds` is true; the others pass."""
        self.begun: list[int] = []
        """Offsets."""
        self.passed: list[int] = []
        self._holds = holds
        self._opened = threading.Event()
        self._waiting: list[asyncio.Future[None]] = []

    def handler(self, kind: str) -> Callable[[Task], Any]:
        """Its handler, of one of `KINDS`."""
        return {"plain": self.handle, "async": self.handle_async}[kind]

    def handle(self, task: Task) -> None:
        self.begun.append(task.offset)
        if self._holds(task):
            assert self._opened.wait(SECONDS), "the test did not open the gate"
        self.passed.append(task.offset)

    async def handle_async(self, task: Task) -> None:
        self.begun.append(task.offset)
        if self._holds(task):
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            if not self._opened.is_set():
                await future
        self.passed.append(task.offset)

    def until_begun(self, count: int = 1) -> None:
        """Waits until this many tasks have begun."""
        until(lambda: len(self.begun) >= count, f"{count} tasks begin", SECONDS)

    def until_passed(self, count: int) -> None:
        """Waits until this many tasks have passed."""
        until(lambda: len(self.passed) >= count, f"{count} tasks pass", SECONDS)

    def open(self) -> None:
        """Lets everything pass from now on."""
        self._opened.set()
        for future in self._waiting:
            with contextlib.suppress(RuntimeError):  # its event loop has ended
                future.get_loop().call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def give_way() -> None:
    """Lets the event loop run its other coroutines once, without a delay."""
    await asyncio.sleep(0)
