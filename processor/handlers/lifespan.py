"""`Lifespan`: the generator function that opens what an application's handlers share, and closes it again."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from processor.errors import LoadError
from processor.handlers.callables import is_kind, label, lacks_arguments

Opening = Callable[[], Iterator[Any] | AsyncIterator[Any]]
L = TypeVar("L", bound=Opening)


class Lifespan(msgspec.Struct, frozen=True):
    """A generator function, or an async one, that yields once."""

    function: Callable[[], Any]
    is_async: bool

    @property
    def name(self) -> str:
        """The name by which errors refer to it."""
        return f"the lifespan {label(self.function)}"

    @classmethod
    def of(cls, function: Opening) -> Lifespan:
        """Return `function` as a lifespan.

        Raises:
            LoadError: it is not a generator function, or it needs an argument.
        """
        is_async = is_kind(inspect.isasyncgenfunction, function)
        lifespan = cls(function, is_async)
        if not is_async and not is_kind(inspect.isgeneratorfunction, function):
            raise LoadError(f"{lifespan.name} must be a generator function: open, yield what is shared, close")
        if lacks_arguments(function, 0):
            raise LoadError(f"{lifespan.name}{inspect.signature(function)} must take no argument")
        return lifespan
