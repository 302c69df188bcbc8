"""The rules of the Avro specification 1.12, "Schema Resolution", one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import avro.schema
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import assume, given
from hypothesis import strategies as st

from processor.avro.fault import Fault
from processor.avro.resolution import Resolution
from tests.avro.avro_types import pairs, schemas, values_of


def written(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    """A record schema; each field is a tuple of name, type and optionally a default."""
    members = [{"name": n, "type": t} | ({"default": d[0]} if d else {}) for n, t, *d in fields]
    return {"type": "record", "name": name, "fields": members, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def fixed(size: int, name: str = "F") -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size}


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def mapped(values: Any) -> dict[str, Any]:
    return {"type": "map", "values": values}


def resolved(writer: Any, reader: Any, value: Any) -> Any:
    resolution = Resolution(writer, reader)
    return resolution.read(written(writer, value), 0)


AN_ID = UUID("12345678-1234-5678-1234-567812345678")

READ = {
    "an int as a long": ("int", "long", 5, 5),
    "an int as a float": ("int", "float", 5, 5.0),
    "an int that a float has not": ("int", "float", 2**24 + 1, 2.0**24),
    "an int as a double": ("int", "double", 5, 5.0),
    "a long as a float": ("long", "float", 5, 5.0),
    "a long as a double": ("long", "double", 5, 5.0),
    "a float as a double": ("float", "double", 1.5, 1.5),
    "a string as bytes": ("string", "bytes", "ä", b"\xc3\xa4"),
    "bytes as a string": ("bytes", "string", b"\xc3\xa4", "ä"),
    "an array's items promoted": (array("int"), array("double"), [1, 2], [1.0, 2.0]),
    "a map's values promoted": (mapped("int"), mapped("long"), {"a": 1}, {"a": 1}),
    "an enum with more symbols": (enum("A", "B"), enum("C", "B", "A"), "B", "B"),
    "an unknown symbol as the default": (enum("A", "B"), enum("A", "OTHER", default="OTHER"), "B", "OTHER"),
    "a known symbol beside an unknown one": (enum("A", "B"), enum("A"), "A", "A"),
    "a fixed of the same size": (fixed(2), fixed(2), b"ab", b"ab"),
    "fields in another order": (
        record(("a", "int"), ("b", "string")),
        record(("b", "string"), ("a", "long")),
        {"a": 1, "b": "x"},
        {"b": "x", "a": 1},
    ),
    "a field that the reader lacks": (
        record(("a", "int"), ("gone", mapped("string")), ("b", "int")),
        record(("b", "int")),
        {"a": 1, "gone": {"x": "y"}, "b": 2},
        {"b": 2},
    ),
    "a field that the writer lacks": (record(("a", "int")), record(("b", "int", 7), ("a", "int")), {"a": 1}, None),
    "a field by its alias": (
        record(("old", "int")),
        {"type": "record", "name": "R", "fields": [{"name": "new", "type": "long", "aliases": ["older", "old"]}]},
        {"old": 1},
        {"new": 1},
    ),
    "a record by its alias": (
        record(("a", "int"), name="shop.Purchase"),
        record(("a", "int"), name="shop.Order", aliases=["Purchase"]),
        {"a": 1},
        {"a": 1},
    ),
    "a record in another namespace": (
        record(("a", "int"), name="old.shop.Order"),
        record(("a", "int"), name="shop.Order"),
        {"a": 1},
        {"a": 1},
    ),
    "one branch of a writer's union": (["null", "int"], "long", 5, 5),
    "a type as a branch of the reader's union": ("int", ["null", "long"], 5, 5),
    "the same type before a promoted one": ("int", ["double", "int"], 5, 5),
    "the first that it can be promoted to": ("int", ["string", "float", "double"], 5, 5.0),
    "a union as a union": (["null", "int", "string"], ["bytes", "null", "long"], "ä", b"\xc3\xa4"),
    "a branch by the structure that fits": (
        record(("a", "int"), name="x.R"),
        [record(("b", "int"), name="y.R"), record(("a", "int"), name="z.R")],
        {"a": 1},
        {"a": 1},
    ),
    "a number as a date": ("int", logical("int", "date"), 1, date(1970, 1, 2)),
    "a date as a number": (logical("int", "date"), "int", date(1970, 1, 2), 1),
    "a number as a time stamp": (
        "int",
        logical("long", "timestamp-millis"),
        1000,
        datetime(1970, 1, 1, 0, 0, 1, 0, UTC),
    ),
    "text as a UUID": ("string", logical("string", "uuid"), str(AN_ID), AN_ID),
    "bytes as a decimal": (
        "bytes",
        logical("bytes", "decimal", precision=4, scale=2),
        b"\x04\xd2",
        Decimal("12.34"),
    ),
    "a decimal with more precision": (
        logical("bytes", "decimal", precision=4, scale=2),
        logical("bytes", "decimal", precision=9, scale=2),
        Decimal("12.34"),
        Decimal("12.34"),
    ),
}


@pytest.mark.parametrize(("writer", "reader", "value", "seen"), READ.values(), ids=READ.keys())
def test_a_value_is_resolved_to_the_readers_schema(writer: Any, reader: Any, value: Any, seen: Any) -> None:
    result = resolved(writer, reader, value)
    assert result == (seen if seen is not None else {"b": 7, "a": 1})
    assert type(result) is type(seen if seen is not None else {})
    if isinstance(result, dict) and isinstance(reader, dict) and reader["type"] == "record":
        assert list(result) == [field["name"] for field in reader["fields"]]


MISFITS = {
    "a long as an int": ("long", "int", "written as long, read as int"),
    "a string as an int": ("string", "int", "written as string, read as int"),
    "a null as a boolean": ("null", "boolean", "written as null, read as boolean"),
    "a double as a float": ("double", "float", "written as double, read as float"),
    "a map as an array": (mapped("int"), array("int"), "written as map, read as array"),
    "a record as a map": (record(("a", "int")), mapped("int"), "written as record, read as map"),
    "a fixed of another size": (fixed(2), fixed(3), "written with a size of 2 bytes, read with 3"),
    "a fixed of another name": (fixed(2), fixed(2, "G"), "written as F, read as G"),
    "an enum as a fixed": (enum("A"), fixed(1, "E"), "written as enum, read as fixed"),
    "a record of another name": (record(name="shop.A"), record(name="shop.B"), "written as shop.A, read as shop.B"),
    "symbols that the reader lacks": (enum("A", "B", "C"), enum("A"), "the reader's E lacks B, C and has no default"),
    "a field without a default": (
        record(("a", "int")),
        record(("a", "int"), ("b", "int")),
        "field b: the writer lacks this field, and it has no default",
    ),
    "a field's type": (record(("a", "string")), record(("a", "int")), "field a: written as string, read as int"),
    "a field far inside": (
        record(("in", array(mapped(record(("x", "string"), name="X"))))),
        record(("in", array(mapped(record(("x", "int"), name="X"))))),
        "field in[][].x: written as string, read as int",
    ),
    "a field inside an optional record": (
        record(("in", ["null", record(("x", "string"), name="X")])),
        record(("in", ["null", record(("x", "int"), name="X")])),
        "field in.x: written as string, read as int",
    ),
    "a branch that the reader lacks": (
        record(("a", ["null", "string"])),
        record(("a", ["null", "int"])),
        "field a: written as string, which is not a branch of the reader's union of null, int",
    ),
    "a union as a type of one branch": (["null", "int"], "int", "written as null, read as int"),
    "a decimal of another scale": (
        logical("bytes", "decimal", precision=9, scale=2),
        logical("bytes", "decimal", precision=9, scale=3),
        "written as decimal(9, 2), read as decimal(9, 3)",
    ),
    "a decimal of less precision": (
        logical("bytes", "decimal", precision=9, scale=2),
        logical("bytes", "decimal", precision=8, scale=2),
        "written as decimal(9, 2), read as decimal(8, 2)",
    ),
    "milliseconds as microseconds": (
        logical("long", "timestamp-millis"),
        logical("long", "timestamp-micros"),
        "written as timestamp-millis, read as timestamp-micros",
    ),
    "a date as a time of day": (logical("int", "date"), logical("int", "time-millis"), "written as date, read as time"),
}


@pytest.mark.parametrize(("writer", "reader", "reason"), MISFITS.values(), ids=MISFITS.keys())
def test_a_mismatch_names_its_field_and_reason(writer: Any, reader: Any, reason: str) -> None:
    (mismatch,) = Resolution(writer, reader).mismatches
    assert str(mismatch).startswith(reason)


def test_every_mismatch_is_reported() -> None:
    writer = record(("a", "string"), ("b", "int"))
    reader = record(("a", "int"), ("b", "boolean"), ("c", "int"))
    assert [mismatch.path for mismatch in Resolution(writer, reader).mismatches] == [("a",), ("b",), ("c",)]


def test_a_mismatch_affects_only_values_that_contain_it() -> None:
    writer, reader = record(("a", ["null", "string"])), record(("a", ["null", "int"]))
    assert resolved(writer, reader, {"a": None}) == {"a": None}
    with pytest.raises(Fault, match="byte 1, field a: written as string, which is not a branch of the reader's union"):
        resolved(writer, reader, {"a": "x"})


def test_a_recursive_type_is_resolved() -> None:
    writer = record(("value", "int"), ("next", ["null", "R"]))
    reader = record(("next", ["null", "R"]), ("value", "long"), ("note", "string", "none"))
    seen = resolved(writer, reader, {"value": 1, "next": {"value": 2, "next": None}})
    assert seen == {"next": {"next": None, "value": 2, "note": "none"}, "value": 1, "note": "none"}


def test_a_mismatch_in_a_recursive_type_is_reported_once() -> None:
    writer = record(("value", "string"), ("next", ["null", "R"]))
    reader = record(("value", "int"), ("next", ["null", "R"]))
    assert list(map(str, Resolution(writer, reader).mismatches)) == ["field value: written as string, read as int"]


DEFAULTS = {
    "bytes": ("bytes", "\u00ff", b"\xff"),
    "a fixed": (fixed(2), "\u00ff\u0000", b"\xff\x00"),
    "a double": ("double", 1, 1.0),
    "a date": (logical("int", "date"), 1, date(1970, 1, 2)),
    "a time": (logical("int", "time-millis"), 1000, time(0, 0, 1)),
    "a UUID": (logical("string", "uuid"), str(AN_ID), AN_ID),
    "a decimal": (logical("bytes", "decimal", precision=4, scale=2), "\u0004\u00d2", Decimal("12.34")),
    "a union's first branch": (["null", "int"], None, None),
    "a union's second branch": (["null", "int"], 5, 5),
    "an array": (array("double"), [1, 2], [1.0, 2.0]),
    "a map": (mapped("bytes"), {"a": "\u00ff"}, {"a": b"\xff"}),
    "an enum": (enum("A", "B"), "B", "B"),
    "a record, with its own defaults": (
        record(("x", "bytes"), ("y", "int", 7), name="X"),
        {"x": "a"},
        {"x": b"a", "y": 7},
    ),
}


@pytest.mark.parametrize(("kind", "default", "seen"), DEFAULTS.values(), ids=DEFAULTS.keys())
def test_a_default_has_the_same_python_type_as_a_value(kind: Any, default: Any, seen: Any) -> None:
    result = resolved(record(), record(("a", kind, default)), {})
    assert result == {"a": seen}
    assert type(result["a"]) is type(seen)


def test_a_mutable_default_is_not_shared() -> None:
    """A handler that modifies its payload must not modify the payload of the next task."""
    resolution = Resolution(record(), record(("a", array("int"), [1]), ("b", mapped("int"), {})))
    first, second = resolution.read(b"", 0), resolution.read(b"", 0)
    first["a"].append(2)
    first["b"]["x"] = 1
    assert second == {"a": [1], "b": {}}


@given(st.data())
def test_what_fastavro_writes_is_read_as_fastavro_reads_it(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    value = data.draw(values_of(schema))
    encoded = written(schema, value)
    known = fastavro.schemaless_reader(BytesIO(encoded), fastavro.parse_schema(schema), None)
    assert Resolution(schema).read(encoded, 0) == known


def is_compatible(writer: Any, reader: Any) -> bool:
    """The result of the Avro project's own checker."""
    read, wrote = (avro.schema.parse(json.dumps(schema)) for schema in (reader, writer))
    verdict = ReaderWriterCompatibilityChecker().get_compatibility(read, wrote)
    return verdict.compatibility is SchemaCompatibilityType.compatible


@given(pairs())
def test_compatibility_agrees_with_the_avro_projects_checker(pair: tuple[Any, Any]) -> None:
    writer, reader = pair
    mismatches = Resolution(writer, reader).mismatches
    assert is_compatible(writer, reader) == (not mismatches), mismatches


@given(pairs(), st.data())
def test_a_value_of_a_compatible_schema_is_valid_for_the_readers_schema(
    pair: tuple[Any, Any], data: st.DataObject
) -> None:
    writer, reader = pair
    resolution = Resolution(writer, reader)
    assume(not resolution.mismatches)
    value = data.draw(values_of(writer))
    assert list(_strangers(reader, resolution.read(written(writer, value), 0))) == []


def _strangers(node: Any, value: Any) -> Iterator[Any]:
    """The paths in a value that do not match the schema."""
    if isinstance(node, list):
        if all(list(_strangers(branch, value)) for branch in node):
            yield value
        return
    kind = node["type"] if isinstance(node, dict) else node
    python: dict[str, Any] = {
        "null": type(None),
        "boolean": bool,
        "int": int,
        "long": int,
        "float": float,
        "double": float,
    }
    more = {"bytes": bytes, "fixed": bytes, "string": str, "enum": str, "array": list, "map": dict, "record": dict}
    if not isinstance(value, (python | more)[kind]) or (kind == "record" and set(value) != _names_of(node)):
        yield value
    elif kind == "record":
        for field in node["fields"]:
            yield from _strangers(field["type"], value[field["name"]])
    elif kind in ("array", "map"):
        for item in value if kind == "array" else value.values():
            yield from _strangers(node["items" if kind == "array" else "values"], item)


def _names_of(record: Any) -> set[str]:
    return {field["name"] for field in record["fields"]}
