"""Avro's complex types, each a step made of the steps of what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from processor.avro.fault import NOTHING, Fault, Unresolvable
from processor.avro.primitives import Step, read_long, read_string
from processor.telemetry.printable import printable

KEY_CHARACTERS = 40
"""As much of a map's key is told as tells it from others."""


def record_step(
    fields: Sequence[tuple[str, str | None, Step]],
    defaults: Sequence[tuple[str, Callable[[], Any]]] = (),
    order: Sequence[str] | None = None,
    lacking: Sequence[str] = (),
) -> Step:
    """The fields one after the other.

    Args:
        fields: the writer's: its name, the reader's name for it (None where the reader does not want it), its step.
        defaults: the reader's fields that the writer lacks.
        order: the reader's names in its order; None where it is the writer's.
        lacking: the reader's fields that the writer lacks and that have no default.
    """
    if lacking:
        return _refusal(lacking[0])
    plain = [(name, step) for name, into, step in fields if name == into]
    if order is None and len(plain) == len(fields) and not defaults:
        return _all_fields(plain)
    return _some_fields(fields, defaults, order)


def _all_fields(fields: Sequence[tuple[str, Step]]) -> Step:
    """Of a record that is read as it was written, as most are."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        record: dict[str, Any] = {}
        name = ""
        try:
            for name, step in fields:
                record[name], at = step(data, at)
        except Fault as fault:
            raise fault.inside(name, _with(record, name, fault)) from None
        return record, at

    return read


def _some_fields(
    fields: Sequence[tuple[str, str | None, Step]],
    defaults: Sequence[tuple[str, Callable[[], Any]]],
    order: Sequence[str] | None,
) -> Step:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        record: dict[str, Any] = {}
        name = ""
        try:
            for name, into, step in fields:  # noqa: B007 — where it breaks off, the name is told
                value, at = step(data, at)
                if into is not None:
                    record[into] = value
        except Fault as fault:
            raise fault.inside(name, _with(record, name, fault)) from None
        for into, make in defaults:
            record[into] = make()
        return (record if order is None else {name: record[name] for name in order}), at

    return read


def _refusal(field: str) -> Step:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        raise Unresolvable(at, "the writer has no such field, and it has no default").inside(field, NOTHING)

    return read


def enum_step(written: Sequence[str], read_as: Sequence[str | None]) -> Step:
    """A symbol by its number; None is one that the reader does not have."""

    def read(data: bytes, at: int) -> tuple[str, int]:
        number, end = read_long(data, at)
        if not 0 <= number < len(read_as):
            raise Fault(at, f"an enum of {len(read_as)} symbols has no number {number}")
        symbol = read_as[number]
        if symbol is None:
            raise Unresolvable(at, f"the reader has no symbol {written[number]}, and no default")
        return symbol, end

    return read


def union_step(branches: Sequence[Step]) -> Step:
    """A branch by its number, which is one byte with the number doubled where there are fewer than 64."""
    by_byte = {2 * number: branch for number, branch in enumerate(branches[:64])}

    def read(data: bytes, at: int) -> tuple[Any, int]:
        if at < len(data) and (branch := by_byte.get(data[at])) is not None:
            return branch(data, at + 1)
        number, begin = read_long(data, at)
        if not 0 <= number < len(branches):
            raise Fault(at, f"a union of {len(branches)} branches has no number {number}")
        return branches[number](data, begin)

    return read


def array_step(item: Step) -> Step:
    """Blocks of items."""

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        count, at = _count(data, at)
        try:
            while count:
                for _ in range(count):
                    value, at = item(data, at)
                    items.append(value)
                count, at = _count(data, at)
        except Fault as fault:
            number = len(items)
            if fault.partial is not NOTHING:
                items.append(fault.partial)
            raise fault.inside(f"[{number}]", items) from None
        return items, at

    return read


def map_step(value_step: Step) -> Step:
    """Blocks of names and values."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        entries: dict[str, Any] = {}
        name = ""
        count, at = _count(data, at)
        try:
            while count:
                for _ in range(count):
                    name = ""
                    name, at = read_string(data, at)
                    entries[name], at = value_step(data, at)
                count, at = _count(data, at)
        except Fault as fault:
            raise fault.inside(f'["{printable(name, KEY_CHARACTERS)}"]', _with(entries, name, fault)) from None
        return entries, at

    return read


def _count(data: bytes, at: int) -> tuple[int, int]:
    """How many items the block has that begins here; a negative number is followed by the block's size in bytes.

    Each item takes a byte at least: what claims more than are left is refused before any is read.
    """
    count, begin = read_long(data, at)
    if count < 0:
        count = -count
        _, begin = read_long(data, begin)
    if count > len(data) - begin:
        raise Fault(at, f"a block of {count} items should follow, and {len(data) - begin} bytes are left")
    return count, begin


def _with(read: dict[str, Any], name: str, fault: Fault) -> dict[str, Any]:
    """What was read of a record or a map, with what was read of the value in which it stopped."""
    return read if fault.partial is NOTHING else {**read, name: fault.partial}
