"""Lists the differences between two schemas, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from processor.avro.fault import joined

Path = tuple[str, ...]


def differences(old: Any, new: Any) -> Iterator[str]:
    """Yields a line for each difference between two self-contained definitions. Fields are matched by name."""
    seen: set[tuple[str, str]] = set()
    yield from _differences((), old, new, seen)


def _differences(path: Path, old: Any, new: Any, seen: set[tuple[str, str]]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict) and old["type"] == new["type"]:
        if "name" in old:
            pair = (old["name"], new["name"])
            if pair in seen:
                return
            seen.add(pair)
        yield from _members(path, old, new)
        yield from _inner(path, old, new, seen)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _branches(path, old, new, seen)
    elif old != new:
        yield _line("~", path, f"{_summary(old)} → {_summary(new)}")


def _members(path: Path, old: Any, new: Any) -> Iterator[str]:
    """Differences in a type's own attributes, apart from the types inside it."""
    for member in sorted((old.keys() | new.keys()) - {"type", "fields", "items", "values", "namespace"}):
        if old.get(member) != new.get(member):
            yield _line("~", path, f"{member}: {_json(old, member)} → {_json(new, member)}")


def _inner(path: Path, old: Any, new: Any, seen: set[tuple[str, str]]) -> Iterator[str]:
    for member in ("items", "values"):
        if member in old:
            yield from _differences((*path, "[]"), old[member], new[member], seen)
    before = {field["name"]: field for field in old.get("fields", ())}
    after = {field["name"]: field for field in new.get("fields", ())}
    for name, field in before.items():
        if name not in after:
            yield _line("-", (*path, name), _field(field))
    for name, field in after.items():
        if name not in before:
            yield _line("+", (*path, name), _field(field))
        else:
            yield from _members((*path, name), before[name], field)
            yield from _differences((*path, name), before[name]["type"], field["type"], seen)


def _branches(path: Path, old: list[Any], new: list[Any], seen: set[tuple[str, str]]) -> Iterator[str]:
    before = {_summary(branch): branch for branch in old}
    after = {_summary(branch): branch for branch in new}
    if list(before) != list(after):
        yield _line("~", path, f"{_summary(old)} → {_summary(new)}")
    for name in before.keys() & after.keys():
        yield from _differences(path, before[name], after[name], seen)


def _field(field: Any) -> str:
    default = f" = {json.dumps(field['default'])}" if "default" in field else ""
    return f"{_summary(field['type'])}{default}"


def _summary(node: Any) -> str:
    """A type in one phrase, such as `array of string`."""
    if isinstance(node, list):
        return f"union of {', '.join(map(_summary, node))}" if node else "an empty union"
    if isinstance(node, str):
        return node
    if node["type"] in ("array", "map"):
        return f"{node['type']} of {_summary(node['items'] if node['type'] == 'array' else node['values'])}"
    kind = str(node.get("name", node["type"]))
    return f"{kind} ({node['logicalType']})" if "logicalType" in node else kind


def _json(node: Any, member: str) -> str:
    return json.dumps(node[member], ensure_ascii=False) if member in node else "none"


def _line(sign: str, path: Path, text: str) -> str:
    where = joined(path)
    return f"{sign} {where}: {text}" if where else f"{sign} {text}"
