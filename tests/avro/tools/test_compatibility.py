"""Compatibility levels, and differences between schemas."""

from __future__ import annotations

from typing import Any

import pytest

from processor.avro.tools.compatibility import Compatibility, incompatibilities
from processor.avro.tools.differences import differences
from tests.avro.tools.test_classes import schema_of


def record(*fields: Any, **more: Any) -> dict[str, Any]:
    members = [{"name": n, "type": t} | ({"default": d[0]} if d else {}) for n, t, *d in fields]
    return {"type": "record", "name": "R", "fields": members, **more}


ONE = record(("a", "int"))
MORE = record(("a", "int"), ("b", "int"))
MORE_WITH_DEFAULT = record(("a", "int"), ("b", "int", 7))
WIDER = record(("a", "long"))


@pytest.mark.parametrize(
    ("old", "new", "level", "expected"),
    [
        (ONE, MORE_WITH_DEFAULT, "FULL", []),
        (ONE, MORE, "FORWARD", []),
        (
            ONE,
            MORE,
            "BACKWARD",
            [
                "the new schema cannot read data written with v1: field b: the writer lacks this field,"
                " and it has no default"
            ],
        ),
        (MORE, ONE, "BACKWARD_TRANSITIVE", []),
        (
            MORE,
            ONE,
            "FORWARD",
            [
                "v1 cannot read data written with the new schema: field b: the writer lacks this field,"
                " and it has no default"
            ],
        ),
        (ONE, WIDER, "BACKWARD", []),
        (
            ONE,
            WIDER,
            "FULL",
            ["v1 cannot read data written with the new schema: field a: written as long, read as int"],
        ),
        (ONE, WIDER, "NONE", []),
    ],
)
def test_incompatibilities_state_the_reader_the_writer_and_the_reason(
    old: Any, new: Any, level: Compatibility, expected: list[str]
) -> None:
    (before,), (after,) = schema_of(old), schema_of(new)
    assert incompatibilities(after, before, "v1", level) == expected


OLD = record(
    ("same", "int"),
    ("gone", {"type": "array", "items": "string"}),
    ("type", "int"),
    ("default", "int", 1),
    ("inner", ["null", {"type": "record", "name": "I", "fields": [{"name": "x", "type": "int"}]}]),
    ("branches", ["null", "int"]),
    ("symbols", {"type": "enum", "name": "E", "symbols": ["A", "B"]}),
    ("logical", "long"),
)
NEW = record(
    ("same", "int"),
    ("type", "string"),
    ("default", "int", 2),
    ("inner", ["null", {"type": "record", "name": "I", "fields": [{"name": "x", "type": "long"}]}]),
    ("branches", ["null", "int", "string"]),
    ("symbols", {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}),
    ("logical", {"type": "long", "logicalType": "timestamp-millis"}),
    ("new", ["null", "R"], None),
    doc="New.",
)


def test_every_difference_is_one_line_with_its_field() -> None:
    (before,), (after,) = schema_of(OLD), schema_of(NEW)
    assert list(differences(before.definition, after.definition)) == [
        '~ doc: none → "New."',
        "- gone: array of string",
        "~ type: int → string",
        "~ default: default: 1 → 2",
        "~ inner.x: int → long",
        "~ branches: union of null, int → union of null, int, string",
        '~ symbols: symbols: ["A", "B"] → ["A", "B", "C"]',
        "~ logical: long → long (timestamp-millis)",
        "+ new: union of null, R = null",
    ]


def test_equal_definitions_have_no_differences() -> None:
    (schema,) = schema_of(NEW)
    assert list(differences(schema.definition, schema.definition)) == []
