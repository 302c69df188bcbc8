"""Words and numbers for people, and texts from a log made safe for a terminal."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

LAST_SECOND: Final = 253_402_300_799.0
"""The last second of the year 9999, in seconds since the epoch."""

LONGEST: Final = 300
"""The most characters of a text from a log that are kept: an error message may fill a page."""


def plain(text: str, longest: int = LONGEST) -> str:
    """Return `text` in one line without control or bidirectional characters, cut at `longest` characters."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else f"\\u{ord(c):04x}" for c in cut)


_ACTED_ON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""The characters that JSON may contain as they are, although a terminal acts on them, or shows others out of order."""


def visible(document: str) -> str:
    """Return a JSON document with the control and bidirectional characters of its strings as escapes.

    JSON itself escapes only those below U+0020.
    """
    return _ACTED_ON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def duration(seconds: float) -> str:
    """Format in the unit that fits: 12 ms, 3.4 s, 2 m 05 s, 3 h 07 m, 2 d 4 h."""
    if seconds < 0.9995:
        return f"{max(seconds, 0.0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def number(value: float | None) -> str:
    """Format with commas between thousands; a value below 100 that is not whole gets one decimal place."""
    if value is None:
        return "–"
    if value != round(value) and abs(value) < 100:
        return f"{value:,.1f}"
    return f"{value:,.0f}"


def short(value: float | None) -> str:
    """Format in at most five characters: 950, 12.3k, 4.5M."""
    if value is None:
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * 9.995:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if abs(scaled) >= 99.95 else f"{scaled:.1f}{unit}"
    return number(value)


def many(count: int, noun: str) -> str:
    """Format a count with its noun: 1 task, 2 tasks."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def clock(at: float) -> str:
    """Format the time of day, in UTC as in the logs."""
    return _utc(at).strftime("%H:%M:%S")


def date_time(at: float) -> str:
    """Format day and time, in UTC as in the logs."""
    return _utc(at).strftime("%Y-%m-%d %H:%M:%S")


def _utc(at: float) -> datetime:
    """Return the time in UTC. One outside the calendar, which only a forged log has, becomes the nearest one inside."""
    return datetime.fromtimestamp(min(max(at, 0.0), LAST_SECOND), UTC)


BARS: Final = "▁▂▃▄▅▆▇█"


def spark(values: list[float], width: int) -> str:
    """Draw the last `width` values as bars, the largest as a full one."""
    shown = values[-width:] if width > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return BARS[0] * len(shown)
    return "".join(BARS[min(int(max(value, 0.0) / most * (len(BARS) - 1) + 0.5), len(BARS) - 1)] for value in shown)
