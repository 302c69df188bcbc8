"""The shipped schemas against every version that was ever released.

What a release shipped is in `released/VERSION/`, and is never changed. A release adds its own.
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
from tests.codec.record import GivenRecord

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


def test_this_version_has_a_folder_with_all_that_it_ships() -> None:
    """So that a change of a schema is always held against it, also before the release."""
    shipped = {path.name for path in shipped_folder().glob("*.avsc")}
    assert {path.name for path in (RELEASED / __version__).glob("*.avsc")} == shipped


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_what_is_shipped_reads_and_is_read_by_every_released_version(file: Path) -> None:
    old = released(file)
    new = shipped_schemas().by_name[old.name or ""]
    assert incompatibilities(new, old, str(file.relative_to(RELEASED)), "FULL_TRANSITIVE") == []


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_value_of_every_released_version_is_read_with_nothing_but_what_is_shipped(file: Path) -> None:
    """Records outlive the program that wrote them: their fingerprints have to stay known."""
    schema, codec = released(file), AvroCodec()
    for number in range(20):
        fields = {**Sampler(schema, number).value(), "content_type": "application/octet-stream"}
        assert isinstance(codec.decode(GivenRecord(framed(schema, fields))), Content)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_field_that_was_released_has_the_default_that_it_had(file: Path) -> None:
    """A reader fills in its own default: another one would change what old records say."""
    old = released(file)
    now = {field["name"]: field for field in shipped_schemas().by_name[old.name or ""].definition["fields"]}
    for field in old.definition["fields"]:
        assert now[field["name"]]["default"] == field["default"], field["name"]


def test_a_fingerprint_that_nobody_released_is_refused() -> None:
    with pytest.raises(DecodeError, match="no schema has the fingerprint"):
        AvroCodec().decode(GivenRecord(b"\xc3\x01" + bytes(8)))
