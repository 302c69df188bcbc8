"""Skip maps as the first version of the format wrote them. They are still read."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from itertools import pairwise

from processor.engine.offsets import Range


def packed(body: bytes, version: int = 1) -> str:
    """Return a map of these bytes, with their checksum."""
    return f"p{version}:" + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


def version_1(base: int, ranges: Sequence[Range]) -> str:
    """Return a map as the first version wrote it."""
    out = bytearray()
    ends = [base, *(end for bounds in ranges for end in bounds)]
    for number in [base, *(high - low for low, high in pairwise(ends))]:
        groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
        out += bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
    short = zlib.compress(bytes(out), 6)
    return packed(b"\x01" + short if len(short) < len(out) else b"\x00" + bytes(out))
