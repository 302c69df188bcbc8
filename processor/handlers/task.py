"""`Task`, a handler's argument."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from processor.engine.record import Record  # health probes load this module, but not the engine
    from processor.telemetry.spans import OpenSpan

    P = TypeVar("P", default=Any)
else:
    from typing import TypeVar

    P = TypeVar("P")


class Decoded(Protocol):
    """The fields of a task that its record's value sets; None for the others. A codec may decode some on access."""

    @property
    def payload(self) -> Any: ...
    @property
    def name(self) -> str | None: ...
    @property
    def id(self) -> str | None: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def headers(self) -> dict[str, bytes | None] | None: ...


class Content(msgspec.Struct, frozen=True):
    """The fields of `Decoded`, all decoded already. Making a tuple would take three times as long."""

    payload: Any
    name: str | None = None
    id: str | None = None
    session_id: str | None = None
    headers: dict[str, bytes | None] | None = None


NO_CONTENT = Content(None)

REPLAYS = "dlq-replays"
"""The header that `processor dlq replay` adds to a record: the number of times that the record was replayed."""


class Task(msgspec.Struct, Generic[P], eq=False):
    """One record as its handler sees it. A handler annotated with `Task[Order]` gets an `Order` as the payload.

    Most fields are read from the record on access: at half a million tasks per second, a handler that uses only the
    payload should not pay for ten fields.
    """

    _record: Record
    payload: P
    """The decoded payload; None for a record without a value."""
    attempt: int
    """1 for the first attempt."""
    _expires: float
    _content: Decoded = NO_CONTENT
    """The fields that the value sets besides the payload."""
    _headers: dict[str, bytes | None] | None = None
    _deadline: float | None = None
    state: Any = None
    """The value that the application's lifespan yielded in this consumer; None without a lifespan."""
    _span: OpenSpan | None = None
    """The span of this attempt, if attempts are traced."""

    @property
    def topic(self) -> str:
        """The topic that the task was consumed from."""
        return self._record.topic()

    @property
    def partition(self) -> int:
        """The partition that the task was consumed from."""
        return self._record.partition()

    @property
    def offset(self) -> int:
        """Its offset in the partition."""
        return self._record.offset()

    @property
    def timestamp(self) -> int:
        """The record's timestamp in milliseconds since the epoch; -1 if it has none."""
        kind, milliseconds = self._record.timestamp()
        return milliseconds if kind else -1

    @property
    def headers(self) -> dict[str, bytes | None]:
        """The record's headers by name, the last of each name. Headers that the value sets take precedence."""
        if self._headers is None:
            self._headers = headers_of(self._record, self._content)
        return self._headers

    @property
    def session_id(self) -> str:
        r"""The record's key as text (bytes that are not UTF-8 as \xNN); without a key the value's session ID, or ""."""
        return session_of(self._record, self._content)

    @property
    def id(self) -> str:
        """The value's ID, else the header `task-id`, else `TOPIC-PARTITION-OFFSET`."""
        return id_of(self._record, self._content, self.headers)

    @property
    def name(self) -> str:
        """The value's name, else the header `task-name`, else ""."""
        return self._content.name or _text(self.headers.get("task-name"))

    @property
    def inputs(self) -> list[Any]:
        """The return values of the tasks that this one follows, in order; empty if it follows none."""
        value = dict(self._record.headers() or ()).get("task-inputs")
        if value is None:
            return []
        from processor.handlers.links import read_inputs  # not at the top: health probes load this module

        return read_inputs(value)

    @property
    def deadline(self) -> float:
        """When this attempt's time limit expires, in seconds since the epoch.

        Prefer `remaining()`, which is not affected when the system clock is set.
        """
        if self._deadline is None:
            self._deadline = time.time() + self.remaining()
        return self._deadline

    def remaining(self) -> float:
        """Seconds until this attempt's time limit expires; negative afterwards."""
        return self._expires - time.monotonic()

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, name={self.name!r}, attempt={self.attempt})"


class Identity(NamedTuple):
    """The fields that identify a task, available even if its value cannot be decoded."""

    id: str
    session_id: str
    name: str
    traceparent: bytes | None


def identity_of(record: Record, content: Decoded = NO_CONTENT) -> Identity:
    """The identity of a record, from its decoded content and its headers."""
    headers = headers_of(record, content)
    name = content.name or _text(headers.get("task-name"))
    task_id = id_of(record, content, headers)
    return Identity(task_id, session_of(record, content), name, headers.get("traceparent"))


def headers_of(record: Record, content: Decoded) -> dict[str, bytes | None]:
    """The record's headers by name. Headers that the value sets take precedence."""
    headers = dict(record.headers() or ())
    if content.headers:
        headers.update(content.headers)
    return headers


def session_of(record: Record, content: Decoded) -> str:
    r"""The record's key as text (bytes that are not UTF-8 as \xNN), else the value's session ID, else ""."""
    key = record.key()
    return key.decode("utf-8", "backslashreplace") if key is not None else content.session_id or ""


def id_of(record: Record, content: Decoded, headers: Mapping[str, bytes | None]) -> str:
    """The value's ID, else the header `task-id`, else `TOPIC-PARTITION-OFFSET`."""
    task_id = content.id or _text(headers.get("task-id"))
    return task_id or f"{record.topic()}-{record.partition()}-{record.offset()}"


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "backslashreplace") if value else ""
