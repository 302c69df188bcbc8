"""Generates the catalogue in docs/LOGS.md from the events: `python -m tests.support.log_catalogue`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from processor.telemetry import events

LOGS = Path(__file__).parents[2] / "docs" / "LOGS.md"

BEGIN = "<!-- Generated from here on by `python -m tests.support.log_catalogue`; a test compares. -->\n"


def catalogue() -> str:
    """Return the page from `BEGIN` on."""
    logged = events.kinds()
    sections = [
        _section(f"`{kind.event}` · {_level(kind)}", kind) for kind in sorted(logged, key=lambda kind: kind.event)
    ]
    sections += [_section(_owner(part, logged), part) for part in parts()]
    return "\n".join([BEGIN, *sections])


def parts() -> list[type[msgspec.Struct]]:
    """Return the classes of fields that are themselves structs. A class that only serves as a base is not included."""
    structs = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    own = [kind for kind in structs if kind.__module__.startswith(events.__name__)]
    # Only bases of these classes count: readers of logs define their own subclasses elsewhere.
    bases = {base for kind in own for base in kind.__bases__}
    return [kind for kind in own if kind not in bases and not issubclass(kind, events.Event)]


def _level(kind: type[events.Event]) -> str:
    return "any level" if "level" in kind.__struct_fields__ else kind.level


def _owner(part: type, logged: list[type[events.Event]]) -> str:
    for kind in logged:
        for field in msgspec.structs.fields(kind):
            if part.__name__ in str(field.type):
                return f"`{field.name}` of `{kind.event}`"
    raise AssertionError(f"no event has a {part.__name__}")


def _section(title: str, kind: type[msgspec.Struct]) -> str:
    meanings = field_meanings(kind)
    rows = [
        f"| `{field.name}` | {_type(field.type)} | {meanings.get(field.name, '')} |"
        for field in msgspec.structs.fields(kind)
    ]
    text = " ".join((inspect.getdoc(kind) or "").split())
    return "\n".join([f"## {title}", "", text, "", "| field | type | meaning |", "| --- | --- | --- |", *rows, ""])


JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _type(kind: Any) -> str:
    """Return the JSON type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in parts)
    if origin is list:
        return f"array of {_type(parts[0])}s"
    if origin is dict:
        if parts[1] is Any:
            return "object"
        return f"object of {_type(parts[1])}s" if parts[1] in JSON_TYPES else f"object of {_type(parts[1])}"
    if origin is UnionType:
        return " or ".join(map(_type, parts))
    return JSON_TYPES.get(kind, "object")


def field_meanings(kind: type) -> dict[str, str]:
    """Return the docstring of each field of the class and its bases."""
    meanings: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        if ancestor.__module__.partition(".")[0] != "processor":
            continue
        (definition,) = ast.parse(inspect.getsource(ancestor)).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(field.target, ast.Name):
                meanings[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return meanings


if __name__ == "__main__":
    LOGS.write_text(LOGS.read_text().partition(BEGIN)[0] + catalogue())
