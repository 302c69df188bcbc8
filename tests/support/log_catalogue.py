"""Writes the catalogue in docs/LOGS.md, from `processor.telemetry.events`: `python -m tests.support.log_catalogue`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import msgspec

from processor.telemetry import events

LOGS = Path(__file__).parents[2] / "docs" / "LOGS.md"

BEGIN = "<!-- From here on written by `python -m tests.support.log_catalogue`; a test compares. -->\n"


def catalogue() -> str:
    """The page from `BEGIN` on."""
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__]
    logged = [kind for kind in kinds if issubclass(kind, events.Event) and hasattr(kind, "event")]
    parts = [kind for kind in kinds if issubclass(kind, msgspec.Struct) and not issubclass(kind, events.Event)]
    sections = [
        _section(f"`{kind.event}` · {kind.level}", kind) for kind in sorted(logged, key=lambda kind: kind.event)
    ]
    sections += [_section(f"Each of `{_owner(part, logged)}`", part) for part in parts]
    return "\n".join([BEGIN, *sections])


def _owner(part: type, logged: list[type[events.Event]]) -> str:
    for kind in logged:
        for field in msgspec.structs.fields(kind):
            if part.__name__ in str(field.type):
                return f"{kind.event}.{field.name}"
    raise AssertionError(f"no event has a {part.__name__}")


def _section(title: str, kind: type[msgspec.Struct]) -> str:
    meanings = field_meanings(kind)
    rows = [
        f"| `{field.name}` | {_type(field.type)} | {meanings.get(field.name, '')} |"
        for field in msgspec.structs.fields(kind)
    ]
    text = " ".join((inspect.getdoc(kind) or "").split())
    return "\n".join([f"## {title}", "", text, "", "| field | type | meaning |", "| --- | --- | --- |", *rows, ""])


def _type(kind: Any) -> str:
    text = (
        getattr(kind, "__name__", str(kind))
        if isinstance(kind, type) and not str(kind).startswith("list[")
        else str(kind)
    )
    return text.replace("processor.telemetry.events.", "").replace("|", "or")


def field_meanings(kind: type) -> dict[str, str]:
    """The sentence under a field, in the class and in those that it comes from."""
    meanings: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        if ancestor.__module__ != events.__name__:
            continue
        (definition,) = ast.parse(inspect.getsource(ancestor)).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(field.target, ast.Name):
                meanings[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return meanings


if __name__ == "__main__":
    LOGS.write_text(LOGS.read_text().partition(BEGIN)[0] + catalogue())
