"""From bytes to events: lines out of chunks, the prefix that log viewers set before a line, and the JSON behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from processor.telemetry.reading import AnyTold, Told

KNOWN_VERSION: Final = 1
"""The newest log version that this reads."""

LONGEST_LINE: Final = 16 * 1024 * 1024
"""Bytes; the statistics of 20,000 partitions fit. A longer line is passed over: memory stays bounded."""

_NO_SOURCE: Final = re.compile(
    rb"\x1b\[[0-9;]*m"  # the colours of `docker compose logs`
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*"  # the times of `--timestamps`
    rb"|\b(?:stdout|stderr) [FP]\b"  # a container runtime's own log files
    rb"|[\[\]|]"
)
"""What a prefix holds that does not name where the line comes from."""


class Heard(NamedTuple):
    """One event: from where, when (seconds since the epoch), and what."""

    source: str
    """what the line's prefix names, else its host, else its file"""
    at: float
    told: Told


class Passed(msgspec.Struct):
    """What was read and what of it was passed over, counted."""

    bytes: int = 0
    lines: int = 0
    events: int = 0
    foreign: int = 0
    """lines that are no JSON event of a processor: a handler's own prints, Python's warnings, console format"""
    too_long: int = 0
    newer: int = 0
    """events of a log version that is not known here: what they tell may be read wrongly"""


class Splitter:
    """Cuts chunks into lines; what has no end yet waits for the next chunk.

    Args:
        passed: where lines are counted that are longer than `longest`, in bytes.
    """

    def __init__(self, passed: Passed, longest: int = LONGEST_LINE) -> None:
        self._passed = passed
        self._longest = longest
        self._rest = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`, without their ends."""
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
        """What is there of a line that has no end, or None where it is too long; forgets it."""
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
            self._passed.too_long += 1


class _Other(msgspec.Struct):
    """An event that the observer has no use for."""

    timestamp: datetime
    event: str


class _Wrapped(msgspec.Struct):
    """A line as Docker's `json-file` driver keeps it."""

    log: str


_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode
_decode = msgspec.json.Decoder(AnyTold).decode
_decode_other = msgspec.json.Decoder(_Other).decode


def events(lines: list[bytes], name: str, passed: Passed) -> Iterator[Heard]:
    """The events among `lines`, of the file called `name`; the others are counted in `passed`."""
    for line in lines:
        if not line or line.isspace():
            continue
        passed.lines += 1
        start = line.find(b"{")
        text = _unwrapped(line[start:]) if start >= 0 else b""
        try:
            told = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _count(text, passed)
            continue
        passed.events += 1
        passed.newer += told.log_version > KNOWN_VERSION
        at = _seconds(told.timestamp)
        yield Heard((_source(line[:start]) if start > 0 else "") or told.host or name, at, told)


def _unwrapped(text: bytes) -> bytes:
    """What a container said, where this is Docker's record of it."""
    if not text.startswith(b'{"log":'):
        return text
    try:
        return _decode_wrapped(text).log.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _count(text: bytes, passed: Passed) -> None:
    try:
        _decode_other(text)
        passed.events += 1
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        passed.foreign += 1


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _source(prefix: bytes) -> str:
    """The pod or container that a prefix names; nothing where it names none."""
    return b" ".join(_NO_SOURCE.sub(b" ", prefix).split()).decode("utf-8", "replace")
