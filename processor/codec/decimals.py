"""Avro's decimals of bytes, read in bounded time.

To turn however many bytes a decimal claims into a number takes time that grows with the square of the bytes: a
megabyte holds the interpreter for over a minute. A decimal of more bytes than its precision has use for is refused.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

SPARE_BYTES = 16
"""A writer may sign-extend: this many bytes more than the precision needs are let pass."""


def read_decimal(data: bytes, node: Any, _reader: Any = None) -> Decimal:
    """The unscaled number, big-endian two's complement, with the scale of `node`.

    Raises:
        ValueError: there are more bytes than the precision has use for.
    """
    precision: int = node["precision"]
    if len(data) > precision // 2 + SPARE_BYTES:  # a digit is log(10)/log(256) = 0.42 bytes
        raise ValueError(f"a decimal of precision {precision} has {len(data)} bytes")
    context = Context(prec=precision)
    unscaled = context.create_decimal(int.from_bytes(data, "big", signed=True))
    return unscaled.scaleb(-node.get("scale", 0), context)
