"""The type of payload that a handler asks for by its annotation, and payloads made so."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from processor.errors import DecodeError, SettingsError
from processor.handlers.task import Task
from processor.telemetry.printable import printable

MESSAGE_CHARACTERS = 300


def payload_type(function: Callable[..., Any]) -> Any:
    """`Order` where the first argument of `function` is annotated with `Task[Order]`; else None.

    Raises:
        SettingsError: the annotation names something that is not there, or that no payload can be converted to.
    """
    annotation = _first_annotation(function)
    if isinstance(annotation, str):
        annotation = _evaluated(function, annotation) if "[" in annotation else None
    if get_origin(annotation) is not Task:
        return None
    (wanted,) = get_args(annotation)
    if wanted is Any or isinstance(wanted, TypeVar):
        return None
    try:
        msgspec.json.Decoder(wanted)
    except TypeError as error:
        raise SettingsError(f"{_called(function)}: no payload can be converted to {_named(wanted)}: {error}") from None
    return wanted


def convert(payload: Any, wanted: Any) -> Any:
    """The payload as a `wanted`; from JSON, times and decimals may be text, and bytes base64.

    Raises:
        DecodeError: it is none; with the place inside it.
    """
    try:
        return msgspec.convert(payload, wanted)
    except msgspec.ValidationError as error:
        # A member's name may be part of what msgspec says.
        raise DecodeError(f"the payload is no {_named(wanted)}: {printable(str(error), MESSAGE_CHARACTERS)}") from None
    except RecursionError:
        raise DecodeError(f"the payload is no {_named(wanted)}: it is nested too deeply") from None


def _first_annotation(function: Callable[..., Any]) -> Any:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some callables written in C do not tell
        return None
    return next((parameter.annotation for parameter in parameters), None)


def _evaluated(function: Callable[..., Any], annotation: str) -> Any:
    """What an annotation means in the module of its function: with `from __future__ import annotations` it is text."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    code = function if hasattr(function, "__globals__") else getattr(type(function), "__call__", function)  # noqa: B004
    holder = SimpleNamespace(__annotations__={"task": annotation})
    try:
        return get_type_hints(holder, getattr(code, "__globals__", {}))["task"]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        if "Task[" not in annotation:
            return None
        raise SettingsError(f"{_called(function)}: its annotation {annotation} cannot be resolved: {error}") from None


def _called(function: Callable[..., Any]) -> str:
    return f"the handler {getattr(function, '__qualname__', repr(function))}"


def _named(wanted: Any) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) and not get_args(wanted) else str(wanted)
