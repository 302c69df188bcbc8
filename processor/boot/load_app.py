"""APP, from `module:attribute` to a `Handlers`; whatever is wrong with it in one sentence."""

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
    """The processor that `app` names, with the current folder importable.

    Raises:
        LoadError: no such module or attribute, an import that fails, or something that cannot take tasks. Where
            the application's code raised, that exception is the cause.
    """
    module_name, colon, path = app.partition(":")
    if not colon or not module_name or not path:
        raise LoadError(f"APP {app!r} must be MODULE:ATTRIBUTE, as in tasks:handle{_perhaps(app)}")
    found = _attribute(_module(app, module_name), path, app)
    processor = Handlers.of(found)
    for handler in processor.handlers:
        _check_signature(handler.function, app)
    return processor


def _perhaps(app: str) -> str:
    name = app.strip().rstrip(":").removesuffix(".py").replace("/", ".").strip(".")
    usable = name and app.partition(":")[0] and all(part.isidentifier() for part in name.split("."))
    return f"; for example {name}:handle" if usable else ""


def _module(app: str, name: str) -> ModuleType:
    _make_current_folder_importable()
    if name.endswith(".py") or "/" in name:
        raise LoadError(f"APP {app!r} must name a module, not a file{_perhaps(name)}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LoadError(_missing(app, name, error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also sys.exit() at a module's top level
        raise LoadError(f"importing {name!r} for APP failed: {_told(error)}{_place(error)}") from error


def _make_current_folder_importable() -> None:
    folder = os.getcwd()  # noqa: PTH109 — what sys.path holds is text
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
    """A handler that cannot take its task would fail with every one, and send them all to the dead letters."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C do not tell
        return
    try:
        signature.bind(object())
    except TypeError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise LoadError(f"APP {app!r}: the handler {name}{signature} must take one argument, the task") from error


def _told(error: BaseException) -> str:
    name = type(error).__qualname__
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    message = " ".join(str(message).split())
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    return f"{name}: {message}" if message else name


def _place(error: BaseException) -> str:
    """Where the application's code failed: its innermost frame, rather than one of a library that it called."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _may_be_the_users(frame.filename)]
    mine = [frame for frame in frames if frame.filename.startswith(os.getcwd() + os.sep)]  # noqa: PTH109
    mine = [frame for frame in mine if "site-packages" not in frame.filename] or frames
    return f" ({mine[-1].filename}:{mine[-1].lineno})" if mine else ""


def _may_be_the_users(file: str) -> bool:
    return not file.startswith("<frozen ") and Path(file) not in (Path(__file__), Path(importlib.__file__))
