"""`Marks`: the letters of one partition that are dealt with, and the commits that record them.

A letter is dealt with once it was replayed or discarded. This is recorded in commits of a consumer group that exists
for no other purpose: an offset below which every letter is dealt with, and a skip map (`engine/skipmap.py`) with those
above.

A skip map has at most 4,096 characters, and a filter may pick any letters. So there may be several *pages*, the commits
of further groups. Page 0 begins at the offset below which everything is dealt with, other pages at their own offsets.
Behind its skip map, page 0 notes how many further pages there are, in the form of `engine/commit_note.py`.

The marks are the union of all pages. Marks move only to a new page. The new page is written first, then page 0 with the
new count, and only then the page that the marks leave. So a stop between two writes loses no mark.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from processor.engine import skipmap
from processor.engine.commit_note import Note, split
from processor.engine.offsets import Range

NOTE_CHARACTERS: Final = 8
"""Length of page 0's note with up to 9,999 further pages."""


class Page(NamedTuple):
    """One page as a commit."""

    number: int
    offset: int
    metadata: str


NOTHING: Final = Page(0, 0, "")
"""Page 0 as long as nothing is marked."""


def further_pages(metadata: str) -> int:
    """Return how many further pages there are, from the metadata of page 0."""
    _, note = split(metadata)
    return note.begun_with if note is not None else 0


class Marks:
    """The marks of one partition. They only grow."""

    def __init__(self, pages: Sequence[tuple[int, str]] = ()) -> None:
        """Reads the commits (offset and metadata) of the pages; metadata that is not a skip map is ignored."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        """Disjoint ranges, ascending, that do not touch."""
        self._page_starts = [offset for offset, _ in pages[1:]]
        """The offsets at which the pages from number 1 on begin."""
        self._written: dict[int, Page] = {}
        for number, (offset, metadata) in enumerate(pages):
            self._written[number] = Page(number, offset, metadata)
            for low, high in [(0, offset)] * (number == 0) + _decoded(offset, metadata):
                self.add(low, high)

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset < self._ends[index]

    @property
    def base(self) -> int:
        """Every letter below this offset is dealt with."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def add(self, low: int, high: int) -> None:
        """Mark the offsets from `low`, inclusive, to `high`, exclusive."""
        if low >= high:
            return
        first = bisect_left(self._ends, low)
        last = bisect_right(self._starts, high)
        if first < last:
            low, high = min(low, self._starts[first]), max(high, self._ends[last - 1])
        self._starts[first:last] = [low]
        self._ends[first:last] = [high]

    def ranges(self) -> list[Range]:
        """Return what is marked."""
        return list(zip(self._starts, self._ends, strict=True))

    def count(self, low: int, high: int) -> int:
        """Return how many offsets in a range are marked."""
        return sum(max(min(b, high) - max(a, low), 0) for a, b in zip(self._starts, self._ends, strict=True))

    def changed(self, limit: int = skipmap.MAX_CHARACTERS, *, every: bool = False) -> list[Page]:
        """Return the pages to write, in the order in which they must be written. They count as written from then on.

        Args:
            limit: characters of metadata that the brokers take.
            every: whether to return all pages, so that the brokers keep them for their full time.
        """
        known = len(self._written)
        pages, number = [], 0
        while number <= len(self._page_starts):
            pages.append(self._page(number, limit))
            number += 1
        if self._page_starts:
            first = pages[0]
            pages[0] = first._replace(metadata=f"{first.metadata}{Note(len(self._page_starts), 0)}")
        pages = [page for page in pages if every or self._written.get(page.number, NOTHING) != page]
        self._written.update((page.number, page) for page in pages)
        return sorted(pages, key=lambda page: (page.number < known or not page.number, page.number))

    def _page(self, number: int, limit: int) -> Page:
        """Return a page. What does not fit becomes a new page with the highest number."""
        start = self.base if number == 0 else self._page_starts[number - 1]
        end = min((other for other in self._page_starts if other > start), default=None)
        is_covered = number == 0 and any(other <= start for other in self._page_starts)
        ranges = [] if is_covered else self._between(start, end)
        metadata, kept = skipmap.encode(start, ranges, limit - (NOTE_CHARACTERS if number == 0 else 0))
        if kept < len(ranges):
            self._page_starts.append(ranges[kept][0])
        return Page(number, start, metadata)

    def _between(self, low: int, high: int | None) -> list[Range]:
        first = bisect_right(self._ends, low)
        last = len(self._starts) if high is None else bisect_left(self._starts, high)
        ranges = list(zip(self._starts[first:last], self._ends[first:last], strict=True))
        return [(max(a, low), b if high is None else min(b, high)) for a, b in ranges]


def _decoded(offset: int, metadata: str) -> list[Range]:
    try:
        return skipmap.decode(metadata, offset)
    except skipmap.SkipMapError:
        return []
