"""`Tail`: a log file or a pipe, read to where it ends now, and on when there is more, as `tail -F` does."""

from __future__ import annotations

import gzip
import heapq
import os
import select
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import IO, Final, Protocol, cast

from processor.observe.lines import Heard, Passed, Splitter, events

CHUNK: Final = 256 * 1024
"""Bytes that are read at once."""

GZIP: Final = b"\x1f\x8b"


class Tail(Protocol):
    """What has a log."""

    @property
    def is_over(self) -> bool:
        """Whether there will be no more."""

    def events(self) -> Iterator[Heard]:
        """What has come since the last call, to where it ends now."""

    def last_words(self) -> Iterator[Heard]:
        """The last line, which has no end; there will be no more."""

    def close(self) -> None:
        """Nothing more will be read."""


class FileTail:
    """A file, by its name: when another takes its place, or it is cut, reading goes on at the new one's beginning.

    Args:
        path: the file, gzipped or not. A gzipped one is read once.
        name: what lines without a prefix of their own come from.
        passed: where everything that is read is counted.
        last_bytes: of a longer file only the end is read; None reads all of it.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, name: str, passed: Passed, last_bytes: int | None = None) -> None:
        self.is_over = False
        self._path = path
        self._name = name
        self._passed = passed
        self._splitter = Splitter(passed)
        self._file: IO[bytes] | None = self._opened()
        if last_bytes is not None and not self.is_over:
            self._go_near_the_end(last_bytes)

    def events(self) -> Iterator[Heard]:
        """What has come since the last call."""
        if self._file is None:
            self._file = self._reopened()
        while self._file is not None:
            yield from self._events_of(self._file)
            if not self._has_been_replaced(self._file):
                return
            yield from self.last_words()
            self._file.close()
            self._file = self._reopened()

    def last_words(self) -> Iterator[Heard]:
        """The last line, which has no end."""
        rest = self._splitter.rest()
        if rest:
            yield from events([rest], self._name, self._passed)

    def close(self) -> None:
        """Nothing more will be read."""
        if self._file is not None:
            self._file.close()

    def _events_of(self, file: IO[bytes]) -> Iterator[Heard]:
        while chunk := file.read(CHUNK):
            self._passed.bytes += len(chunk)
            yield from events(self._splitter.feed(chunk), self._name, self._passed)

    def _opened(self) -> IO[bytes]:
        file = self._path.open("rb", buffering=0)
        if file.read(2) == GZIP:
            file.close()
            self.is_over = True
            return cast(IO[bytes], gzip.open(self._path, "rb"))
        file.seek(0)
        return file

    def _reopened(self) -> IO[bytes] | None:
        """None while there is no such file: it is being rotated."""
        try:
            return self._path.open("rb", buffering=0)
        except OSError:
            return None

    def _has_been_replaced(self, file: IO[bytes]) -> bool:
        if self.is_over:
            return False
        try:
            there = self._path.stat()
        except OSError:
            return True
        here = os.fstat(file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < file.tell()

    def _go_near_the_end(self, last_bytes: int) -> None:
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        if size > last_bytes:
            self._file.seek(size - last_bytes)
            while (byte := self._file.read(1)) and byte != b"\n":  # the line that this cut in two
                pass


class PipeTail:
    """Standard input, or another descriptor that ends when its writer does.

    Args:
        descriptor: where to read.
        passed: where everything that is read is counted.
    """

    def __init__(self, descriptor: int, passed: Passed) -> None:
        self.is_over = False
        self._descriptor = descriptor
        self._passed = passed
        self._splitter = Splitter(passed)

    def events(self) -> Iterator[Heard]:
        """What is there to read without waiting."""
        while not self.is_over and select.select([self._descriptor], [], [], 0)[0]:
            chunk = os.read(self._descriptor, CHUNK)
            if not chunk:
                self.is_over = True
            self._passed.bytes += len(chunk)
            yield from events(self._splitter.feed(chunk), "", self._passed)

    def last_words(self) -> Iterator[Heard]:
        """The last line, which has no end."""
        rest = self._splitter.rest()
        if rest:
            yield from events([rest], "", self._passed)

    def close(self) -> None:
        """Nothing to do: the descriptor is another's."""

    def wait(self, seconds: float | None) -> None:
        """Until there is something to read, but not longer; None waits for ever."""
        select.select([] if self.is_over else [self._descriptor], [], [], seconds)


def merged(tails: Sequence[Tail]) -> Iterator[Heard]:
    """What all of them have now, in the order of the events' times."""
    return heapq.merge(*(_in_order(tail.events()) for tail in tails), key=attrgetter("at"))


def to_the_end(tails: Sequence[Tail]) -> Iterator[Heard]:
    """All that they have, files to where they end now and pipes until their writers have ended."""
    while True:
        yield from merged(tails)
        pipes = [tail for tail in tails if isinstance(tail, PipeTail) and not tail.is_over]
        if not pipes:
            break
        pipes[0].wait(None)
    for tail in tails:
        yield from tail.last_words()


def _in_order(heard: Iterator[Heard]) -> Iterator[Heard]:
    """Processes that share a log write some lines a moment late; they count as of the moment of the line before."""
    latest = 0.0
    for event in heard:
        latest = max(latest, event.at)
        yield event if event.at == latest else event._replace(at=latest)
