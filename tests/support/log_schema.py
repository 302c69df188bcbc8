"""Generates docs/logs.schema.json from `processor.telemetry.events`: `python -m tests.support.log_schema`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from processor.telemetry import events
from tests.support.log_catalogue import field_meanings, parts

SCHEMA = Path(__file__).parents[2] / "docs" / "logs.schema.json"

ENVELOPE: Mapping[str, Any] = {
    "timestamp": {
        "description": "when it was logged: ISO 8601, UTC, milliseconds",
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    },
    "level": {},
    "event": {},
    "log_version": {"description": "of this contract", "const": events.LOG_VERSION},
    "host": {"description": "the machine's or container's name", "type": "string"},
    "pid": {"description": "the process's ID", "type": "integer"},
    "group": {"description": "the consumer group", "type": "string"},
    "fleet": {"description": "the process ID of the fleet's parent, the same in all its consumers", "type": "integer"},
    "consumer": {"description": "the consumer's number in its fleet, from 0", "type": "integer"},
}
"""The fields of every line; `consumer` occurs only in lines that a consumer logs."""

OF_THE_FLEET = "fleet."
EXAMINED = 20
"""How many lines of each event are checked in one run's log: more of them would find nothing new."""


def kinds() -> list[type[events.Event]]:
    """Return the class of every event, by the name of the event."""
    return sorted(events.kinds(), key=lambda kind: kind.event)


def schema() -> dict[str, Any]:
    """Return the whole document. Unknown fields are allowed, since fields may be added within a version."""
    described = [*kinds(), *parts()]
    meant = {kind.__name__: field_meanings(kind) for kind in described}
    _, defined = msgspec.json.schema_components(described, ref_template="#/$defs/{name}")
    named = {kind.__name__: kind for kind in kinds()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A log line of processor, version {events.LOG_VERSION}",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds()],
        "$defs": {
            name: _line(named[name], definition, meant[name]) if name in named else _part(definition, meant[name])
            for name, definition in sorted(defined.items())
        },
    }


def _line(kind: type[events.Event], definition: dict[str, Any], meant: Mapping[str, str]) -> dict[str, Any]:
    # A field `level` takes precedence below: each line sets it, instead of the class.
    envelope = {**ENVELOPE, "event": {"const": kind.event}, "level": {"const": kind.level}}
    needed = [name for name in envelope if name != "consumer"]
    if kind.event.startswith(OF_THE_FLEET):
        del envelope["consumer"]
    part = _part(definition, meant)
    properties = {**envelope, **part["properties"]}
    return {**part, "properties": properties, "required": list(dict.fromkeys([*needed, *definition["properties"]]))}


def _part(definition: dict[str, Any], meant: Mapping[str, str]) -> dict[str, Any]:
    text = " ".join(definition.get("description", "").split())
    return {
        "description": text,
        "type": "object",
        "properties": {
            name: {"description": meant[name], **kind} if name in meant else kind
            for name, kind in definition["properties"].items()
        },
        "required": list(definition["properties"]),
    }


def check(lines: Iterable[Mapping[str, Any]]) -> None:
    """Checks lines of a run's log against the schema, without fields that the schema does not define.

    Raises:
        jsonschema.ValidationError: a line does not match the schema.
    """
    seen: Counter[str] = Counter()
    for line in lines:
        name = line["event"]
        seen[name] += 1
        if seen[name] <= EXAMINED:
            _validators()[name].validate(line)


@cache
def _validators() -> dict[str, Any]:
    whole = json.loads(SCHEMA.read_text())
    strict = {name: {**definition, "additionalProperties": False} for name, definition in whole["$defs"].items()}
    return {kind.event: jsonschema.Draft202012Validator({**strict[kind.__name__], "$defs": strict}) for kind in kinds()}


def text() -> str:
    """Return the document as text, as in the file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text())
