"""`segments`: a complete log whose times may step back, because it contains several logs one after the other.

`kubectl logs -l` without `-f` prints pod after pod, and so does `cat`. Each segment whose times go forward is read as a
log of its own, and segments are merged as separate logs are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Final

from processor.observe.lines import ReadStats, SourcedEvent, Splitter, events

BACK_SECONDS: Final = 60.0
"""A larger step back starts a segment: processes that share a log write some lines late, but not by this much."""

MOST: Final = 256
"""The most segments, each of which has a chunk in memory. The rest of the file is one segment, whatever its times."""

CHUNK: Final = 64 * 1024
"""Bytes per read."""

_TIME: Final = re.compile(rb'timestamp\\?": ?\\?"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')
"""The time of an event to the second, plain or as Docker wraps it."""


class Segment:
    """A part of a file, read as a log of its own.

    Args:
        file: belongs to the caller.
        start: the first byte.
        end: the byte after the last one.
        name: the source of lines without a prefix.
        stats: counts what is read.
    """

    is_over = True

    def __init__(self, file: IO[bytes], start: int, end: int, name: str, stats: ReadStats) -> None:
        self._file = file
        self._position, self._end = start, end
        self._name = name
        self._stats = stats
        self._splitter = Splitter(stats)

    def events(self) -> Iterator[SourcedEvent]:
        """Yield all events, including that of a last line without an end."""
        while self._position < self._end:
            chunk = os.pread(self._file.fileno(), min(CHUNK, self._end - self._position), self._position)
            if not chunk:  # the file was truncated
                break
            self._position += len(chunk)
            self._stats.bytes += len(chunk)
            yield from events(self._splitter.feed(chunk), self._name, self._stats)
        if rest := self._splitter.rest():
            yield from events([rest], self._name, self._stats)

    def last_line(self) -> Iterator[SourcedEvent]:
        """Yield nothing: `events` has read the last line."""
        return iter(())

    def close(self) -> None:
        """Do nothing: the caller owns the file."""


def segments(file: IO[bytes], name: str, stats: ReadStats) -> list[Segment]:
    """Return the segments of what `file`, a file on a disk, holds now."""
    starts = [0, *_steps_back(file)]
    ends = [*starts[1:], file.tell()]
    return [Segment(file, start, end, name, stats) for start, end in zip(starts, ends, strict=True)]


def _steps_back(file: IO[bytes]) -> list[int]:
    """The positions of lines whose time is well before that of an earlier line."""
    found: list[int] = []
    file.seek(0)
    position, latest = 0, b""
    while line := file.readline(CHUNK):
        if time := _TIME.search(line):
            if time[1] >= latest:
                latest = time[1]
            elif len(found) < MOST - 1 and _seconds_between(time[1], latest) > BACK_SECONDS:
                found.append(position)
                latest = time[1]
        position += len(line)
    return found


def _seconds_between(before: bytes, after: bytes) -> float:
    try:
        return (datetime.fromisoformat(after.decode()) - datetime.fromisoformat(before.decode())).total_seconds()
    except ValueError:  # the 31st of February
        return 0.0
