"""The shipped schemas compared with every released version.

`released/VERSION/` contains the schemas of a release and never changes. Each release adds its own folder.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from processor import __version__
from processor.avro.definitions import Definitions
from processor.avro.schema import Schema
from processor.avro.schemas import shipped_folder, shipped_schemas
from processor.avro.tools.compatibility import incompatibilities
from processor.avro.tools.sample import Sampler
from processor.codec.avro_values import AvroCodec
from processor.errors import DecodeError
from processor.handlers.task import Content
from tests.codec.record import GivenRecord, as_content

RELEASED = Path(__file__).with_name("released")
FILES = sorted(RELEASED.glob("*/*.avsc"))
IDS = [str(file.relative_to(RELEASED)) for file in FILES]


def released(file: Path) -> Schema:
    definitions = Definitions()
    return definitions.schema(str(file), definitions.add(str(file), json.loads(file.read_bytes())))


def framed(schema: Schema, fields: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, fields)
    return b"\xc3\x01" + schema.fingerprint + stream.getvalue()


def test_the_current_version_has_a_folder_with_all_its_schemas() -> None:
    """Schema changes are thus compared with the current version before its release too."""
    shipped = {path.name for path in shipped_folder().glob("*.avsc")}
    assert {path.name for path in (RELEASED / __version__).glob("*.avsc")} == shipped


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_shipped_schemas_are_compatible_with_every_released_version(file: Path) -> None:
    old = released(file)
    new = shipped_schemas().by_name[old.name or ""]
    assert incompatibilities(new, old, str(file.relative_to(RELEASED)), "FULL_TRANSITIVE") == []


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_values_of_every_released_version_are_read_with_the_shipped_schemas(file: Path) -> None:
    """Records outlive the program that wrote them, so that their fingerprints must remain known."""
    schema, codec = released(file), AvroCodec()
    for number in range(20):
        fields = {**Sampler(schema, number).value(), "content_type": "application/octet-stream"}
        assert isinstance(as_content(codec.decode(GivenRecord(framed(schema, fields)))), Content)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_released_field_keeps_its_default(file: Path) -> None:
    """A reader fills in its own default: a changed one would change the meaning of old records."""
    old = released(file)
    now = {field["name"]: field for field in shipped_schemas().by_name[old.name or ""].definition["fields"]}
    for field in old.definition["fields"]:
        assert now[field["name"]]["default"] == field["default"], field["name"]


def test_an_unreleased_fingerprint_is_rejected() -> None:
    with pytest.raises(DecodeError, match="no schema has the fingerprint"):
        AvroCodec().decode(GivenRecord(b"\xc3\x01" + bytes(8)))
