"""Avro's logical types: which one a type has, how its values become Python objects, and which pairs are compatible."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from fastavro.read import LOGICAL_READERS

from processor.avro.fault import Fault
from processor.avro.primitives import Decoder

SPARE_BYTES = 16
"""A writer may sign-extend: this many bytes more than the precision requires are accepted."""


def read_decimal(data: bytes, node: Any, _reader: Any = None) -> Decimal:
    """Decodes an unscaled integer in big-endian two's complement and applies the scale of `node`.

    Raises:
        ValueError: there are more bytes than the precision requires.
    """
    precision: int = node["precision"]
    if len(data) > precision // 2 + SPARE_BYTES:  # a digit is log(10)/log(256) = 0.42 bytes
        raise ValueError(f"{len(data)} bytes are too many for a precision of {precision}")
    context = Context(prec=precision)
    unscaled = context.create_decimal(int.from_bytes(data, "big", signed=True))
    return unscaled.scaleb(-node.get("scale", 0), context)


UUID_BYTES = 16
"""Size of a fixed that may be a UUID (Avro specification 1.12, "UUID")."""

Convert = Callable[[Any, Any, Any], Any]


def logical_type(node: Any) -> str | None:
    """The logical type of `node`; None if it has none or an invalid one, which the specification ignores."""
    kind = node.get("logicalType") if isinstance(node, dict) else None
    if not isinstance(kind, str):
        return None
    if kind == "decimal" and not _is_decimal(node):
        return None
    return kind if _converter(node, kind) is not None else None


def with_logical_type(decode: Decoder, node: Any) -> Decoder:
    """`decode`, followed by the conversion to the Python type of the logical type of `node`, if it has one."""
    kind = logical_type(node)
    convert = _converter(node, kind) if kind else None
    if convert is None:
        return decode

    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, end = decode(data, at)
        try:
            return convert(value, node, None), end
        except Exception as error:  # noqa: BLE001 — converters raise many types for a value that is out of range
            raise Fault(at, f"not a valid {kind}: {error}") from None

    return read


def logical_mismatch(writer: Any, reader: Any) -> str | None:
    """Why a value of the writer's logical type must not be read as the reader's; None if it may.

    The specification ("Schema Resolution") matches decimals only with equal scale and precision. A larger precision
    of the reader loses nothing and is accepted here. The specification does not cover other pairs, and some libraries
    read milliseconds as microseconds.
    """
    written, read = logical_type(writer), logical_type(reader)
    if written is None or read is None:
        return None
    if written != read:
        return f"written as {written}, read as {read}"
    if written == "decimal":
        ours, theirs = (writer["precision"], writer.get("scale", 0)), (reader["precision"], reader.get("scale", 0))
        if ours[1] != theirs[1] or ours[0] > theirs[0]:
            return f"written as decimal({ours[0]}, {ours[1]}), read as decimal({theirs[0]}, {theirs[1]})"
    return None


def _converter(node: Any, kind: str) -> Convert | None:
    base = node["type"]
    if kind == "decimal" and base == "bytes":
        return read_decimal
    if kind == "uuid" and base == "fixed" and node.get("size") == UUID_BYTES:
        return _uuid_of_bytes
    return LOGICAL_READERS.get(f"{base}-{kind}")


def _uuid_of_bytes(value: bytes, writer: Any, reader: Any) -> UUID:
    return UUID(bytes=value)


def _is_decimal(node: Any) -> bool:
    precision, scale = node.get("precision"), node.get("scale", 0)
    return type(precision) is int and type(scale) is int and 0 <= scale <= precision and precision > 0
