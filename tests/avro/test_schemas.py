from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.avro.schemas import load_schemas, shipped_folder, shipped_schemas
from processor.errors import LoadError


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields.items()]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "avsc"
    path.mkdir()
    return path


def write(folder: Path, **documents: Any) -> str:
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.avsc").write_text(text)
    return str(folder)


def test_the_shipped_schemas_are_always_there(folder: Path) -> None:
    loaded = load_schemas(write(folder, order=record("Order")))
    assert set(loaded.by_name) == {"processor.Task", "processor.TaskResult", "Order"}


def test_every_field_of_the_shipped_schemas_is_documented() -> None:
    for schema in shipped_schemas().by_name.values():
        assert schema.parsed["doc"].endswith(".")
        for field in schema.parsed["fields"]:
            assert field["doc"].endswith("."), field["name"]
            assert "default" in field, field["name"]


def test_the_shipped_schemas_are_found_inside_an_installed_package(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "processor"
    (package / "schemas").mkdir(parents=True)
    (package / "schemas" / "task.avsc").touch()
    assert shipped_folder(package) == package / "schemas"


def test_the_shipped_schemas_are_found_in_a_source_tree(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "task.avsc").touch()
    assert shipped_folder(tmp_path / "processor") == tmp_path / "schemas"


def test_an_installation_without_schemas_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="reinstall the package"):
        shipped_folder(tmp_path / "processor")


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
def test_files_may_reference_each_other_in_any_order(folder: Path, names: tuple[str, str, str]) -> None:
    first, second, third = names
    documents = {
        first: record("shop.Order", lines={"type": "array", "items": "Line"}, buyer="people.Person"),
        second: record("shop.Line", sku="string", price="Price"),
        third: [{"type": "fixed", "name": "shop.Price", "size": 4}, record("people.Person", friend=["null", "Person"])],
    }
    loaded = load_schemas(write(folder, **documents))
    assert {"shop.Order", "shop.Line", "shop.Price", "people.Person"} <= set(loaded.by_name)


def test_files_may_have_circular_references(folder: Path) -> None:
    loaded = load_schemas(write(folder, a=record("A", b=["null", "B"]), b=record("B", a=["null", "A"])))
    assert loaded.by_name["A"].fingerprint != loaded.by_name["B"].fingerprint


def test_subfolders_are_loaded_but_hidden_ones_are_not(folder: Path) -> None:
    for name in ("inner", "..2024_10_01"):
        (folder / name).mkdir()
    write(folder / "inner", order=record("Order"))
    write(folder / "..2024_10_01", broken="{")
    assert "Order" in load_schemas(str(folder)).by_name


def test_a_type_inside_another_is_a_schema_of_its_own(folder: Path) -> None:
    loaded = load_schemas(write(folder, order=record("shop.Order", line=record("Line", sku="string"))))
    assert loaded.by_fingerprint[loaded.by_name["shop.Line"].fingerprint].name == "shop.Line"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ({"type": "int", "name": "Cents"}, 3),
        ({"type": "array", "name": "List", "items": {"type": "int", "name": "Cents"}}, []),
        ({"type": "map", "name": "Table", "values": "int"}, {}),
    ],
)
def test_a_type_that_has_no_name_in_avro_may_have_one_and_is_read(folder: Path, kind: Any, value: Any) -> None:
    schema = load_schemas(write(folder, a=record("R", x=kind))).by_name["R"]
    assert schema.read(b"\x06" if value == 3 else b"\x00", 0) == {"x": value}


def test_a_shipped_schema_may_be_repeated(folder: Path) -> None:
    task = json.loads((shipped_folder() / "task.avsc").read_bytes())
    for documented in (task, *task["fields"]):
        documented["doc"] = "another description"
    loaded = load_schemas(write(folder, task=task))
    assert loaded.by_name["processor.Task"].fingerprint == shipped_schemas().by_name["processor.Task"].fingerprint


def test_a_shipped_name_cannot_be_redefined(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"mine\.avsc: processor\.Task is defined differently in .*task\.avsc"):
        load_schemas(write(folder, mine=record("processor.Task", id="string")))


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ({"bad": "{"}, r"bad\.avsc: not JSON"),
        ({"bad": ""}, r"bad\.avsc: not JSON"),
        ({"bad": "[" * 100_000}, r"bad\.avsc: the schema is nested too deeply"),
        ({"bad": "[" * 900 + '"int"' + "]" * 900}, r"bad\.avsc: "),
        ({"bad": "5"}, r"bad\.avsc: 5 is not an Avro type"),
        ({"bad": "null"}, r"bad\.avsc: None is not an Avro type"),
        ({"bad": "{}"}, r"bad\.avsc: a type lacks its 'type'"),
        ({"bad": {"type": "record", "name": "R"}}, r"bad\.avsc: a type lacks its 'fields'"),
        ({"bad": {"type": "fixed", "name": "F"}}, r"bad\.avsc: a type lacks its 'size'"),
        ({"bad": {"type": "fixed", "name": "F", "size": -1}}, "the size of F must be a number of bytes, not -1"),
        ({"bad": {"type": "fixed", "name": "F", "size": "3"}}, "the size of F must be a number of bytes, not '3'"),
        ({"bad": {"type": "record", "name": "R", "fields": 5}}, r"bad\.avsc: the fields of R are not a list"),
        ({"bad": {"type": "record", "name": "R", "fields": ["a"]}}, "R has a field without a name or a type"),
        (
            {"bad": {"type": "record", "name": "R", "fields": [{"name": "a"}]}},
            "R has a field without a name or a type",
        ),
        ({"bad": {"type": "record", "fields": []}}, r"bad\.avsc: a type lacks its 'name'"),
        ({"bad": record("1 R")}, r"bad\.avsc: '1 R' is not a valid name of an Avro type"),
        ({"bad": {"type": "enum", "name": "E"}}, r"bad\.avsc: .*symbols"),
        ({"bad": {"type": "enum", "name": "E", "symbols": ["A", "A"]}}, r"bad\.avsc: .*unique"),
        ({"bad": {"type": "enum", "name": "E", "symbols": 5}}, r"bad\.avsc: "),
        ({"bad": {"type": "fixed", "name": "F"}}, r"bad\.avsc: .*size"),
        ({"bad": {"type": "array"}}, r"bad\.avsc: a type lacks its 'items'"),
        ({"bad": {"type": "strng"}}, r"bad\.avsc: the type strng is not defined"),
        ({"bad": '"shop.Order"'}, r"bad\.avsc: the type shop\.Order is not defined"),
        ({"bad": record("a.R", b="B")}, r"bad\.avsc: the type a\.B is not defined"),
        ({"good": record("A", b="B"), "worse": record("B", c="C")}, r"worse\.avsc: the type C is not defined"),
        ({"a": record("R", x="int"), "b": record("R", x="long")}, r"b\.avsc: R is defined differently in .*a\.avsc"),
        (
            {"bad": record("R", n={"type": "array", "items": "null"})},
            r"bad\.avsc: an array's items encode to zero bytes: a short value could declare any number",
        ),
        (
            {"bad": record("R", n={"type": "array", "items": record("E")})},
            r"bad\.avsc: an array's items encode to zero bytes: a short value could declare any number",
        ),
    ],
)
def test_an_invalid_schema_is_rejected_with_its_file(folder: Path, documents: dict[str, Any], reason: str) -> None:
    with pytest.raises(LoadError, match=reason) as refusal:
        load_schemas(write(folder, **documents))
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 5


def test_a_default_of_the_wrong_type_is_rejected(folder: Path) -> None:
    bad = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": "x"}]}
    with pytest.raises(LoadError, match=r"bad\.avsc: .*x"):
        load_schemas(write(folder, bad=bad))


def test_a_file_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    """Some editors write one."""
    (folder / "order.avsc").write_text('{"type": "fixed", "name": "Order", "size": 2}', encoding="utf-8-sig")
    assert load_schemas(str(folder)).by_name["Order"].name == "Order"


def test_a_file_that_is_not_text_is_rejected(folder: Path) -> None:
    (folder / "bad.avsc").write_bytes(b'"\xff"')
    with pytest.raises(LoadError, match=r"bad\.avsc: not JSON"):
        load_schemas(str(folder))


def test_a_folder_without_schemas_is_rejected(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"contains no \.avsc file"):
        load_schemas(str(folder))


def test_a_missing_folder_is_rejected(folder: Path) -> None:
    with pytest.raises(LoadError, match="is not a folder"):
        load_schemas(str(folder / "missing"))


def versions(folder: Path, **places: Any) -> str:
    """Files named `order.avsc`, one in each named subfolder; `_` is the outermost folder."""
    for place, document in places.items():
        inside = folder if place == "_" else folder / place
        inside.mkdir(exist_ok=True)
        (inside / "order.avsc").write_text(json.dumps(document))
    return str(folder)


def test_a_subfolder_may_contain_another_version(folder: Path) -> None:
    old, new = record("shop.Order", id="string"), record("shop.Order", id="string", count="int")
    loaded = load_schemas(versions(folder, _=new, old=old))
    assert loaded.by_name["shop.Order"].definition["fields"][-1]["name"] == "count"
    assert sum(schema.name == "shop.Order" for schema in loaded.by_fingerprint.values()) == 2


def test_a_reference_resolves_in_its_own_folder_first(folder: Path) -> None:
    place = versions(folder, _=record("Line", sku="string"), old=record("Order", line="Line"))
    (folder / "old" / "line.avsc").write_text(json.dumps(record("Line", sku="int")))
    (line,) = load_schemas(place).by_name["Order"].definition["fields"]
    assert line["type"]["fields"][0]["type"] == "int"


def test_a_reference_resolves_in_the_enclosing_folder(folder: Path) -> None:
    place = versions(folder, _=record("Line", sku="string"), old=record("Order", line="Line"))
    assert "Order" in load_schemas(place).by_name


def test_an_ambiguous_reference_is_rejected(folder: Path) -> None:
    places = {"_": record("Order", line="Line"), "a": record("Line", sku="int"), "b": record("Line", sku="long")}
    with pytest.raises(LoadError, match=r"the type Line is defined differently in .*a/order\.avsc and in .*b/order"):
        load_schemas(versions(folder, **places))


def test_a_subfolder_may_contain_an_older_version_of_a_shipped_schema(folder: Path) -> None:
    loaded = load_schemas(versions(folder, old=record("processor.Task", id="string")))
    assert loaded.by_name["processor.Task"].fingerprint == shipped_schemas().by_name["processor.Task"].fingerprint
    assert len(loaded.by_fingerprint) == 3
