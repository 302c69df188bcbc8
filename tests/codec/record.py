"""Records and tasks for tests, without Kafka."""

from __future__ import annotations

from typing import Any

from processor.engine.record import Headers
from processor.handlers.task import Content, Decoded, Task


class GivenRecord:
    """A record with a value, in the shape of the Kafka client's."""

    def __init__(self, value: bytes | None, key: bytes | None = b"s1", headers: Headers | None = None) -> None:
        self._value = value
        self._key = key
        self._headers = headers

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 42

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000)

    def error(self) -> object | None:
        return None


def as_content(decoded: Decoded) -> Content:
    """All fields of what a codec returned, for comparisons."""
    return Content(decoded.payload, decoded.name, decoded.id, decoded.session_id, decoded.headers)


def given_task(payload: Any = None) -> Task:
    """A task at its second attempt."""
    headers: Headers = [("task-id", b"t-1"), ("task-name", b"charge")]
    return Task(GivenRecord(b"", headers=headers), payload, 2, 0.0)
