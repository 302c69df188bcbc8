"""Avro's decimals, read in bounded time.

fastavro turns however many bytes a decimal claims into a number first and rounds it to the schema's
precision then. The first step takes time that grows with the square of the bytes: a megabyte holds
the interpreter for over a minute. Here a decimal of more bytes than its precision has use for is refused.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

from fastavro import _read_py
from fastavro.read import LOGICAL_READERS

LOGICAL_TYPE = "processor-decimal"
"""The name that stands for `decimal` in a schema to read with; fastavro's own readers stay as they are."""

SPARE_BYTES = 16
"""A writer may sign-extend: this many bytes more than the precision needs are let pass."""


def bounded(schema: Any) -> Any:
    """`schema` with every decimal of bytes marked to be read by `read_decimal`.

    A decimal without a precision is no valid logical type, and the specification has those ignored.
    """
    if isinstance(schema, list):
        return [bounded(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: bounded(member) if name in ("type", "items", "values") else member for name, member in schema.items()}
    if isinstance(schema.get("fields"), list):
        copy["fields"] = [bounded(field) for field in schema["fields"]]
    if schema.get("logicalType") == "decimal" and schema.get("type") == "bytes":
        copy["logicalType"] = LOGICAL_TYPE if schema.get("precision") else None
    return copy


def read_decimal(data: bytes, writer_schema: Any = None, reader_schema: Any = None) -> Decimal:
    """The unscaled number, big-endian two's complement, with the schema's scale.

    Raises:
        ValueError: there are more bytes than the precision has use for.
    """
    precision: int = writer_schema["precision"]
    if len(data) > precision // 2 + SPARE_BYTES:  # a digit is log(10)/log(256) = 0.42 bytes
        raise ValueError(f"a decimal of precision {precision} has {len(data)} bytes")
    context = Context(prec=precision)
    unscaled = context.create_decimal(int.from_bytes(data, "big", signed=True))
    return unscaled.scaleb(-writer_schema.get("scale", 0), context)


for readers in (LOGICAL_READERS, _read_py.__dict__["LOGICAL_READERS"]):  # the compiled reader's and the one in Python
    readers[f"bytes-{LOGICAL_TYPE}"] = read_decimal
