"""A record as the engine sees it: an offset, a key, a value and headers."""

from __future__ import annotations


class FakeRecord:
    """The accessors of `processor.handlers.task.Record`."""

    def __init__(
        self,
        offset: int,
        key: bytes | None = b"s",
        value: bytes | None = b"",
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        self._offset = offset
        self._key = key
        self._value = value
        self._headers = headers

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)

    def error(self) -> object | None:
        return None

    def __repr__(self) -> str:
        return f"{self._offset}:{self._key!r}"
