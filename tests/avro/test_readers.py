"""Handlers that declare a reader's schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest

from processor import Processor, Task
from processor.avro.schema import compile_schema
from processor.codec.select import codec_of
from processor.errors import LoadError, SettingsError
from processor.testing import Report, run

OLD = {
    "type": "record",
    "name": "shop.Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "note", "type": "string"},
    ],
}
NEW = {
    "type": "record",
    "name": "shop.Order",
    "aliases": ["Purchase"],
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "count", "type": "long", "aliases": ["quantity"]},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}, "default": 0},
    ],
}
AS_READ = {"id": "o-1", "count": 2, "tags": [], "day": date(1970, 1, 1)}


def value(schema: Any, fields: Any) -> bytes:
    stream = BytesIO(b"\xc3\x01" + compile_schema(None, schema).fingerprint)
    stream.seek(10)
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), fields)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the current schema, and its earlier version in a subfolder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "avsc"
    (path / "released").mkdir(parents=True)
    (path / "order.avsc").write_text(json.dumps(NEW))
    (path / "released" / "order.avsc").write_text(json.dumps(OLD))
    return path


def given_order(schema: Any = OLD, **fields: Any) -> dict[str, Any]:
    return {"session_id": "anna", "value": value(schema, {"id": "o-1", "quantity": 2, "note": "", **fields})}


class Seen:
    """An application that records the tasks of its handler."""

    def __init__(self, schema: str, name: str | None = None) -> None:
        self.tasks: list[tuple[str, Any]] = []
        self.app = Processor()
        self.app.task(name, schema=schema)(lambda task: self.tasks.append((task.name, task.payload)))

    def run(self, folder: Path | None, *tasks: Any) -> Report:
        return run(self.app, tasks, schemas=str(folder) if folder else None)


@pytest.mark.parametrize("declared", ["order.avsc", "shop.Order", "avsc/order.avsc"])
@pytest.mark.parametrize("name", [None, "order"])
def test_a_value_of_an_older_schema_is_resolved_to_the_declared_schema(
    folder: Path, declared: str, name: str | None
) -> None:
    seen = Seen(declared, name)
    assert seen.run(folder, given_order()).exit_code == 0
    assert seen.tasks == [("shop.Order", AS_READ)]


def test_a_handler_receives_records_named_by_an_alias(folder: Path) -> None:
    bought = {**OLD, "name": "shop.Purchase"}
    (folder / "purchase.avsc").write_text(json.dumps(bought))
    seen = Seen("shop.Order")
    seen.run(folder, given_order(bought))
    assert seen.tasks == [("shop.Purchase", AS_READ)]


def test_without_a_declared_schema_a_value_is_read_as_written(folder: Path) -> None:
    report = run(lambda task: task.payload, [given_order()], schemas=str(folder))
    assert report.results == [{"id": "o-1", "quantity": 2, "note": ""}]


def test_the_payload_of_an_envelope_is_not_resolved(folder: Path) -> None:
    seen = Seen("shop.Order", "order")
    seen.run(folder, {"session_id": "anna", "name": "order", "payload": {"any": "thing"}})
    assert seen.tasks == [("order", {"any": "thing"})]


def test_an_incompatible_value_is_dead_lettered_with_both_schemas_and_the_field(folder: Path) -> None:
    broken = {**OLD, "fields": [{"name": "id", "type": "long"}, *OLD["fields"][1:]]}
    (folder / "released" / "broken").mkdir()
    (folder / "released" / "broken" / "order.avsc").write_text(json.dumps(broken))
    (letter,) = Seen("shop.Order").run(folder, given_order(broken, id=7)).dead_letters
    theirs, ours = (compile_schema(None, schema).fingerprint.hex() for schema in (broken, NEW))
    assert letter.attempts == 0
    assert letter.error_type == "processor.errors.DecodeError"
    assert letter.error == (
        f"the value's schema shop.Order ({theirs}) does not match the reader's schema shop.Order ({ours}):"
        " byte 10, field id: written as long, read as string"
    )


def test_a_declared_file_may_reference_types_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.avsc").write_text(
        json.dumps({"type": "record", "name": "Mine", "fields": [{"name": "order", "type": ["null", "shop.Order"]}]})
    )
    seen = Seen("mine.avsc", "mine")
    codec_of(seen.app, "avro", str(folder))
    assert seen.app.names == ["Mine", "mine"]


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("missing.avsc", "the schema 'missing.avsc' of a handler is neither in --schemas '.*avsc' nor in the current"),
        ("shop.Ordr", "is not in --schemas, or is defined more than once; did you mean 'shop.Order'?"),
        ("zzz", "is not in --schemas, or is defined more than once; a file's name ends in .avsc"),
        ("list.avsc", "the schema 'list.avsc' of a handler is not a record"),
        ("bad.avsc", r"bad\.avsc: not JSON"),
    ],
)
def test_a_missing_schema_is_reported_at_the_start(folder: Path, declared: str, reason: str) -> None:
    (folder.parent / "list.avsc").write_text('{"type": "array", "items": "long"}')
    (folder.parent / "bad.avsc").write_text("{")
    with pytest.raises(LoadError, match=reason.replace("?", r"\?")) as refusal:
        codec_of(Seen(declared).app, "avro", str(folder))
    assert refusal.value.exit_code == 5
    assert "\n" not in str(refusal.value)


def test_a_name_with_two_versions_at_one_depth_is_ambiguous(tmp_path: Path) -> None:
    for version, schema in (("v1", OLD), ("v2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "order.avsc").write_text(json.dumps(schema))
    with pytest.raises(LoadError, match="or is defined more than once"):
        codec_of(Seen("shop.Order").app, "avro", str(tmp_path))
    codec_of(Seen("v2/order.avsc").app, "avro", str(tmp_path))


@pytest.mark.parametrize("value_format", ["json", "bytes"])
def test_a_declared_schema_requires_the_avro_format(folder: Path, value_format: Any) -> None:
    with pytest.raises(
        LoadError, match=f"declares the schema 'order.avsc', which requires --value-format avro, not {value_format}"
    ):
        codec_of(Seen("order.avsc").app, value_format, str(folder))


def test_a_second_handler_for_a_record_is_rejected(folder: Path) -> None:
    seen = Seen("order.avsc")
    seen.app.task("shop.Order")(print)
    with pytest.raises(LoadError, match=r"the record shop\.Order has two handlers"):
        codec_of(seen.app, "avro", str(folder))
    with pytest.raises(SettingsError, match=r"the schema 'order\.avsc' has two handlers"):
        seen.app.task("again", schema="order.avsc")(print)


@dataclass
class Order:
    id: str
    count: int
    tags: list[str]
    day: date
    price: Decimal = Decimal(1)


class Line(msgspec.Struct):
    id: str
    day: date | None = None
    seal: bytes = b""


def test_a_payload_is_converted_to_the_annotated_type(folder: Path) -> None:
    app, seen = Processor(), []

    @app.task(schema="order.avsc")
    def order(task: Task[Order]) -> None:
        seen.append(task.payload)

    assert run(app, [given_order()], schemas=str(folder)).dead_letters == []
    assert seen == [Order("o-1", 2, [], date(1970, 1, 1), Decimal(1))]


def test_a_json_payload_is_converted_to_the_annotated_type() -> None:
    async def line(task: Task[Line]) -> list[Any]:
        return [task.payload.day == date(2024, 5, 6), task.payload.seal == b"\xff\x00"]

    given = {"id": "a", "day": "2024-05-06", "seal": "/wA="}
    assert run(line, [("anna", given)]).results == [[True, True]]


def test_a_payload_of_another_type_is_dead_lettered_with_the_path() -> None:
    def line(task: Task[list[Line]]) -> None: ...

    (letter,) = run(line, [("anna", [{"id": "a"}, {"id": 5}])]).dead_letters
    assert letter.attempts == 0
    assert letter.error.startswith("the payload is not a valid list[")
    assert letter.error.endswith(": [1].id must be text, not an integer")


def test_a_record_without_a_value_requires_an_optional_type() -> None:
    def some(task: Task[Line]) -> None: ...
    def some_or_none(task: Task[Line | None]) -> None: ...

    nothing = {"session_id": "anna", "value": None}
    assert [letter.error for letter in run(some, [nothing]).dead_letters] == [
        "the payload is not a valid Line: it must be an object, not null"
    ]
    assert run(some_or_none, [nothing]).dead_letters == []


def test_an_unresolvable_annotation_is_reported_at_registration() -> None:
    def line(task: Task[Unknown]) -> None: ...  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(SettingsError, match=r"annotation Task.Unknown. cannot be resolved: name 'Unknown' is not def"):
        Processor().task("line")(line)


def test_an_unsupported_payload_type_is_reported_at_registration() -> None:
    def line(task: Task[Line | Order]) -> None: ...

    with pytest.raises(SettingsError, match="a payload cannot be converted to"):
        Processor().task("line")(line)


def test_other_annotations_are_ignored() -> None:
    class Callable:
        def __call__(self, task: Task) -> None: ...

    def plain(task): ...  # type: ignore[no-untyped-def]
    def odd(task: "dict[str, Nothing]") -> "Nothing": ...  # type: ignore[name-defined] # noqa: F821, UP037

    for function in (Callable(), plain, odd, print, lambda task: None):
        assert Processor.of(function).handlers[0].payload_type is None
