"""The headers by which a producer sets a task's terms: `task-priority`, `task-not-before` and `task-expires`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from math import inf
from typing import Final

from processor.engine.record import Headers, Record
from processor.engine.terms import Terms
from processor.handlers.exceptions import Expired, InvalidHeader
from processor.handlers.links import ARRIVAL, JOIN, JOINED, LINKS, MOST_DIGITS, MOST_SECONDS, THEN

PRIORITY: Final = "task-priority"
NOT_BEFORE: Final = "task-not-before"
EXPIRES: Final = "task-expires"
NAMES: Final = LINKS | {PRIORITY, NOT_BEFORE, EXPIRES}

SHOWN_CHARACTERS: Final = 40
"""The most characters of a header's value that an error shows."""

Time = int | str | datetime
"""Epoch milliseconds, ISO 8601 with a time zone, or a `datetime` with one."""


def terms_of(headers: Headers) -> Terms | None:
    """Return the terms that the headers of a record set; None if they set none. The last header of each name counts."""
    found = {name: value for name, value in headers if name in NAMES}
    if not found:
        return None
    arrives = ARRIVAL in found or JOINED in found
    followed = THEN in found or (JOIN in found and not arrives)
    try:
        terms = Terms(
            _priority(found[PRIORITY]) if PRIORITY in found else 0,
            _time(NOT_BEFORE, found[NOT_BEFORE]) if NOT_BEFORE in found else -inf,
            _time(EXPIRES, found[EXPIRES]) if EXPIRES in found else inf,
            linked=not LINKS.isdisjoint(found),
            followed=followed,
            arrives=arrives,
        )
    except InvalidHeader as error:
        return Terms(fault=str(error), followed=followed)  # what follows becomes a dead letter as well
    return terms if terms != Terms() else None


def check_begin(terms: Terms, epoch: float) -> None:
    """Checks that a task with these terms may begin at `epoch`, in seconds since the epoch.

    Raises:
        InvalidHeader: one of its headers cannot be read.
        Expired: the task has expired.
        Exception: the task is refused for another reason; the type is that of `terms.refusal`.
    """
    if terms.refusal is not None:
        kind, text = terms.refusal
        raise kind(text)
    if terms.fault is not None:
        raise InvalidHeader(terms.fault)
    if epoch > terms.expires:
        raise Expired(f"it had to begin by {shown_time(terms.expires)}, as its header {EXPIRES} says")


def check_age(record: Record, seconds: float, terms: Terms | None, epoch: float) -> None:
    """Check that a task may begin at `epoch` if its handler sets an expiry of `seconds` after its timestamp.

    The header `task-expires` takes precedence. A record without a timestamp does not expire.

    Raises:
        Expired: the task has expired.
    """
    kind, milliseconds = record.timestamp()
    if not kind or (terms is not None and terms.expires != inf):
        return
    if epoch > milliseconds / 1000 + seconds:
        raise Expired(f"it had to begin within {seconds:g} s of its timestamp, {shown_time(milliseconds / 1000)}")


def headers_for_terms(
    priority: int = 0,
    not_before: Time | None = None,
    delay: float | None = None,
    expires: Time | None = None,
    expires_in: float | None = None,
) -> Headers:
    """Return the headers that set these terms.

    Args:
        priority: 0 to 9; 0 is the default, and needs no header.
        not_before: the task does not begin before this time.
        delay: the same, in seconds from now.
        expires: the task does not begin after this time.
        expires_in: the same, in seconds from now.

    Raises:
        ValueError: a value cannot be used; one line that says why.
    """
    if type(priority) is not int or not 0 <= priority <= 9:
        raise ValueError(f"priority must be an integer from 0 to 9, not {priority!r}")
    begin = _moment("not_before", not_before, "delay", delay)
    end = _moment("expires", expires, "expires_in", expires_in)
    if begin is not None and end is not None and end < begin:
        raise ValueError("the task could never begin: it expires before its earliest start")
    texts = {PRIORITY: priority or None, NOT_BEFORE: begin, EXPIRES: end}
    return [(name, str(value).encode()) for name, value in texts.items() if value is not None]


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
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidHeader(
            f"the header {name} must be epoch milliseconds or an ISO 8601 time, not {_shown(text)}"
        ) from None
    if moment.tzinfo is None:
        raise InvalidHeader(f"the header {name} has no time zone: {_shown(text)}; add Z or an offset such as +02:00")
    return moment.timestamp()


def _moment(name: str, moment: Time | None, other: str, seconds: float | None) -> int | None:
    """Return the time in epoch milliseconds, from whichever argument is given; 0 for a time before 1970."""
    if moment is None:
        return None if seconds is None else _from_now(other, seconds)
    if seconds is not None:
        raise ValueError(f"either {name} or {other}, not both")
    return milliseconds_of(name, moment)


def milliseconds_of(name: str, moment: Time) -> int:
    """Return a time in epoch milliseconds; 0 for one before 1970, which a header cannot express.

    Raises:
        ValueError: it cannot be used; one line that says why, of the argument `name`.
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{name} has no time zone: {moment.isoformat()}")
        return max(0, round(moment.timestamp() * 1000))
    try:
        return max(0, round(_time(name, str(moment).encode()) * 1000))
    except InvalidHeader as error:
        raise ValueError(str(error).removeprefix("the header ")) from None


def _from_now(name: str, seconds: object) -> int:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < inf:
        raise ValueError(f"{name} must be a number of seconds from 0 on, not {seconds!r}")
    if seconds > MOST_SECONDS:
        raise ValueError(f"{name} must be at most {MOST_SECONDS:,} seconds, not {seconds!r}")
    return time.time_ns() // 1_000_000 + round(seconds * 1000)


def _text(name: str, value: bytes | None) -> str:
    if value is None:
        raise InvalidHeader(f"the header {name} has no value")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidHeader(f"the header {name} is not UTF-8: {_shown(value)}") from None


def _shown(value: str | bytes) -> str:
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS])
