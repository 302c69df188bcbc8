"""`whole`: a log that is all there, whose times may step back: one log stands behind another in it.

`kubectl logs -l` without `-f` tells pod after pod, and so does `cat`. Each stretch of times that go forward is read by
itself, and they are merged as separate logs are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Final

from processor.observe.lines import Heard, Passed, Splitter, events

BACK_SECONDS: Final = 60.0
"""Processes that share a log write some lines late, but not so late."""

MOST: Final = 256
"""Stretches: each has a chunk in memory. What is left is one, whatever its times."""

CHUNK: Final = 64 * 1024

_TIME: Final = re.compile(rb'timestamp\\?": ?\\?"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')
"""Of an event, as it is or as Docker wraps it, to the second."""


class Stretch:
    """A part of a file, as a log of its own.

    Args:
        file: belongs to the caller.
        start: its first byte.
        end: the byte after its last one.
        name: what lines without a prefix of their own come from.
        passed: where everything that is read is counted.
    """

    is_over = True

    def __init__(self, file: IO[bytes], start: int, end: int, name: str, passed: Passed) -> None:
        self._file = file
        self._position, self._end = start, end
        self._name = name
        self._passed = passed
        self._splitter = Splitter(passed)

    def events(self) -> Iterator[Heard]:
        """What it holds, the last line too where that has no end."""
        while self._position < self._end:
            chunk = os.pread(self._file.fileno(), min(CHUNK, self._end - self._position), self._position)
            if not chunk:  # somebody has cut the file
                break
            self._position += len(chunk)
            self._passed.bytes += len(chunk)
            yield from events(self._splitter.feed(chunk), self._name, self._passed)
        if rest := self._splitter.rest():
            yield from events([rest], self._name, self._passed)

    def last_words(self) -> Iterator[Heard]:
        """Nothing that `events` has not told."""
        return iter(())

    def close(self) -> None:
        """Nothing to do: the file is another's."""


def whole(file: IO[bytes], name: str, passed: Passed) -> list[Stretch]:
    """The stretches of what `file`, of a disk, holds now."""
    starts = [0, *_steps_back(file)]
    ends = [*starts[1:], file.tell()]
    return [Stretch(file, start, end, name, passed) for start, end in zip(starts, ends, strict=True)]


def _steps_back(file: IO[bytes]) -> list[int]:
    """Where lines begin whose time is well before that of an earlier one."""
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
    except ValueError:  # a 31st of February
        return 0.0
