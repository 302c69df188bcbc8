"""From a record to the call of its handler, and from what the handler raised to a `Failure`."""

from __future__ import annotations

import contextlib
import traceback
from time import time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

from processor.engine.retry import Cause, Failure, Policy
from processor.errors import DecodeError, EncodeError, NotNow
from processor.handlers.payload import convert
from processor.handlers.table import Handler, Handlers
from processor.handlers.task import Reject, Task, TaskTimeout, UnknownTask
from processor.runtime.ports import Codec, Record
from processor.settings import Settings
from processor.telemetry.trace_context import trace_context

TRACEBACK_FRAMES = 20
MESSAGE_CHARACTERS, TYPE_CHARACTERS = 1000, 200
"""What is kept of an error, in the log and in a dead letter's headers: at most so much is added to a record."""

UNRUN: Final = frozenset((CoroutineType, GeneratorType, AsyncGeneratorType))
"""What a call returns instead of running: of a handler, it would pass for a success that never was."""


class Attempts:
    """What an application's handlers need to be called. Any thread may call it."""

    def __init__(self, app: Handlers, codec: Codec, settings: Settings) -> None:
        self._app = app
        self._decode = codec.decode
        self._settings = settings
        self._sole = app.sole_handler
        self._limit = settings.timeout

    def prepare(self, record: Record, attempt: int, now: float) -> tuple[Task, Handler, float]:
        """The task, its handler, and the seconds that this attempt may take from `now` on.

        Raises:
            DecodeError: the value cannot be read, or is not what the handler asks for.
            NotNow: it cannot be read yet.
            UnknownTask: there is no handler for its name.
        """
        content = self._decode(record)
        handler = self._sole
        task = Task(record, content.payload, attempt, now + self._limit, content)
        if handler is None:
            handler = self._app.handler_for(task)
        if handler.payload_type is not None:
            task.payload = convert(task.payload, handler.payload_type)
        limit = handler.timeout
        if limit is None:
            return task, handler, self._limit
        task._expires = now + limit
        return task, handler, limit

    def policy(self, handler: Handler | None) -> Policy:
        """How often a task of this handler is attempted."""
        most = handler.max_attempts if handler is not None else None
        return Policy(most or self._settings.max_attempts, self._settings.backoff, self._settings.backoff_max)


def failure_of(error: BaseException, *, begun: bool) -> Failure:
    """What an attempt failed with; `begun` tells whether the handler had been called."""
    cause = _cause(error, begun)
    retry_in = error.retry_in if isinstance(error, NotNow) else 0.0
    return Failure(cause, type_name(error), _message(error), _frames(error) if begun else None, retry_in)


def failure_of_unrun(value: Any) -> Failure:
    """What an attempt failed with that returned `value`, one of `UNRUN`: code that nobody will run."""
    what = {CoroutineType: "a coroutine, which nobody awaits"}.get(type(value), "a generator, which nobody iterates")
    if isinstance(value, CoroutineType):
        with contextlib.suppress(Exception):  # Python would warn of it, at a place that has nothing to do with it
            value.close()
    message = f"the handler returned {what}: it has not run. Make the handler async, or run it inside"
    return Failure(Cause.REJECTED, "builtins.TypeError", message)


def type_name(error: BaseException) -> str:
    """The exception's name with its module, as far as a header should take it."""
    kind = type(error)
    return _cut(f"{kind.__module__}.{kind.__qualname__}", TYPE_CHARACTERS)


def about(record: Record, attempt: int, task: Task | None) -> dict[str, Any]:
    """The fields of a task's event; of an undecodable one only what its record tells."""
    task = task or Task(record, None, attempt, 0.0)
    trace = trace_context(task.headers.get("traceparent"))
    return {
        "task_id": task.id,
        "session_id": task.session_id,
        "task_name": task.name,
        "topic": task.topic,
        "partition": task.partition,
        "offset": task.offset,
        "attempt": attempt,
        "trace_id": trace[0] if trace else None,
        "span_id": trace[1] if trace else None,
    }


def epoch_milliseconds() -> int:
    """Now, as Kafka tells time."""
    return int(time() * 1000)


def _cause(error: BaseException, begun: bool) -> Cause:
    if isinstance(error, Reject | EncodeError):
        return Cause.REJECTED
    if isinstance(error, TaskTimeout):
        return Cause.TIMED_OUT
    if not begun and isinstance(error, DecodeError):
        return Cause.UNDECODABLE
    if not begun and isinstance(error, NotNow):
        return Cause.POSTPONED
    if not begun and isinstance(error, UnknownTask):
        return Cause.UNKNOWN
    return Cause.FAILED


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:
        text = f"(its text cannot be had: {type_name(broken)})"
    return _cut(text, MESSAGE_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _frames(error: BaseException) -> str | None:
    """The handler's own frames, without this program's; None where an exception was made without being raised."""
    frames = traceback.extract_tb(error.__traceback__, limit=-TRACEBACK_FRAMES)
    own = [frame for frame in frames if not frame.filename.endswith(("runtime/workers.py", "runtime/event_loop.py"))]
    return "".join(traceback.format_list(own)) or None
