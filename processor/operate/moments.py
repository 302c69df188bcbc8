"""Points in time and offsets as a user writes them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

FIRST_MILLISECONDS: Final = 10**11
"""Whole numbers from here on (March 1973) are milliseconds since the epoch, smaller ones are offsets."""

LAST_MILLISECONDS: Final = 253_402_300_799_999
"""The end of the year 9999. A record may claim a later time, which is shown as this one, or one before the epoch, which
is shown as the epoch.
"""

LONGEST_SECONDS: Final = 10 * 366 * 86400
"""The longest duration: ten years."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

TIMES: Final = (
    "a time such as 2026-11-29T10:00 or 2026-11-29T10:00:00+01:00, milliseconds since the epoch, "
    "or an age such as 90s, 15m, 2h or 1d"
)

_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHIFT = re.compile(r"[+-][0-9]{1,18}")


class Moment(NamedTuple):
    """A point in time."""

    milliseconds: int
    """Milliseconds since the epoch."""
    has_zone: bool = True
    """False if the text named no time zone, and UTC was assumed."""

    def __str__(self) -> str:
        shown = EPOCH + timedelta(milliseconds=min(max(self.milliseconds, 0), LAST_MILLISECONDS))
        return f"{shown.isoformat(timespec='milliseconds')[:-6]}Z"


class Target(NamedTuple):
    """The target of a reset of offsets."""

    kind: Literal["earliest", "latest", "time", "offset", "shift"]
    value: int = 0
    """The offset, the number of offsets to shift by, or milliseconds since the epoch."""
    has_zone: bool = True
    """False if the text named no time zone, and UTC was assumed."""


def seconds_of(text: str) -> float:
    """Read a duration, such as `90s`, `15m`, `2h` or `7d`. Return its seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    match = _AGO.fullmatch(text)
    if match is None or not 0 < (seconds := float(match[1]) * _SECONDS[match[2]]) <= LONGEST_SECONDS:
        raise ValueError(text)
    return seconds


def duration_fault(text: str) -> str | None:
    """Return what is wrong with a duration, in the words that follow an option's name, or None."""
    try:
        seconds_of(text)
    except ValueError:
        return f"must be a duration such as 90s, 15m, 2h or 7d, not {text[:80]!r}"
    return None


def moment_of(text: str, now: float) -> Moment:
    """Read a point in time.

    Args:
        text: ISO 8601, in UTC if it names no zone; milliseconds since the epoch; or an age, such as `15m`.
        now: seconds since the epoch.

    Raises:
        ValueError: it is none of these.
    """
    if text.isascii() and text.isdigit() and FIRST_MILLISECONDS <= int(text) <= LAST_MILLISECONDS:
        return Moment(int(text))
    if (ago := _AGO.fullmatch(text)) is not None:
        return Moment(max(int((now - float(ago[1]) * _SECONDS[ago[2]]) * 1000), 0))
    if _DATE.match(text) is None:
        raise ValueError(text)
    read = datetime.fromisoformat(text)
    has_zone = read.tzinfo is not None
    since_epoch = (read if has_zone else read.replace(tzinfo=UTC)) - EPOCH
    return Moment(max(since_epoch // timedelta(milliseconds=1), 0), has_zone)


def moment_fault(text: str) -> str | None:
    """Return what is wrong with a point in time, in the words that follow an option's name, or None."""
    try:
        moment_of(text, 0.0)
    except (ValueError, OverflowError):
        return f"must be {TIMES}, not {text[:80]!r}"
    return None


def target_of(text: str, now: float) -> Target:
    """Read the target of a reset.

    Args:
        text: `earliest`, `latest`, an offset, `+N` or `-N`, or a point in time.
        now: seconds since the epoch.

    Raises:
        ValueError: it is none of these.
    """
    match text:
        case "earliest" | "latest":
            return Target(text)
    if _SHIFT.fullmatch(text) is not None:
        return Target("shift", int(text))
    if text.isascii() and text.isdigit() and int(text) < FIRST_MILLISECONDS:
        return Target("offset", int(text))
    moment = moment_of(text, now)
    return Target("time", moment.milliseconds, moment.has_zone)


def target_fault(text: str) -> str | None:
    """Return what is wrong with the target of a reset, in the words that follow an option's name, or None."""
    try:
        target_of(text, 0.0)
    except (ValueError, OverflowError):
        return f"must be earliest, latest, an offset, +N, -N, or {TIMES}, not {text[:80]!r}"
    return None
