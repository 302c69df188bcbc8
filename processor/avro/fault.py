"""`Fault`: the byte and the field at which a datum cannot be decoded, and why."""

from __future__ import annotations

from typing import Any, Final

NOTHING: Final = object()
"""Represents a value of which no part was decoded."""


class Fault(Exception):
    """The bytes do not match their schema. Each enclosing value adds its part of the field path as it propagates."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        """Offset in bytes, from 0, of the element that cannot be decoded."""
        self.reason = reason
        self.partial: Any = NOTHING
        """The part of the datum that was decoded before it."""
        self._path: list[str] = []

    def inside(self, part: str, partial: Any) -> Fault:
        """This fault, extended by one enclosing value.

        Args:
            part: where in that value it occurred: a field's name, or an index in brackets.
            partial: what was decoded of that value, including the fault's own partial value.
        """
        self._path.append(part)
        self.partial = partial
        return self

    @property
    def path(self) -> str:
        """The path of the field, such as `lines[2].price`; "" for the datum itself."""
        return joined(reversed(self._path))

    def __str__(self) -> str:
        return f"byte {self.at}{f', field {self.path}' if self._path else ''}: {self.reason}"


class Unresolvable(Fault):
    """The bytes match the writer's schema, but the reader's schema cannot represent the value."""


def joined(parts: Any) -> str:
    """Joins path parts, outermost first: a dot before each name but the first, none before an index in brackets."""
    path = ""
    for part in parts:
        path += part if not path or part.startswith("[") else f".{part}"
    return path
