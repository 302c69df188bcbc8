"""Inspects functions of the application: their kind, their name in errors, and the arguments that they take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def is_kind(kind: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    """Return whether `kind` holds for the function, or for an object's `__call__`; of a partial, for what it calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004 — its kind is inspected


def label(function: Callable[..., Any]) -> str:
    """Return the name by which errors refer to the function."""
    return getattr(function, "__qualname__", None) or repr(function)


def lacks_arguments(function: Callable[..., Any], count: int) -> bool:
    """Return whether a call with `count` positional arguments fails, as far as the function has a signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have no signature
        return False
    try:
        signature.bind(*[object()] * count)
    except TypeError:
        return True
    return False
