"""Generated classes: the module runs, passes type checkers, and payloads convert to its classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.avro.definitions import Definitions
from processor.avro.schema import Schema
from processor.avro.tools.classes import Classes, Style
from processor.avro.tools.sample import Sampler
from processor.errors import LoadError
from processor.handlers.payload import convert
from tests.avro.avro_types import schemas

ORDER = {
    "type": "record",
    "name": "shop.Order",
    "doc": 'An "order", with a \\ in its description, which is so long that it must be wrapped onto a second line.',
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}, "doc": "Its id."},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            "default": "\u0004\u00d2",
        },
        {"name": "date", "type": {"type": "int", "logicalType": "date"}, "default": 1},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
        {"name": "opens", "type": ["null", {"type": "int", "logicalType": "time-millis"}], "default": None},
        {
            "name": "suit",
            "type": {"type": "enum", "name": "Suit", "symbols": ["HEARTS", "name", "class", "_x"]},
            "default": "class",
        },
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [{"name": "sku", "type": "string"}, {"name": "count", "type": "int", "default": 1}],
                },
            },
            "default": [{"sku": 'a"\n'}],
        },
        {"name": "parent", "type": ["null", "Order"], "default": None},
        {"name": "seal", "type": {"type": "fixed", "name": "Md5", "size": 4}},
        {"name": "second_seal", "type": ["Md5", "null"], "default": "abcd"},
        {"name": "odd", "type": ["string", "bytes", {"type": "map", "values": "double"}], "default": "x"},
        {"name": "rates", "type": {"type": "map", "values": "double"}, "default": {"a b": 1}},
        {"name": "mixed", "type": ["null", "int", "double", "string", {"type": "array", "items": "int"}]},
        {"name": "empty", "type": {"type": "record", "name": "Empty", "fields": []}, "default": {}},
    ],
}
STYLES: list[Style] = ["dataclass", "msgspec"]


def schema_of(*documents: Any) -> list[Schema]:
    definitions = Definitions()
    nodes = [definitions.add("test", document) for document in documents]
    return [definitions.schema("test", node) for node in nodes]


def module(style: Style, *documents: Any) -> ModuleType:
    """The generated module, imported."""
    made = ModuleType(f"generated_{style}")
    sys.modules[made.__name__] = made
    exec(Classes(schema_of(*documents), style).text(), made.__dict__)
    return made


@pytest.mark.parametrize("style", STYLES)
def test_samples_convert_to_the_class_from_avro_and_from_json(style: Style) -> None:
    order = module(style, ORDER).Order
    sampler = Sampler(schema_of(ORDER)[0], seed=1)
    for _ in range(50):
        value = sampler.value()
        from_avro, from_json = convert(value, order), convert(msgspec.json.decode(msgspec.json.encode(value)), order)
        assert type(from_avro) is order
        assert from_avro.price == value["price"]
        assert from_avro.seal == value["seal"]
        from_json.odd = from_avro.odd  # a union of text and bytes, which is ambiguous in JSON
        parent = (from_json.parent, from_avro.parent)
        while parent[0] is not None:
            parent[0].odd = parent[1].odd
            parent = (parent[0].parent, parent[1].parent)
        assert from_json == from_avro


@pytest.mark.parametrize("style", STYLES)
def test_defaults_match_the_schema(style: Style) -> None:
    made = module(style, ORDER)
    order = convert({"id": "12345678-1234-5678-1234-567812345678", "seal": "AAAAAA==", "mixed": None}, made.Order)
    assert repr(order.price) == "Decimal('12.34')"
    assert (str(order.date), str(order.at)) == ("1970-01-02", "1970-01-01 00:00:00+00:00")
    assert order.suit is made.Suit.class_
    assert order.suit == "class"
    assert order.lines == [made.Line(sku='a"\n', count=1)]
    assert (order.second_seal, order.rates, order.opens, order.odd) == (b"abcd", {"a b": 1.0}, None, "x")
    assert order.empty == made.Empty()
    again = convert({"id": "12345678-1234-5678-1234-567812345678", "seal": "AAAAAA==", "mixed": 1}, made.Order)
    assert again.lines is not order.lines


@pytest.mark.parametrize("style", STYLES)
def test_the_module_satisfies_the_type_checker_and_the_linter(style: Style, tmp_path: Path) -> None:
    file = tmp_path / "orders.py"
    file.write_text(Classes(schema_of(ORDER), style).text())
    for check in (["mypy", "--strict", "--no-incremental", str(file)], ["ruff", "check", "--isolated", str(file)]):
        ended = subprocess.run([sys.executable, "-m", *check], capture_output=True, text=True, check=False, timeout=100)
        assert ended.returncode == 0, ended.stdout


def test_a_field_named_by_a_keyword_requires_a_struct() -> None:
    document = {"type": "record", "name": "R", "fields": [{"name": "class", "type": "int", "default": 5}]}
    assert msgspec.json.encode(module("msgspec", document).R()) == b'{"class":5}'
    with pytest.raises(LoadError, match="R: a dataclass cannot have a field named class: use --style msgspec"):
        Classes(schema_of(document))


@pytest.mark.parametrize("name", ["timestamp-micros", "a b", ""])
def test_a_field_whose_name_python_does_not_take_is_one_line(name: str) -> None:
    document = {"type": "record", "name": "R", "fields": [{"name": name, "type": "int"}]}
    with pytest.raises(LoadError, match=f"R: a class cannot have a field named '{name}'"):
        Classes(schema_of(document))


SUIT = {"type": "enum", "name": "a.Suit", "symbols": ["HEARTS"]}
LINE = {"type": "record", "name": "a.Line", "fields": [{"name": "n", "type": "int"}]}


@pytest.mark.parametrize(
    ("kind", "default", "reason"),
    [
        ("Suit", None, "the default None is not a valid enum"),
        ("Line", None, "the default None is not a valid record"),
        ("Line", {}, "the default {} lacks the field n"),
        ({"type": "array", "items": "double"}, [None], "the default None is not a valid double"),
        (
            ["null", {"type": "map", "values": "int"}],
            {"a": "b"},
            "the default {'a': 'b'} matches no branch of its union",
        ),
    ],
)
def test_a_default_that_does_not_match_its_type_is_one_line(kind: Any, default: Any, reason: str) -> None:
    known = [{"name": "suit", "type": SUIT}, {"name": "line", "type": LINE}]
    fields = [*known, {"name": "x", "type": kind, "default": default}]
    with pytest.raises(LoadError) as caught:
        Classes(schema_of({"type": "record", "name": "a.R", "fields": fields}), "msgspec").text()
    assert str(caught.value) == f"a.R.x: {reason}"


def test_two_types_with_one_class_name_are_rejected() -> None:
    first, second = ({"type": "record", "name": f"{place}.Order", "fields": []} for place in ("a", "b"))
    with pytest.raises(LoadError, match=r"a\.Order and b\.Order would share the class name Order"):
        Classes(schema_of(first, second))


def test_a_class_name_does_not_shadow_an_import() -> None:
    made = module("dataclass", {"type": "record", "name": "Decimal", "fields": [{"name": "any", "type": "int"}]})
    assert made.Decimal_(any=1).any == 1


@given(schemas(depth=3), st.sampled_from(STYLES))
def test_for_any_schema_the_module_runs_and_samples_convert(document: Any, style: Style) -> None:
    (schema,) = schema_of(document)
    made = module(style, document)
    if schema.name is None or schema.definition["type"] != "record":
        return
    sampler = Sampler(schema, seed=1)
    for _ in range(3):
        convert(sampler.value(), getattr(made, schema.name))


def test_the_styles_are_those_of_the_option() -> None:
    assert set(get_args(Style)) == set(STYLES)
