"""Decoders of Avro's complex types, each composed of the decoders of the types inside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from processor.avro.fault import NOTHING, Fault, Unresolvable
from processor.avro.primitives import Decoder, read_long, read_string
from processor.telemetry.printable import printable

LACKING_FIELD = "the writer lacks this field, and it has no default"

KEY_CHARACTERS = 40
"""An error shows at most this many characters of a map's key."""


def record_decoder(
    fields: Sequence[tuple[str, str | None, Decoder]],
    defaults: Sequence[tuple[str, Callable[[], Any]]] = (),
    order: Sequence[str] | None = None,
    lacking: Sequence[str] = (),
) -> Decoder:
    """Decodes the fields in the writer's order into a dict.

    Args:
        fields: the writer's fields: name, the reader's name for it (None if the reader skips it), decoder.
        defaults: fields that only the reader has: name, and a function that makes the default.
        order: the reader's field names in its order; None if it is the writer's order.
        lacking: fields that only the reader has and that have no default. If there are any, no value is readable.
    """
    if lacking:
        return _rejecting_decoder(lacking[0])
    plain = [(name, decode) for name, into, decode in fields if name == into]
    if order is None and len(plain) == len(fields) and not defaults:
        return _all_fields(plain)
    return _some_fields(fields, defaults, order)


def _all_fields(fields: Sequence[tuple[str, Decoder]]) -> Decoder:
    """The fast path: the reader has the same fields in the same order, as most do."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        record: dict[str, Any] = {}
        name = ""
        try:
            for name, decode in fields:
                record[name], at = decode(data, at)
        except Fault as fault:
            raise fault.inside(name, _with(record, name, fault)) from None
        return record, at

    return read


def _some_fields(
    fields: Sequence[tuple[str, str | None, Decoder]],
    defaults: Sequence[tuple[str, Callable[[], Any]]],
    order: Sequence[str] | None,
) -> Decoder:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        record: dict[str, Any] = {}
        name = ""
        try:
            for name, into, decode in fields:  # noqa: B007 — the error names the field at which decoding stopped
                value, at = decode(data, at)
                if into is not None:
                    record[into] = value
        except Fault as fault:
            raise fault.inside(name, _with(record, name, fault)) from None
        for into, make in defaults:
            record[into] = make()
        return (record if order is None else {name: record[name] for name in order}), at

    return read


def _rejecting_decoder(field: str) -> Decoder:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        raise Unresolvable(at, LACKING_FIELD).inside(field, NOTHING)

    return read


def enum_decoder(written: Sequence[str], read_as: Sequence[str | None]) -> Decoder:
    """Decodes an enum's index into the reader's symbol; None in `read_as` is a symbol that the reader lacks."""

    def read(data: bytes, at: int) -> tuple[str, int]:
        number, end = read_long(data, at)
        if not 0 <= number < len(read_as):
            raise Fault(at, f"enum index {number} is out of range: there are {len(read_as)} symbols")
        symbol = read_as[number]
        if symbol is None:
            raise Unresolvable(at, f"the reader's enum lacks the symbol {written[number]} and has no default")
        return symbol, end

    return read


def union_decoder(branches: Sequence[Decoder]) -> Decoder:
    """Decodes the branch that the index names. An index below 64 is one byte: twice the index."""
    by_byte = {2 * number: branch for number, branch in enumerate(branches[:64])}

    def read(data: bytes, at: int) -> tuple[Any, int]:
        if at < len(data) and (branch := by_byte.get(data[at])) is not None:
            return branch(data, at + 1)
        number, begin = read_long(data, at)
        if not 0 <= number < len(branches):
            raise Fault(at, f"union index {number} is out of range: there are {len(branches)} branches")
        return branches[number](data, begin)

    return read


def array_decoder(decode_item: Decoder) -> Decoder:
    """Decodes blocks of items into a list."""

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        count, at = _count(data, at)
        try:
            while count:
                for _ in range(count):
                    value, at = decode_item(data, at)
                    items.append(value)
                count, at = _count(data, at)
        except Fault as fault:
            number = len(items)
            if fault.partial is not NOTHING:
                items.append(fault.partial)
            raise fault.inside(f"[{number}]", items) from None
        return items, at

    return read


def map_decoder(decode_value: Decoder) -> Decoder:
    """Decodes blocks of keys and values into a dict."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        entries: dict[str, Any] = {}
        name = ""
        count, at = _count(data, at)
        try:
            while count:
                for _ in range(count):
                    name = ""
                    name, at = read_string(data, at)
                    entries[name], at = decode_value(data, at)
                count, at = _count(data, at)
        except Fault as fault:
            raise fault.inside(f'["{printable(name, KEY_CHARACTERS)}"]', _with(entries, name, fault)) from None
        return entries, at

    return read


def _count(data: bytes, at: int) -> tuple[int, int]:
    """Reads a block's item count. A negative count means that the block's size in bytes follows it.

    An item takes at least one byte. A count above the bytes that remain is rejected before any item is read.
    """
    count, begin = read_long(data, at)
    if count < 0:
        count = -count
        _, begin = read_long(data, begin)
    if count > len(data) - begin:
        raise Fault(at, f"a block declares {count} items, but only {len(data) - begin} bytes remain")
    return count, begin


def _with(read: dict[str, Any], name: str, fault: Fault) -> dict[str, Any]:
    """The entries decoded so far, including the part of the value in which decoding stopped."""
    return read if fault.partial is NOTHING else {**read, name: fault.partial}
