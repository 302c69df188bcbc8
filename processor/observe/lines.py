"""From bytes to events: lines out of chunks, the prefix that log viewers add to a line, and the JSON behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from processor.telemetry.events import LOG_VERSION, Event
from processor.telemetry.reading import Envelope, read

LONGEST_LINE: Final = 16 * 1024 * 1024
"""The most bytes of a line, enough for the assignment of 20,000 partitions. A longer line is skipped."""

_NO_SOURCE: Final = re.compile(
    rb"\x1b\[[0-9;]*m"  # the colours of `docker compose logs`
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*"  # the times of `--timestamps`
    rb"|\b(?:stdout|stderr) [FP]\b"  # a container runtime's own log files
    rb"|[\[\]|]"
)
"""The parts of a prefix that do not name the source of the line."""


class SourcedEvent(NamedTuple):
    """One event, with its source and time."""

    source: str
    """the name in the line's prefix, else its host, else its file"""
    at: float
    """seconds since the epoch"""
    envelope: Envelope
    event: Event


class ReadStats(msgspec.Struct):
    """Counts of what was read and skipped."""

    bytes: int = 0
    lines: int = 0
    events: int = 0
    foreign: int = 0
    """lines that are not JSON events of a processor: a handler's prints, Python's warnings, the console format"""
    too_long: int = 0
    newer: int = 0
    """events of a later log version, which this reader may misread"""


class Splitter:
    """Cuts chunks into lines; a line without an end waits for the next chunk.

    Args:
        stats: counts the lines that are longer than `longest`, in bytes.
    """

    def __init__(self, stats: ReadStats, longest: int = LONGEST_LINE) -> None:
        self._stats = stats
        self._longest = longest
        self._rest = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in `chunk`, without their line ends."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        first, *lines = chunk.split(b"\n")
        last = lines.pop()
        self._keep(first)
        head = self.rest()
        self._keep(last)
        return [head, *lines] if head is not None else lines

    def rest(self) -> bytes | None:
        """Return and drop the line that has no end yet; None if it is too long."""
        rest, skipped = bytes(self._rest), self._skipping
        self._rest.clear()
        self._skipping = False
        return None if skipped else rest

    def _keep(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > self._longest:
            self._rest.clear()
            self._skipping = True
            self._stats.too_long += 1


class _Wrapped(msgspec.Struct):
    """A line as Docker's `json-file` driver stores it."""

    log: str


_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode


def events(lines: list[bytes], name: str, stats: ReadStats) -> Iterator[SourcedEvent]:
    """Yield the events among `lines`, of the file called `name`; `stats` counts all lines."""
    for line in lines:
        if not line or line.isspace():
            continue
        stats.lines += 1
        start = line.find(b"{")
        try:
            found = read(_unwrapped(line[start:]) if start >= 0 else b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            stats.foreign += 1
            continue
        stats.events += 1
        if found is None:
            continue
        envelope, event = found
        stats.newer += envelope.log_version > LOG_VERSION
        source = (_source(line[:start]) if start > 0 else "") or envelope.host or name
        yield SourcedEvent(source, _seconds(envelope.timestamp), envelope, event)


def _unwrapped(text: bytes) -> bytes:
    """The container's own line, if `text` is Docker's record of it."""
    if not text.startswith(b'{"log":'):
        return text
    try:
        return _decode_wrapped(text).log.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _source(prefix: bytes) -> str:
    """The pod or container that a prefix names; empty if it names none."""
    return b" ".join(_NO_SOURCE.sub(b" ", prefix).split()).decode("utf-8", "replace")
