"""`DueOffsets`: tasks of one partition, each as its offset and the second in which it is due, in twelve bytes."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from processor.engine.stretch import Stretch

CHUNK = 8192
"""The most tasks in one chunk. Inserting one, or finding those that are due, takes less than 2 ms."""

MOST_DUE = 2**32 - 1
"""The last second that four bytes can hold, in the year 2106. A task that is due later is checked again then."""


class Entry(NamedTuple):
    """A task."""

    offset: int
    due: int
    """In whole seconds since the epoch."""


class _Chunk:
    """Some entries, by ascending offset. What an array holds is never changed: entries are only appended."""

    __slots__ = ("dues", "next_due", "offsets")

    def __init__(self, offsets: array[int], dues: array[int]) -> None:
        """Takes at least one entry."""
        self.offsets = offsets
        self.dues = dues
        self.next_due = min(dues)

    def entries(self) -> Iterable[Entry]:
        return map(Entry, self.offsets, self.dues)

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends at least one entry, above all others."""
        self.offsets.extend([entry.offset for entry in entries])
        self.dues.extend([entry.due for entry in entries])
        self.next_due = min(self.next_due, *[entry.due for entry in entries])


def _chunk_of(entries: Sequence[Entry]) -> _Chunk:
    return _Chunk(array("q", [entry.offset for entry in entries]), array("I", [entry.due for entry in entries]))


def _offset_of(entry: Entry) -> int:
    return entry.offset


class DueOffsets:
    """Entries in chunks by ascending offset, each chunk with its earliest due second.

    Due seconds mostly ascend with the offsets, so a search for due entries reads one or two chunks. Where they do not,
    it reads all of them.
    """

    __slots__ = ("_chunks", "_count", "next_due")

    def __init__(self) -> None:
        self.next_due: int | None = None
        """The earliest due second; None if there is no entry."""
        self._chunks: list[_Chunk] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def oldest(self) -> int | None:
        """The lowest offset; None if there is no entry."""
        return self._chunks[0].offsets[0] if self._chunks else None

    def put(self, entries: Sequence[Entry]) -> None:
        """Adds entries by ascending offset, at least one. None of the offsets may be here already."""
        self._count += len(entries)
        if self._chunks and entries[0].offset < self._chunks[-1].offsets[-1]:
            self._merge(entries)
        else:
            self._append(entries)
        self._update()

    def count(self, until: int, enough: int) -> int:
        """Return how many entries are due by the second `until`. Above `enough`, the count may stop early."""
        count = 0
        for chunk in self._chunks:
            if chunk.next_due <= until:
                count += len([due for due in chunk.dues if due <= until])
                if count > enough:
                    break
        return count

    def take(self, until: int, most: int) -> list[Entry]:
        """Removes and returns at most `most` entries that are due by `until`: those with the lowest offsets."""
        taken, chunks = list[Entry](), list[_Chunk]()
        for chunk in self._chunks:
            room = most - len(taken)
            if chunk.next_due > until or not room:
                chunks.append(chunk)
                continue
            places = [place for place, due in enumerate(chunk.dues) if due <= until][:room]
            taken += [Entry(chunk.offsets[place], chunk.dues[place]) for place in places]
            offsets, dues = chunk.offsets[:], chunk.dues[:]
            for first, end in reversed(_runs(places)):
                del offsets[first:end], dues[first:end]
            _add(chunks, offsets, dues)
        self._replace(chunks, len(taken))
        return taken

    def hasten(self, entries: Sequence[Entry]) -> None:
        """Makes entries due no later than the given ones, which ascend by offset. Other offsets are ignored."""
        for index, chunk in enumerate(self._chunks):
            first = bisect_left(entries, chunk.offsets[0], key=_offset_of)
            end = bisect_right(entries, chunk.offsets[-1], key=_offset_of)
            if first == end:
                continue
            dues = chunk.dues[:]
            for offset, due in entries[first:end]:
                place = bisect_left(chunk.offsets, offset)
                if chunk.offsets[place] == offset:
                    dues[place] = min(dues[place], due)
            self._chunks[index] = _Chunk(chunk.offsets, dues)
        self._update()

    def take_below(self, offset: int) -> list[Entry]:
        """Removes and returns the entries below an offset, ascending."""
        taken, chunks = list[Entry](), list[_Chunk]()
        for chunk in self._chunks:
            end = bisect_left(chunk.offsets, offset)
            if not end:
                chunks.append(chunk)
                continue
            taken += map(Entry, chunk.offsets[:end], chunk.dues[:end])
            _add(chunks, chunk.offsets[end:], chunk.dues[end:])
        self._replace(chunks, len(taken))
        return taken

    def stretches(self) -> list[Stretch]:
        """Return the present offsets."""
        return [Stretch(chunk.offsets, 0, len(chunk.offsets)) for chunk in self._chunks]

    def _append(self, entries: Sequence[Entry]) -> None:
        """Adds entries that are above all others."""
        room = CHUNK - len(self._chunks[-1].offsets) if self._chunks else 0
        if room > 0:
            self._chunks[-1].append(entries[:room])
        self._chunks += [
            _chunk_of(entries[first : first + CHUNK]) for first in range(max(0, room), len(entries), CHUNK)
        ]

    def _merge(self, entries: Sequence[Entry]) -> None:
        """Adds entries among the others. Only the chunks that they go to are rewritten."""
        ends = [bisect_left(entries, chunk.offsets[0], key=_offset_of) for chunk in self._chunks[1:]]
        chunks, begin = list[_Chunk](), 0
        for chunk, end in zip(self._chunks, [*ends, len(entries)], strict=True):
            if begin < end:
                chunks += _split(sorted([*chunk.entries(), *entries[begin:end]]))
            else:
                chunks.append(chunk)
            begin = end
        self._chunks = chunks

    def _replace(self, chunks: list[_Chunk], taken: int) -> None:
        self._chunks = chunks
        self._count -= taken
        self._update()

    def _update(self) -> None:
        self.next_due = min((chunk.next_due for chunk in self._chunks), default=None)


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending places as ranges of consecutive ones, each from its first to one past its last."""
    runs = list[tuple[int, int]]()
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1] = runs[-1][0], place + 1
        else:
            runs.append((place, place + 1))
    return runs


def _split(entries: Sequence[Entry]) -> list[_Chunk]:
    """Return entries in chunks of about the same size, so that none is left with very few."""
    count = -(-len(entries) // CHUNK)
    size = -(-len(entries) // count)
    return [_chunk_of(entries[first : first + size]) for first in range(0, len(entries), size)]


def _add(chunks: list[_Chunk], offsets: array[int], dues: array[int]) -> None:
    """Appends the rest of a chunk, merged with the chunk before it if both are small."""
    if not offsets:
        return
    if chunks and len(chunks[-1].offsets) + len(offsets) <= CHUNK:
        before = chunks.pop()
        offsets, dues = before.offsets + offsets, before.dues + dues
    chunks.append(_Chunk(offsets, dues))
