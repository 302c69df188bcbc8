"""Fingerprints compared with an independent implementation of the specification's algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from processor.avro.definitions import Definitions
from processor.avro.schemas import shipped_schemas

EMPTY = 0xC15D213AA4D7A795


def crc_64_avro(text: str) -> bytes:
    """Avro specification 1.12, "Schema Fingerprints", bit by bit; little-endian as in "Single-object encoding"."""
    state = EMPTY
    for byte in text.encode():
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (EMPTY if state & 1 else 0)
    return state.to_bytes(8, "little")


def fingerprint_of(document: Any) -> bytes:
    definitions = Definitions()
    return definitions.schema("test", definitions.add("test", document)).fingerprint


@pytest.mark.parametrize(
    ("document", "canonical_form"),
    [
        ("int", '"int"'),
        ({"type": "string", "avro.java.string": "String"}, '"string"'),
        ({"type": "long", "logicalType": "timestamp-millis"}, '"long"'),
        ({"type": {"type": "array", "items": "long"}}, '{"type":"array","items":"long"}'),
        (["null", {"type": "map", "values": {"type": "bytes"}}], '["null",{"type":"map","values":"bytes"}]'),
        (
            {"type": "enum", "name": "a.b.Suit", "symbols": ["HEARTS", "CLUBS"], "doc": "", "default": "CLUBS"},
            '{"name":"a.b.Suit","type":"enum","symbols":["HEARTS","CLUBS"]}',
        ),
        (
            {
                "namespace": "shop",
                "doc": "an order",
                "name": "Order",
                "type": "record",
                "aliases": ["Purchase"],
                "fields": [
                    {
                        "type": {"type": "fixed", "size": 16, "name": "Md5"},
                        "name": "sum",
                        "doc": "d",
                        "order": "ignore",
                    },
                    {"name": "again", "type": ["null", "Md5"], "default": None},
                    {"name": "part", "type": ["null", "Order"]},
                    {"name": "other", "type": {"type": "record", "name": "x.Y", "fields": []}},
                ],
            },
            '{"name":"shop.Order","type":"record","fields":['
            '{"name":"sum","type":{"name":"shop.Md5","type":"fixed","size":16}},'
            '{"name":"again","type":["null","shop.Md5"]},'
            '{"name":"part","type":["null","shop.Order"]},'
            '{"name":"other","type":{"name":"x.Y","type":"record","fields":[]}}]}',
        ),
    ],
)
def test_a_fingerprint_is_computed_from_the_canonical_form(document: Any, canonical_form: str) -> None:
    assert fingerprint_of(document) == crc_64_avro(canonical_form)


def test_the_shipped_schemas_keep_their_fingerprints() -> None:
    """Producers in other languages contain these fingerprints."""
    fingerprints = {name: schema.fingerprint.hex() for name, schema in shipped_schemas().by_name.items()}
    assert fingerprints == {"processor.Task": "9cda608e494710c2", "processor.TaskResult": "2368264148f08f76"}


def test_the_known_fingerprint_of_int() -> None:
    """From the test data of the Avro project: 8247732601305521295 for the schema "int"."""
    assert fingerprint_of("int") == (8247732601305521295).to_bytes(8, "little")


def test_a_type_from_another_file_is_defined_at_its_first_use(tmp_path: Path) -> None:
    definitions = Definitions()
    node = definitions.add("a", {"type": "record", "name": "A", "fields": [{"name": "b", "type": "x.B"}]})
    definitions.add("b", {"type": "enum", "name": "B", "namespace": "x", "symbols": ["C"]})
    assert definitions.schema("a", node).fingerprint == crc_64_avro(
        '{"name":"A","type":"record","fields":[{"name":"b","type":{"name":"x.B","type":"enum","symbols":["C"]}}]}'
    )
