"""The headers by which a producer sets a task's terms: `task-priority`, `task-not-before` and `task-expires`."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import Final

from processor.engine.record import Headers
from processor.engine.terms import Terms
from processor.handlers.task import Expired, InvalidHeader

PRIORITY: Final = "task-priority"
NOT_BEFORE: Final = "task-not-before"
EXPIRES: Final = "task-expires"
NAMES: Final = frozenset({PRIORITY, NOT_BEFORE, EXPIRES})

MOST_DIGITS: Final = 15
"""Of a time in epoch milliseconds: enough for the years up to 9999, which ISO 8601 ends with as well."""

SHOWN_CHARACTERS: Final = 40
"""Of a header's value in an error."""


def terms_of(headers: Headers) -> Terms | None:
    """Return what the headers of a record ask for; None where they ask for nothing. The last of each name counts."""
    found = {name: value for name, value in headers if name in NAMES}
    if not found:
        return None
    try:
        terms = Terms(
            _priority(found[PRIORITY]) if PRIORITY in found else 0,
            _time(NOT_BEFORE, found[NOT_BEFORE]) if NOT_BEFORE in found else -inf,
            _time(EXPIRES, found[EXPIRES]) if EXPIRES in found else inf,
        )
    except InvalidHeader as error:
        return Terms(fault=str(error))
    return terms if terms != Terms() else None


def check_begin(terms: Terms, epoch: float) -> None:
    """Checks that a task with these terms may begin at `epoch`, in seconds since the epoch.

    Raises:
        InvalidHeader: one of its headers cannot be read.
        Expired: it is too late.
    """
    if terms.fault is not None:
        raise InvalidHeader(terms.fault)
    if epoch > terms.expires:
        raise Expired(f"it had to begin by {shown_time(terms.expires)}, as its header {EXPIRES} says")


def shown_time(epoch: float) -> str:
    """Return a time in ISO 8601 with milliseconds, or in epoch milliseconds where a calendar has no such year."""
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{epoch * 1000:.0f}"


def _priority(value: bytes | None) -> int:
    text = _text(PRIORITY, value)
    if len(text) != 1 or text not in "0123456789":
        raise InvalidHeader(f"the header {PRIORITY} must be a digit from 0 to 9, not {_shown(text)}")
    return int(text)


def _time(name: str, value: bytes | None) -> float:
    text = _text(name, value)
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
        return int(text) / 1000
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidHeader(
            f"the header {name} must be epoch milliseconds or an ISO 8601 time, not {_shown(text)}"
        ) from None
    if time.tzinfo is None:
        raise InvalidHeader(f"the header {name} has no time zone: {_shown(text)}; add Z or an offset such as +02:00")
    return time.timestamp()


def _text(name: str, value: bytes | None) -> str:
    if value is None:
        raise InvalidHeader(f"the header {name} has no value")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidHeader(f"the header {name} is not UTF-8: {_shown(value)}") from None


def _shown(value: str | bytes) -> str:
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS])
