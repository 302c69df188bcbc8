"""`Stretch`: ascending offsets that do not change; and `merged`, which yields those of several stretches in order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

WINDOW = 4096
"""Offsets of several sessions are sorted in windows of this many."""

WINDOW_EACH = 64
"""A window has at least this many offsets for each session, if there are very many sessions."""


class Stretch(NamedTuple):
    """Ascending offsets: those of an array from index `start` to before index `end`. Others may be appended to it.

    The offsets in this range never change, so they may be read without a lock.
    """

    offsets: Sequence[int]
    start: int
    end: int


def merged(stretches: Sequence[Stretch]) -> Iterator[Sequence[int]]:
    """Yield the offsets of all stretches, which have none in common, ascending and in parts.

    A window without a gap costs only the search for its ends.
    """
    width = max(WINDOW, WINDOW_EACH * len(stretches))
    left = [stretch for stretch in stretches if stretch.start < stretch.end]
    while left:
        low = min(offsets[start] for offsets, start, _ in left)
        ends = [bisect_left(offsets, low + width, start, end) for offsets, start, end in left]
        if sum(end - stretch.start for stretch, end in zip(left, ends, strict=True)) == width:
            yield range(low, low + width)
        else:
            parts = [offsets[start:end] for (offsets, start, _), end in zip(left, ends, strict=True)]
            yield sorted(chain.from_iterable(parts))
        left = [Stretch(offsets, at, end) for (offsets, _, end), at in zip(left, ends, strict=True) if at < end]
