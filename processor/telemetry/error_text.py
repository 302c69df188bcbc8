"""An exception as text, for a log line or a header. Nothing in here raises."""

from __future__ import annotations

import traceback
from typing import Final

TRACEBACK_FRAMES: Final = 20
MESSAGE_CHARACTERS: Final = 1000
TYPE_CHARACTERS: Final = 200
"""The most frames and characters that are kept of an error, in the log and in the headers of a dead letter."""


def type_name(error: BaseException) -> str:
    """Return the exception's name with its module, cut at `TYPE_CHARACTERS`."""
    kind = type(error)
    return _cut(f"{kind.__module__}.{kind.__qualname__}", TYPE_CHARACTERS)


def message_of(error: BaseException) -> str:
    """Return the exception's text."""
    return _cut(text_of(error), MESSAGE_CHARACTERS)


def text_of(value: object) -> str:
    """Return `str(value)`, or a text about why that failed."""
    try:
        return str(value)
    except Exception as broken:  # noqa: BLE001  `__str__` is foreign code
        return f"(its text cannot be had: {type_name(broken)})"


def frames_of(error: BaseException, *, without: str | None = None) -> str | None:
    """Return the last frames of the exception's traceback, without those of files that begin with `without`.

    None if there are none, as for an exception that was made without being raised.
    """
    frames = traceback.extract_tb(error.__traceback__, limit=-TRACEBACK_FRAMES)
    own = [frame for frame in frames if without is None or not frame.filename.startswith(without)]
    return "".join(traceback.format_list(own)) or None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
