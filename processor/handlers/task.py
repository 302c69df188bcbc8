"""`Task`, what a handler is given, and the ways in which an attempt can end early."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from processor.engine.record import Record  # a probe loads a task and none of the engine

    P = TypeVar("P", default=Any)
else:
    from typing import TypeVar

    P = TypeVar("P")


class Content(msgspec.Struct, frozen=True):
    """What a record's value says of its task; None where it is silent. A tuple takes three times as long to make."""

    payload: Any
    name: str | None = None
    id: str | None = None
    session_id: str | None = None
    headers: dict[str, bytes | None] | None = None


SILENT = Content(None)


class Reject(Exception):
    """Raised by a handler: this task can never succeed, dead-letter it now, without another attempt."""

    __module__ = "processor"


class TaskTimeout(BaseException):
    """Raised inside a handler when its attempt's time is over.

    Like `asyncio.CancelledError` it is no `Exception`, so that a handler's `except Exception` lets
    it pass. It may arrive at any line of the handler, never inside a call that blocks in C.
    """

    __module__ = "processor"


class HandlerStuck(Exception):
    """Why a task was dead-lettered whose handler went on after `TaskTimeout` and its grace."""

    __module__ = "processor"


class UnknownTask(Exception):
    """Why a task was dead-lettered for whose name no handler is registered."""

    __module__ = "processor"


class Task(msgspec.Struct, Generic[P], eq=False):
    """One record as its handler sees it. A handler that is annotated with `Task[Order]` gets an `Order` as payload.

    A task reads most of what it tells from its record when asked: at half a million tasks a second
    a handler that looks at nothing but the payload should not pay for ten fields.
    """

    _record: Record
    payload: P
    """The decoded payload; None for a record without a value."""
    attempt: int
    """1 for the first attempt."""
    _expires: float
    _content: Content = SILENT
    """What the value says besides the payload."""
    _headers: dict[str, bytes | None] | None = None
    _deadline: float | None = None

    @property
    def topic(self) -> str:
        """The topic it was consumed from."""
        return self._record.topic()

    @property
    def partition(self) -> int:
        """The partition it was consumed from."""
        return self._record.partition()

    @property
    def offset(self) -> int:
        """Its offset in the partition."""
        return self._record.offset()

    @property
    def timestamp(self) -> int:
        """The record's timestamp in milliseconds since the epoch; -1 where it has none."""
        kind, milliseconds = self._record.timestamp()
        return milliseconds if kind else -1

    @property
    def headers(self) -> dict[str, bytes | None]:
        """The record's headers by name; of a name that repeats, the last. Those that the value names win."""
        if self._headers is None:
            self._headers = headers_of(self._record, self._content)
        return self._headers

    @property
    def session_id(self) -> str:
        r"""The record's key as text (bytes that are not UTF-8 as \xNN); without a key what the value names, or ""."""
        return session_of(self._record, self._content)

    @property
    def id(self) -> str:
        """What the value names, else the header `task-id`, else `TOPIC-PARTITION-OFFSET`."""
        return id_of(self._record, self._content, self.headers)

    @property
    def name(self) -> str:
        """What the value names, else the header `task-name`, else ""."""
        return self._content.name or _text(self.headers.get("task-name"))

    @property
    def deadline(self) -> float:
        """When this attempt's time is over, in seconds since the epoch as `time.time()` tells them.

        `remaining()` is the safer thing to ask: it does not move when the clock is set.
        """
        if self._deadline is None:
            self._deadline = time.time() + self.remaining()
        return self._deadline

    def remaining(self) -> float:
        """Seconds that this attempt still has; negative when its time is over."""
        return self._expires - time.monotonic()

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, name={self.name!r}, attempt={self.attempt})"


class Identity(NamedTuple):
    """The names that a record has as a task, whether its value can be decoded or not."""

    id: str
    session_id: str
    name: str
    traceparent: bytes | None


def identity_of(record: Record, content: Content = SILENT) -> Identity:
    """Return what `content` and the record's headers name."""
    headers = headers_of(record, content)
    name = content.name or _text(headers.get("task-name"))
    task_id = id_of(record, content, headers)
    return Identity(task_id, session_of(record, content), name, headers.get("traceparent"))


def headers_of(record: Record, content: Content) -> dict[str, bytes | None]:
    """Return the record's headers by name, with those of the value over them."""
    headers = dict(record.headers() or ())
    if content.headers:
        headers.update(content.headers)
    return headers


def session_of(record: Record, content: Content) -> str:
    r"""Return the record's key as text (bytes that are not UTF-8 as \xNN), else what the value names, else ""."""
    key = record.key()
    return key.decode("utf-8", "backslashreplace") if key is not None else content.session_id or ""


def id_of(record: Record, content: Content, headers: Mapping[str, bytes | None]) -> str:
    """Return what the value names, else the header `task-id`, else `TOPIC-PARTITION-OFFSET`."""
    named = content.id or _text(headers.get("task-id"))
    return named or f"{record.topic()}-{record.partition()}-{record.offset()}"


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "backslashreplace") if value else ""
