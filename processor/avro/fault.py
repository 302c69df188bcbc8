"""`Fault`: where a datum stops making sense."""

from __future__ import annotations

from typing import Any, Final

NOTHING: Final = object()
"""Stands for a value of which nothing was read."""


class Fault(Exception):
    """Bytes are not what their schema says; the field is told from the outside in, as the exception passes."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        """The byte, from 0, at which what cannot be read begins."""
        self.reason = reason
        self.partial: Any = NOTHING
        """What was read before it, as far as it goes."""
        self._path: list[str] = []

    def inside(self, part: str, partial: Any) -> Fault:
        """The same fault as the surrounding value sees it.

        Args:
            part: where it is inside that value: a field's name, or an index in brackets.
            partial: what that value has so far, with what the fault had.
        """
        self._path.append(part)
        self.partial = partial
        return self

    @property
    def path(self) -> str:
        """The field, as in `lines[2].price`; "" for the datum itself."""
        return joined(reversed(self._path))

    def __str__(self) -> str:
        return f"byte {self.at}{f', field {self.path}' if self._path else ''}: {self.reason}"


class Unresolvable(Fault):
    """The bytes are what the writer's schema says, and the reader's has no such value."""


def joined(parts: Any) -> str:
    """The parts of a path from the outside in: names with dots between them, what is in brackets without."""
    path = ""
    for part in parts:
        path += part if not path or part.startswith("[") else f".{part}"
    return path
