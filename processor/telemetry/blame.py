"""An exception of the application's code in one line: its type, its text, and where that code raised it."""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path
from typing import Final

LONGEST_MESSAGE: Final = 300
"""The most characters of an exception's text."""

_PACKAGE: Final = str(Path(__file__).parents[1]) + os.sep
_IMPORTLIB: Final = str(Path(importlib.__file__))


def described(error: BaseException) -> str:
    """Return the exception's type and its text."""
    name = type(error).__qualname__
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    message = " ".join(str(message).split())
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}…"
    return f"{name}: {message}" if message else name


def place(error: BaseException) -> str:
    """Return ` (FILE:LINE)` of the innermost frame in the application's own code, not in a library; "" without one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    mine = [frame for frame in frames if frame.filename.startswith(os.getcwd() + os.sep)]  # noqa: PTH109
    mine = [frame for frame in mine if "site-packages" not in frame.filename] or frames
    return f" ({mine[-1].filename}:{mine[-1].lineno})" if mine else ""


def _is_machinery(file: str) -> bool:
    return file.startswith(("<frozen ", _PACKAGE)) or file == _IMPORTLIB
