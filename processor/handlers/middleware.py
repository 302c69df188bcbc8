"""`Middleware`: a function of the application that wraps each attempt of its handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec

from processor.errors import LoadError
from processor.handlers.callables import is_kind, label, lacks_arguments
from processor.handlers.task import Task

Call = Callable[[Task[Any]], Any]
"""The callable that a middleware wraps: the handler, or the next middleware."""

M = TypeVar("M", bound=Callable[[Any, Any], Any])


class Middleware(msgspec.Struct, frozen=True):
    """One middleware. A plain middleware wraps plain handlers, an async one async handlers."""

    function: Callable[[Any, Any], Any]
    is_async: bool

    @classmethod
    def of(cls, function: Callable[[Any, Any], Any]) -> Middleware:
        """Return `function` as a middleware.

        Raises:
            LoadError: it cannot be called with a task and the next call, or is a generator.
        """
        name = f"the middleware {label(function)}"
        if is_kind(inspect.isgeneratorfunction, function) or is_kind(inspect.isasyncgenfunction, function):
            raise LoadError(f"{name} is a generator, so that a call runs none of its code: return call(task)")
        if lacks_arguments(function, 2):
            raise LoadError(f"{name}{inspect.signature(function)} must take two arguments, the task and the next call")
        return cls(function, is_kind(inspect.iscoroutinefunction, function))

    def around(self, call: Call) -> Call:
        """Return a function that takes a task and calls this middleware with the task and `call`."""
        name = _second_parameter(self.function)
        if name is not None:
            return partial(self.function, **{name: call})
        return lambda task: self.function(task, call)


def inside(middleware: Iterable[Middleware], call: Call, *, is_async: bool) -> Call:
    """Return `call` inside all middleware of its kind, the first one outermost; `call` itself without any."""
    for each in reversed([each for each in middleware if each.is_async == is_async]):
        call = each.around(call)
    return call


def check_kinds(middleware: Iterable[Middleware], kinds: Collection[bool]) -> None:
    """Checks that at least one middleware has the kind of a handler. `kinds` are the handlers' values of `is_async`.

    A package for any application may register middleware of both kinds, although all handlers are of one.

    Raises:
        LoadError: no middleware has the kind of a handler, so that no call goes through any.
    """
    several = list(middleware)
    if several and kinds and not any(each.is_async in kinds for each in several):
        first, needed = several[0], "def" if several[0].is_async else "async def"
        raise LoadError(
            f"the middleware {label(first.function)} surrounds no handler: it is {_kind(first.is_async)}, "
            f"and every handler is {_kind(not first.is_async)}; write it as `{needed}`"
        )


def _kind(is_async: bool) -> str:
    return "async" if is_async else "plain"


def _second_parameter(function: Callable[..., Any]) -> str | None:
    """Return the name of the parameter for the next call; None if it can only be passed by position."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables written in C have no signature
        return None
    named = parameters[1:2] if len(parameters) > 1 else []
    return next((each.name for each in named if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD), None)
