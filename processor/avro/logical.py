"""Avro's logical types: which a type has, how values come out as Python's own, and which of them fit each other."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from fastavro.read import LOGICAL_READERS

from processor.avro.fault import Fault
from processor.avro.primitives import Step

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


UUID_BYTES = 16
"""A fixed of this size may be a UUID (Avro specification 1.12, "UUID")."""

Convert = Callable[[Any, Any, Any], Any]


def logical_type(node: Any) -> str | None:
    """The logical type of `node`; None where it has none, or one that is not valid there and so does not count."""
    kind = node.get("logicalType") if isinstance(node, dict) else None
    if not isinstance(kind, str):
        return None
    if kind == "decimal" and not _is_decimal(node):
        return None
    return kind if _converter(node, kind) is not None else None


def converted(step: Step, node: Any) -> Step:
    """`step`, and its value as the Python type that stands for the logical type of `node`, where it has one."""
    kind = logical_type(node)
    convert = _converter(node, kind) if kind else None
    if convert is None:
        return step

    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, end = step(data, at)
        try:
            return convert(value, node, None), end
        except Exception as error:  # noqa: BLE001 — of converters that say in many ways that a value is out of range
            raise Fault(at, f"no {kind}: {error}") from None

    return read


def misfit(writer: Any, reader: Any) -> str | None:
    """Why a value of the one logical type would be a wrong value of the other; None where it is not.

    The specification ("Schema Resolution") lets decimals match only with the same scale and precision; a reader's
    larger precision takes nothing away, and is let pass. Of other pairs it says nothing, and libraries read
    milliseconds as microseconds.
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
