"""Hypothesis strategies for Avro schemas and their values."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.avro.values import text

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
NAMES = ("A", "B", "C")
FIELDS = ("a", "b", "c")
SYMBOLS = ("RED", "GREEN", "BLUE")

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": text.map(str.encode),  # a reader may read them as a string
    "string": text,
}


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2, used: set[str] | None = None, union: bool = True) -> Any:
    """Schemas with few distinct names, so that two of them are often related. Names are unique within a schema."""
    used = set() if used is None else used
    free = [name for name in NAMES if name not in used]
    kinds = ["primitive", "primitive", *(["enum", "fixed"] if free else [])]
    if depth:
        kinds += ["array", "map", *(["union"] if union else []), *(["record", "record"] if free else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "primitive":
        return draw(st.sampled_from(PRIMITIVES))
    if kind in ("array", "map"):
        inner = draw(schemas(depth - 1, used).filter(lambda items: kind == "map" or not is_weightless(items)))
        return {"type": kind, "items" if kind == "array" else "values": inner}
    if kind == "union":
        return draw(unions(depth, used))
    name = draw(st.sampled_from(free))
    used.add(name)
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": draw(st.integers(1, 3))}
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True))
        default = draw(st.none() | st.sampled_from(symbols))
        return {"type": "enum", "name": name, "symbols": symbols, **({"default": default} if default else {})}
    names = draw(st.lists(st.sampled_from(FIELDS), unique=True))
    # The specification does not define an alias that is also another field's name or alias.
    free = [field for field in (*FIELDS, "d") if field not in names]
    aliases = draw(st.permutations(free + [None] * 3))
    fields = [draw(_field(field, depth, used, alias)) for field, alias in zip(names, aliases, strict=False)]
    return {"type": "record", "name": name, "fields": fields}


@st.composite
def _field(draw: st.DrawFn, name: str, depth: int, used: set[str], alias: str | None) -> Any:
    kind = draw(schemas(depth - 1, used))
    field = {"name": name, "type": kind}
    if kind in ("int", "string") and draw(st.booleans()):
        field["default"] = 7 if kind == "int" else "seven"
    if alias is not None:
        field["aliases"] = [alias]
    return field


@st.composite
def unions(draw: st.DrawFn, depth: int, used: set[str]) -> list[Any]:
    branches: list[Any] = []
    taken: set[str] = set()
    for _ in range(draw(st.integers(1, 3))):
        before = set(used)
        branch = draw(schemas(depth - 1, used, union=False))
        tag = _tag(branch)
        if tag in taken or _is_ambiguous([*branches, branch]):  # a union has one branch of each unnamed kind
            used.clear()
            used.update(before)
            continue
        taken.add(tag)
        branches.append(branch)
    return branches


def _tag(node: Any) -> str:
    """The identity of a union branch; a union may have each only once."""
    return str(node.get("name", node["type"]) if isinstance(node, dict) else node)


def _is_ambiguous(branches: list[Any]) -> bool:
    """Return whether fastavro may write `bytes` as an array of integers: it takes any sequence for an array."""
    kinds = {node["type"] if isinstance(node, dict) else node for node in branches}
    return "array" in kinds and bool(kinds & {"bytes", "fixed"})


def is_weightless(node: Any) -> bool:
    kind = node["type"] if isinstance(node, dict) else node
    if kind == "record":
        return all(is_weightless(field["type"]) for field in node["fields"])
    return bool(kind == "null")


def values_of(node: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 — a kind of type each
    """Values of a schema, in the types that fastavro writes."""
    if isinstance(node, list):
        return st.one_of([values_of(branch) for branch in node])
    kind = node["type"] if isinstance(node, dict) else node
    if kind == "array":
        return st.lists(values_of(node["items"]), max_size=3)
    if kind == "map":
        return st.dictionaries(text, values_of(node["values"]), max_size=3)
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values_of(field["type"]) for field in node["fields"]})
    if kind == "enum":
        return st.sampled_from(node["symbols"])
    if kind == "fixed":
        return st.binary(min_size=node["size"], max_size=node["size"])
    return _VALUES[kind]


@st.composite
def evolved(draw: st.DrawFn, node: Any) -> Any:
    """A later version of a schema: some fields added, some branches removed, mostly unchanged."""
    if isinstance(node, list):
        kept = [draw(evolved(branch)) for branch in node if draw(st.integers(0, 7))] or ["null"]
        return list({_tag(branch): branch for branch in kept}.values())
    if isinstance(node, str):
        return draw(st.sampled_from([node] * 6 + ["int", "long", "double", "string"]))
    node = dict(node)
    kind = node["type"]
    if kind in ("array", "map"):
        inner = "items" if kind == "array" else "values"
        changed = draw(evolved(node[inner]))
        return node if kind == "array" and is_weightless(changed) else {**node, inner: changed}
    if kind == "enum":
        node["symbols"] = draw(st.permutations(SYMBOLS)) if draw(st.booleans()) else node["symbols"]
    elif kind == "record":
        fields = [
            {**field, "type": draw(evolved(field["type"]))} for field in node["fields"] if draw(st.integers(0, 7))
        ]
        for field in fields:
            field.pop("default", None)  # it may not match the new type
        if draw(st.booleans()):
            taken = {name for field in fields for name in (field["name"], *field.get("aliases", ()))}
            alias = draw(st.sampled_from([[], *([name] for name in FIELDS if name not in taken)]))
            fields.append({"name": "new", "type": "int", "default": 7, "aliases": alias})
        node["fields"] = draw(st.permutations(fields))
    return node


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """A writer's and a reader's schema, which are often compatible."""
    writer = draw(schemas())
    return writer, draw(evolved(writer) if draw(st.integers(0, 3)) else schemas())
