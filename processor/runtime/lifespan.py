"""`LifespanRun`: an application's lifespan in one consumer, from before its first task until after its last.

What a generator opens often belongs to the thread or to the asyncio task that opened it. So both halves of the
generator run in the same one: a separate thread or, for an async generator, one task of the consumer's event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import Any

from processor.errors import LoadError
from processor.handlers.lifespan import Lifespan
from processor.runtime.lease_keeper import LeaseKeeper
from processor.runtime.runner import run_at_once
from processor.runtime.stopping import Stopping
from processor.telemetry.blame import described, place
from processor.telemetry.error_text import type_name
from processor.telemetry.events import ConsumerLifespanFailed, Emit

CHECK_SECONDS = 0.1
"""The longest single wait for the first half. Between two waits, the poller proves that it is alive, and a stop is
noticed."""


class LifespanRun:
    """One run of a lifespan. Belongs to the poller's thread."""

    def __init__(self, lifespan: Lifespan, loop: asyncio.AbstractEventLoop | None, emit: Emit) -> None:
        """`loop` is the consumer's event loop; an async lifespan needs it."""
        self._lifespan = lifespan
        self._loop = loop
        self._emit = emit
        self._opened: Future[Any] = Future()
        """What the lifespan yields."""
        self._closed: Future[None] = Future()
        """Done when the second half has ended."""
        self._resume: Callable[[], object] = lambda: None

    def open(self, keeper: LeaseKeeper, stopping: Stopping, seconds: float) -> Any:
        """Runs the first half, and returns what it yields; None if the consumer must stop before that.

        Args:
            keeper: ticked meanwhile, since a consumer whose lifespan takes long to open is alive.
            stopping: whether the consumer must stop.
            seconds: how long the first half may still take after a stop was requested.

        Raises:
            LoadError: it raised an exception, or ended without a yield.
        """
        self._start()
        deadline = None
        while not self._opened.done():
            now = keeper.tick()
            if stopping.is_asked and deadline is None:
                deadline = now + seconds
            if stopping.at_once or (deadline is not None and now >= deadline):
                return None
            _wait(self._opened, CHECK_SECONDS)
        error = self._opened.exception()
        if error is not None:
            raise LoadError(f"{self._lifespan.name} failed: {described(error)}{place(error)}") from error
        return self._opened.result()

    def close(self, seconds: float) -> None:
        """Runs the second half, for at most `seconds`. An error in it is logged, not raised."""
        if not self._opened.done() or self._opened.exception() is not None:
            return
        began = monotonic()
        self._resume()
        if not _wait(self._closed, seconds):
            error: BaseException | None = TimeoutError(f"it still ran {monotonic() - began:.1f} seconds after its end")
        else:
            error = self._closed.exception()
        if error is not None:
            self._emit(
                ConsumerLifespanFailed(
                    lifespan=self._lifespan.name, error_type=type_name(error), error=f"{error}{place(error)}"
                )
            )

    def _start(self) -> None:
        if not self._lifespan.is_async:
            resumed = threading.Event()
            self._resume = resumed.set

            async def wait() -> None:
                resumed.wait()

            live = self._live(_as_async(self._lifespan), wait)
            threading.Thread(target=run_at_once, args=(live,), name="lifespan", daemon=True).start()
            return
        assert self._loop is not None, "an async lifespan runs in the consumer's event loop"
        loop, event = self._loop, asyncio.Event()
        self._resume = lambda: loop.call_soon_threadsafe(event.set)
        asyncio.run_coroutine_threadsafe(self._live(self._lifespan.function(), event.wait), loop)

    async def _live(self, generator: AsyncGenerator[Any, None], wait: Callable[[], Awaitable[object]]) -> None:
        """Runs both halves. Whatever the application raises ends in a future: the loop outlives a `SystemExit`."""
        try:
            state = await anext(generator)
        except StopAsyncIteration:
            self._opened.set_exception(RuntimeError("it ended without a yield"))
            return
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(state)
        await wait()
        try:
            await anext(generator)
        except StopAsyncIteration:
            self._closed.set_result(None)
        except BaseException as error:
            self._closed.set_exception(error)
        else:
            with suppress(BaseException):  # the second `yield` is the error to report, whatever closing raises
                await generator.aclose()
            self._closed.set_exception(RuntimeError("it yields more than once"))


async def _as_async(lifespan: Lifespan) -> AsyncGenerator[Any, None]:
    """Wraps a plain generator, so that `_live` serves both kinds."""
    for state in lifespan.function():
        yield state


def _wait(future: Future[Any], seconds: float) -> bool:
    """Waits for the future, at most `seconds`. Return whether it is done."""
    try:
        future.exception(seconds)
    except TimeoutError:
        return False
    return True
