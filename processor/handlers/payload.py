"""Reads the payload type from a handler's annotation, and converts payloads to it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec.inspect import CustomType, UnionType, type_info

from processor.errors import DecodeError, SettingsError
from processor.handlers.mismatch import mismatch
from processor.handlers.task import Task
from processor.telemetry.error_text import text_of, type_name
from processor.telemetry.printable import printable

MESSAGE_CHARACTERS = 300

DECODED: Final[tuple[object, ...]] = ({}, [], "", b"", False, 0, 0.5, None)
"""A payload of each type that values are decoded to."""


def payload_type(function: Callable[..., Any], *, in_list: bool = False) -> Any:
    """Return `Order` if the first parameter of `function` is annotated with `Task[Order]`; else None.

    With `in_list`, the annotation must be `list[Task[Order]]` or `Sequence[Task[Order]]`.

    Raises:
        SettingsError: the annotation cannot be evaluated, or msgspec cannot convert to the type.
    """
    annotation = _first_annotation(function)
    if isinstance(annotation, str):
        annotation = _evaluated(function, annotation)
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    if in_list:
        annotation = get_args(annotation)[0] if get_origin(annotation) in (list, Sequence) else None
    if get_origin(annotation) is not Task:
        return None
    (wanted,) = get_args(annotation)
    if wanted is Any or isinstance(wanted, TypeVar):
        return None
    try:
        msgspec.json.Decoder(wanted)
        _check_classes(wanted)
    except TypeError as error:
        raise SettingsError(f"{_label(function)}: a payload cannot be converted to {_name(wanted)}: {error}") from None
    return wanted


def _check_classes(wanted: Any) -> None:
    """Checks that msgspec can convert to each class that the type `wanted` is, or is a union of.

    Raises:
        TypeError: it would only accept an instance of the class, and no decoded payload is one.
    """
    info = type_info(wanted)
    for each in info.types if isinstance(info, UnionType) else [info]:
        kind = get_origin(each.cls) or each.cls if isinstance(each, CustomType) else object
        if not any(isinstance(one, kind) for one in DECODED):
            raise TypeError(f"msgspec does not support the class {_name(kind)}; use a dataclass or a msgspec.Struct")


def convert(payload: Any, wanted: Any) -> Any:
    """Converts a payload to the type `wanted`. As in JSON, times, decimals and keys may be text and bytes base64.

    Raises:
        DecodeError: the payload does not match the type. The message contains the path of the mismatch, or the
            exception that the type's own code has raised.
    """
    try:
        return msgspec.convert(payload, wanted, str_keys=True)
    except msgspec.ValidationError as error:
        # msgspec's message may quote a member's name, which is the producer's text.
        reason = printable(mismatch(str(error), "it"), MESSAGE_CHARACTERS)
        raise DecodeError(f"the payload is not a valid {_name(wanted)}: {reason}") from None
    except RecursionError:
        raise DecodeError(f"the payload is not a valid {_name(wanted)}: nested too deeply") from None
    except Exception as error:  # from the type's own code, such as an `assert` in `__post_init__`
        reason = printable(f"{type_name(error)}: {text_of(error)}", MESSAGE_CHARACTERS)
        raise DecodeError(f"the payload is not a valid {_name(wanted)}: {reason}") from error


def _first_annotation(function: Callable[..., Any]) -> Any:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have no signature
        return None
    return next((parameter.annotation for parameter in parameters), None)


def _evaluated(function: Callable[..., Any], annotation: str) -> Any:
    """Evaluates an annotation in its function's module: with `from __future__ import annotations` it is text."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    code = function if hasattr(function, "__globals__") else getattr(type(function), "__call__", function)  # noqa: B004
    holder = SimpleNamespace(__annotations__={"task": annotation})
    try:
        return get_type_hints(holder, getattr(code, "__globals__", {}), include_extras=True)["task"]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        if "Task[" not in annotation:
            return None
        raise SettingsError(f"{_label(function)}: its annotation {annotation} cannot be resolved: {error}") from None


def _label(function: Callable[..., Any]) -> str:
    return f"the handler {getattr(function, '__qualname__', repr(function))}"


def _name(wanted: Any) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) and not get_args(wanted) else str(wanted)
