"""Generates docs/operating.schema.json from the documents of the operating commands.

Run it with `python -m tests.support.operating_schema`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from processor.codec.task_line import TaskLine
from processor.operate.checkup import DoctorReport
from processor.operate.lag import LagReport
from processor.operate.letter_reports import LetterDetail, LetterGroups, ReplayReport
from processor.operate.pause_report import PausesReport
from processor.operate.resets import OffsetsReport, ResetReport
from tests.support.log_catalogue import field_meanings

SCHEMA = Path(__file__).parents[2] / "docs" / "operating.schema.json"

DOCUMENTS: Mapping[str, type[msgspec.Struct]] = {
    "lag": LagReport,
    "offsets show": OffsetsReport,
    "offsets reset": ResetReport,
    "dlq list": LetterGroups,
    "dlq show": LetterDetail,
    "dlq replay": ReplayReport,
    "control list": PausesReport,
    "tail": TaskLine,
    "doctor": DoctorReport,
}
"""The document that each command prints with `-o json`."""


def schema() -> dict[str, Any]:
    """Return the whole document. Members may be added in later versions, so unknown ones are allowed."""
    _, defined = msgspec.json.schema_components(DOCUMENTS.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What processor lag, offsets, dlq, control, tail and doctor print with -o json",
        "oneOf": [
            {"title": f"processor {command}", "$ref": f"#/$defs/{kind.__name__}"} for command, kind in DOCUMENTS.items()
        ],
        "$defs": {name: _described(name, definition) for name, definition in sorted(defined.items())},
    }


def _described(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    meant = field_meanings(_kinds()[name])
    return {
        "description": " ".join(definition.get("description", "").split()),
        "type": "object",
        "properties": {
            member: {"description": meant[member], **kind} if member in meant else kind
            for member, kind in definition["properties"].items()
        },
        "required": list(definition["properties"]),
    }


def _kinds() -> dict[str, type]:
    found: dict[str, type] = {}
    ahead: list[type] = list(DOCUMENTS.values())
    while ahead:
        kind = ahead.pop()
        found[kind.__name__] = kind
        for field in msgspec.structs.fields(kind):
            ahead += [part for part in getattr(field.type, "__args__", ()) if isinstance(part, type)]
            ahead += [field.type] if isinstance(field.type, type) else []
        ahead = [each for each in ahead if issubclass(each, msgspec.Struct) and each.__name__ not in found]
    return found


def checked(command: str, text: str) -> Any:
    """Return the document that a command printed, after a check against the schema, which must define each member.

    Raises:
        jsonschema.ValidationError: the document does not match the schema.
    """
    document = json.loads(text)
    whole = json.loads(SCHEMA.read_text())
    strict = {name: {**definition, "additionalProperties": False} for name, definition in whole["$defs"].items()}
    kind = DOCUMENTS[command].__name__
    jsonschema.Draft202012Validator({**strict[kind], "$defs": strict}).validate(document)
    return document


def text() -> str:
    """Return the document as text, as in the file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text())
