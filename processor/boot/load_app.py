"""Loads APP, given as `module:attribute`. Every error is one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from processor.boot.reference import Reference
from processor.errors import LoadError
from processor.handlers.callables import label, lacks_arguments
from processor.handlers.table import Handlers


def load(app: str) -> Handlers:
    """Imports the handlers that `app` names, with the current folder on the import path.

    Raises:
        LoadError: there is no such module or attribute, the import fails, or the attribute cannot handle tasks. If the
            application's code raised an exception, it is the cause.
    """
    found = Reference(app, "APP", "handle").load()
    processor = Handlers.of(found)
    for handler in processor.handlers:
        _check_signature(handler.function, app)
    return processor


def _check_signature(function: Callable[..., Any], app: str) -> None:
    """Checks that the handler accepts one argument: otherwise every task would fail and be dead-lettered."""
    if lacks_arguments(function, 1):
        signature = inspect.signature(function)
        raise LoadError(f"APP {app!r}: the handler {label(function)}{signature} must take one argument, the task")
