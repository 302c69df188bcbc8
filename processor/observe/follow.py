"""`Tail`: a log file or a pipe, read to its current end, and on as it grows, as `tail -F` does."""

from __future__ import annotations

import gzip
import heapq
import os
import select
import zlib
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import IO, Final, Protocol, cast

from processor.errors import SettingsError
from processor.observe.lines import ReadStats, SourcedEvent, Splitter, events

CHUNK: Final = 256 * 1024
"""Bytes per read."""

GZIP: Final = b"\x1f\x8b"

DAMAGED: Final = (EOFError, gzip.BadGzipFile, zlib.error)
"""The exceptions from reading a gzipped file that is incomplete or damaged."""


class Tail(Protocol):
    """A log that can be followed."""

    @property
    def is_over(self) -> bool:
        """Whether the log cannot grow any more."""

    def events(self) -> Iterator[SourcedEvent]:
        """Yield the events since the last call, up to the current end."""

    def last_line(self) -> Iterator[SourcedEvent]:
        """Yield the event of a last line without a line end. Call it only when the log is over."""

    def close(self) -> None:
        """Release the open file, if any."""


class FileTail:
    """A file, by its name: when another file takes its place, or it is truncated, reading continues at the new start.

    Args:
        path: the file, gzipped or not. A gzipped one is read once.
        name: the source of lines without a prefix.
        stats: counts what is read.
        last_bytes: the most to read of the end of the file; None reads all of it.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, name: str, stats: ReadStats, last_bytes: int | None = None) -> None:
        self.is_over = False
        self._path = path
        self._name = name
        self._stats = stats
        self._splitter = Splitter(stats)
        self._file: IO[bytes] | None = self._opened()
        if last_bytes is not None and not self.is_over:
            self._seek_near_the_end(last_bytes)

    def events(self) -> Iterator[SourcedEvent]:
        """Yield the events since the last call.

        Raises:
            SettingsError: a gzipped file is damaged or incomplete.
        """
        if self._file is None:
            self._file = self._reopened()
        while self._file is not None:
            yield from self._events_of(self._file)
            if not self._has_been_replaced(self._file):
                return
            yield from self._events_of(self._file)  # what was written before it was replaced
            yield from self.last_line()
            self._file.close()
            self._file = self._reopened()

    def last_line(self) -> Iterator[SourcedEvent]:
        """Yield the event of the last line, which has no end."""
        rest = self._splitter.rest()
        if rest:
            yield from events([rest], self._name, self._stats)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _events_of(self, file: IO[bytes]) -> Iterator[SourcedEvent]:
        while chunk := self._chunk(file):
            self._stats.bytes += len(chunk)
            yield from events(self._splitter.feed(chunk), self._name, self._stats)

    def _chunk(self, file: IO[bytes]) -> bytes:
        try:
            return file.read(CHUNK)
        except DAMAGED:
            raise SettingsError(
                f"the log {str(self._path)!r} cannot be read: it is gzipped, and damaged or incomplete; copy it again"
            ) from None

    def _opened(self) -> IO[bytes]:
        file = self._path.open("rb", buffering=0)
        if file.read(2) == GZIP:
            file.close()
            self.is_over = True
            return cast(IO[bytes], gzip.open(self._path, "rb"))
        file.seek(0)
        return file

    def _reopened(self) -> IO[bytes] | None:
        """None while the file does not exist: it is being rotated."""
        try:
            return self._path.open("rb", buffering=0)
        except OSError:
            return None

    def _has_been_replaced(self, file: IO[bytes]) -> bool:
        if self.is_over:
            return False
        try:
            there = self._path.stat()
        except OSError:  # it is being rotated: its writer uses this file until there is another one
            return False
        here = os.fstat(file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < file.tell()

    def _seek_near_the_end(self, last_bytes: int) -> None:
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        if size > last_bytes:
            self._file.seek(size - last_bytes)
            while (byte := self._file.read(1)) and byte != b"\n":  # skip the rest of a line that begins before here
                pass


class PipeTail:
    """Standard input, or another descriptor that ends when its writer closes it.

    Args:
        descriptor: the descriptor to read.
        stats: counts what is read.
        name: the source of lines without a prefix.
        is_owned: whether `close` closes the descriptor. Otherwise it belongs to the caller.
    """

    def __init__(self, descriptor: int, stats: ReadStats, name: str = "", *, is_owned: bool = False) -> None:
        self.is_over = False
        self._descriptor = descriptor
        self._stats = stats
        self._name = name
        self._is_owned = is_owned
        self._splitter = Splitter(stats)

    def events(self) -> Iterator[SourcedEvent]:
        """Yield the events that can be read without waiting."""
        while not self.is_over and select.select([self._descriptor], [], [], 0)[0]:
            chunk = os.read(self._descriptor, CHUNK)
            if not chunk:
                self.is_over = True
            self._stats.bytes += len(chunk)
            yield from events(self._splitter.feed(chunk), self._name, self._stats)

    def last_line(self) -> Iterator[SourcedEvent]:
        """Yield the event of the last line, which has no end."""
        rest = self._splitter.rest()
        if rest:
            yield from events([rest], self._name, self._stats)

    def close(self) -> None:
        """Close the descriptor if it does not belong to the caller."""
        if self._is_owned:
            os.close(self._descriptor)

    def wait(self, seconds: float | None) -> None:
        """Wait until there is something to read, at most `seconds`; None waits without limit."""
        select.select([] if self.is_over else [self._descriptor], [], [], seconds)


def merged(tails: Sequence[Tail]) -> Iterator[SourcedEvent]:
    """Yield the current events of all `tails`, in the order of their times."""
    return heapq.merge(*(_in_order(tail.events()) for tail in tails), key=attrgetter("at"))


def read_to_end(tails: Sequence[Tail]) -> Iterator[SourcedEvent]:
    """Yield all events of `tails`: files to their current end, pipes until their writers close them."""
    while True:
        yield from merged(tails)
        pipes = [tail for tail in tails if isinstance(tail, PipeTail) and not tail.is_over]
        if not pipes:
            break
        pipes[0].wait(None)
    for tail in tails:
        yield from tail.last_line()


def _in_order(found: Iterator[SourcedEvent]) -> Iterator[SourcedEvent]:
    """Raise each time to that of the event before it: processes that share a log write some lines late."""
    latest = 0.0
    for sourced in found:
        latest = max(latest, sourced.at)
        yield sourced if sourced.at == latest else sourced._replace(at=latest)
