"""Sections of the live view: a heading and rows each, fitted to the columns and lines that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text


class Section(NamedTuple):
    """A heading and its rows, the most important first."""

    heading: str
    rows: list[Text]


def shares(height: int, wants: Sequence[int]) -> list[int]:
    """How many rows each section gets in `height` lines, of which its heading takes one.

    Each gets a row first, as far as there is room; then the first gets half of what is left, and all of them take
    turns. A section that gets no row has no heading either.
    """
    given = [0] * len(wants)
    for n, wanted in enumerate(wants):
        if wanted and height >= 2:
            given[n] = 1
            height -= 2
    if wants and given[0]:
        extra = min(wants[0] - 1, height // 2)
        given[0] += extra
        height -= extra
    while height > 0 and any(0 < got < wanted for got, wanted in zip(given, wants, strict=True)):
        for n, wanted in enumerate(wants):
            if height > 0 and 0 < given[n] < wanted:
                given[n] += 1
                height -= 1
    return given


def laid_out(sections: Sequence[Section], width: int, height: int) -> list[Text]:
    """The sections below each other in `height` lines; a heading tells how many rows it has no room for."""
    rows: list[Text] = []
    for section, share in zip(sections, shares(height, [len(s.rows) for s in sections]), strict=True):
        if not share:
            continue
        left_out = len(section.rows) - share
        more = f"+{left_out:,} " if left_out else ""
        heading = Text(section.heading, style="bold")
        heading.align("left", width)
        if more:
            heading.truncate(width - len(more))
            heading.append(more, style="dim")
        rows += [heading, *section.rows[:share]]
    return fitted(rows, width)


def fitted(rows: Sequence[Text], width: int) -> list[Text]:
    """Each row cut at `width` columns."""
    for row in rows:
        row.no_wrap, row.overflow = True, "ellipsis"
        row.truncate(width, overflow="ellipsis")
    return list(rows)
