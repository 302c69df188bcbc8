"""Loads APP, given as `module:attribute`. Every error is one sentence."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from processor.errors import LoadError
from processor.handlers.table import Handlers

_LONGEST_MESSAGE: Final = 300


def load(app: str) -> Handlers:
    """Imports the handlers that `app` names, with the current folder on the import path.

    Raises:
        LoadError: there is no such module or attribute, the import fails, or the attribute cannot handle tasks. If the
            application's code raised an exception, it is the cause.
    """
    module_name, colon, path = app.partition(":")
    if not colon or not module_name or not path:
        raise LoadError(f"APP {app!r} must be MODULE:ATTRIBUTE, such as tasks:handle{_suggestion(app)}")
    found = _attribute(_module(app, module_name), path, app)
    processor = Handlers.of(found)
    for handler in processor.handlers:
        _check_signature(handler.function, app)
    return processor


def _suggestion(app: str) -> str:
    name = app.strip().rstrip(":").removesuffix(".py").replace("/", ".").strip(".")
    usable = name and app.partition(":")[0] and all(part.isidentifier() for part in name.split("."))
    return f"; for example {name}:handle" if usable else ""


def _module(app: str, name: str) -> ModuleType:
    _make_current_folder_importable()
    if name.endswith(".py") or "/" in name:
        raise LoadError(f"APP {app!r} must name a module, not a file{_suggestion(name)}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LoadError(_missing(app, name, error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also sys.exit() at a module's top level
        raise LoadError(f"importing {name!r} for APP failed: {_described(error)}{_place(error)}") from error


def _make_current_folder_importable() -> None:
    folder = os.getcwd()  # noqa: PTH109 — sys.path contains strings
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)


def _missing(app: str, name: str, error: ModuleNotFoundError) -> str:
    absent = error.name or ""
    if name == absent or name.startswith(f"{absent}."):
        return f"APP {app!r}: there is no module {absent!r} in the current folder ({Path.cwd()}) or on the Python path"
    return f"importing {name!r} for APP failed: it needs the module {absent!r}, which is not installed{_place(error)}"


def _attribute(module: ModuleType, path: str, app: str) -> object:
    found: Any = module
    walked = module.__name__
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise LoadError(f"APP {app!r}: {walked} has no {part!r}{_near(part, found)}") from error
        walked = f"{walked}.{part}"
    return found


def _near(name: str, owner: object) -> str:
    near = difflib.get_close_matches(name, [known for known in dir(owner) if not known.startswith("_")], n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _check_signature(function: Callable[..., Any], app: str) -> None:
    """Checks that the handler accepts one argument: otherwise every task would fail and be dead-lettered."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have no signature
        return
    try:
        signature.bind(object())
    except TypeError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise LoadError(f"APP {app!r}: the handler {name}{signature} must take one argument, the task") from error


def _described(error: BaseException) -> str:
    name = type(error).__qualname__
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    message = " ".join(str(message).split())
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    return f"{name}: {message}" if message else name


def _place(error: BaseException) -> str:
    """Where the application's code failed: its innermost frame, not one of a library that it calls."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_import_machinery(frame.filename)]
    mine = [frame for frame in frames if frame.filename.startswith(os.getcwd() + os.sep)]  # noqa: PTH109
    mine = [frame for frame in mine if "site-packages" not in frame.filename] or frames
    return f" ({mine[-1].filename}:{mine[-1].lineno})" if mine else ""


def _is_import_machinery(file: str) -> bool:
    return file.startswith("<frozen ") or Path(file) in (Path(__file__), Path(importlib.__file__))
