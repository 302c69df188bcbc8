"""Tables of HTML pages, which become cards on a phone, and the words in their cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from processor.observe.report.findings import WORDS
from processor.observe.report.markup import Child, Element, tag
from processor.observe.window import Status
from processor.observe.wording import clock, number, short

FIRST: Final = 10
"""Rows of a list that are visible at once; the others are folded."""

MOST: Final = 500
"""Rows of a list in total: the page has to open on a phone."""

LARGE: Final = 1_000_000
"""The lowest figure that a tile abbreviates."""

OPTION: Final = re.compile(r"(--[a-z-]+)")


class Columns(NamedTuple):
    """The columns of a table."""

    names: Sequence[str]
    numbers: Collection[int] = ()
    """those that hold numbers"""
    whole: Collection[int] = ()
    """those that are as wide as the card that a row becomes on a phone"""

    def style(self, n: int, cell: Child) -> str:
        """Return the CSS class of a cell in column `n`; an element in the last one is a drawing over time."""
        if n == len(self.names) - 1 and isinstance(cell, Element):
            return "trend"
        return "n" if n in self.numbers else "whole" if n in self.whole else ""


def table(columns: Columns, rows: Iterable[Sequence[Child]]) -> Element:
    """Return a table. On a phone each row becomes a card with labelled fields."""
    names, style = columns.names, columns.style
    heads = (tag("th", name, class_=style(n, name), scope="col") for n, name in enumerate(names))
    body = (
        tag("tr", *(tag("td", cell, data_label=names[n], class_=style(n, cell)) for n, cell in enumerate(row)))
        for row in rows
    )
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), class_="rows")


def listed(
    heading: str, columns: Columns, rows: Sequence[Sequence[Child]], first: int = FIRST, most: int = MOST
) -> list[Element]:
    """Return a heading, and a table of the `first` rows with the others, up to `most`, folded; nothing without rows."""
    if not rows:
        return []
    more = rows[first:most]
    folded = tag("details", tag("summary", f"{len(rows) - first:,} more"), table(columns, more))
    return [tag("h2", heading), table(columns, rows[:first]), *([folded] if more else [])]


def verdict(status: Status) -> Element:
    """Return a verdict in words, with its colour and its mark."""
    return tag("span", WORDS[status], class_=f"verdict {status.name.lower()}")


def with_options(advice: str) -> list[Child]:
    """Return a text in which no name of an option is broken at its hyphens."""
    parts = OPTION.split(advice)
    return [tag("code", part) if OPTION.fullmatch(part) else part for part in parts]


def times(first: float, last: float) -> str:
    """Return a time, or a range of times, of day."""
    return clock(first) if clock(first) == clock(last) else f"{clock(first)} to {clock(last)}"


def large(value: float | None) -> str:
    """Return a number, abbreviated if it is too long for a tile."""
    return short(value) if value is not None and value >= LARGE else number(value)
