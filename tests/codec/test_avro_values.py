from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.avro.definitions import Definitions
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, load_schemas, shipped_folder, shipped_schemas
from processor.codec.avro_values import AvroCodec
from processor.codec.messages import Outgoing
from processor.codec.registry_port import Framing
from processor.errors import DecodeError, EncodeError, LoadError
from processor.handlers.task import Content
from tests.avro.values import json_values, text
from tests.codec.record import GivenRecord, as_content, given_task

TASK = shipped_schemas().by_name["processor.Task"]
RESULT = shipped_schemas().by_name["processor.TaskResult"]
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}

codec = AvroCodec(clock=lambda: 1_700_000_000_000)


def schema_of(definition: Any) -> Schema:
    definitions = Definitions()
    return definitions.schema("test", definitions.add("test", definition))


def datum(schema: Schema, fields: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, fields)
    return stream.getvalue()


def framed(schema: Schema, fields: Any) -> bytes:
    return b"\xc3\x01" + schema.fingerprint + datum(schema, fields)


def task_value(**fields: Any) -> bytes:
    return framed(TASK, fields)


class Registry:
    """A registry with one schema."""

    def __init__(self, schema_id: int, schema: Schema) -> None:
        self._known = {schema_id: schema}

    def schema_by_id(self, schema_id: int) -> Schema:
        if schema_id not in self._known:
            raise DecodeError(f"the registry has no schema {schema_id}")
        return self._known[schema_id]

    def schema_by_guid(self, guid: bytes) -> Schema:
        raise DecodeError("the registry knows no GUIDs")

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        raise LoadError("the registry takes no schemas")


@given(session_id=text, payload=json_values | st.binary(), name=text, task_id=text)
def test_an_avro_value_round_trips(session_id: str, payload: Any, name: str, task_id: str) -> None:
    value = codec.encode_task(Outgoing(session_id, payload, name, task_id))
    assert as_content(codec.decode(GivenRecord(value))) == Content(
        payload, name or None, task_id or None, session_id or None
    )


def test_the_encoding_of_a_task_does_not_change() -> None:
    """Values in topics outlive this program. If this test fails, the shipped schema has changed."""
    value = codec.encode_task(Outgoing("s1", {"amount": 5}, "charge", "t-1"))
    assert value.hex(" ") == (
        "c3 01 9c da 60 8e 49 47 10 c2"  # single-object encoding, the schema's fingerprint
        " 06 74 2d 31 04 73 31 0c 63 68 61 72 67 65"  # t-1, s1, charge
        " 02 18 7b 22 61 6d 6f 75 6e 74 22 3a 35 7d"  # bytes, {"amount":5}
        " 20 61 70 70 6c 69 63 61 74 69 6f 6e 2f 6a 73 6f 6e"  # application/json
        " 00 80 a0 ab fe f9 62"  # no headers, 1700000000000
    )


def test_any_avro_reader_with_the_shipped_file_reads_a_task() -> None:
    value = codec.encode_task(Outgoing("s1", [1], "charge", "t-1"))
    schema = fastavro.parse_schema(json.loads((shipped_folder() / "task.avsc").read_bytes()))
    assert fastavro.schemaless_reader(BytesIO(value[10:]), schema, None) == {
        "id": "t-1",
        "session_id": "s1",
        "name": "charge",
        "payload": b"[1]",
        "content_type": "application/json",
        "headers": {},
        "created_at": datetime.fromtimestamp(1_700_000_000, UTC),
    }


def test_a_record_without_a_value_has_no_payload() -> None:
    assert as_content(codec.decode(GivenRecord(None))) == Content(None)


@pytest.mark.parametrize(
    ("payload", "content_type", "seen"),
    [
        (b'{"a":1}', "application/json", {"a": 1}),
        ('{"a":1}', "application/json", {"a": 1}),
        (b"[1]", "application/vnd.acme+json", [1]),
        (b"[1]", "Application/JSON; charset=utf-8", [1]),
        (b"[1]", "application/octet-stream", b"[1]"),
        ("[1]", "text/plain", "[1]"),
        (b"[1]", "", b"[1]"),
        (None, "application/json", None),
        (None, "text/plain", None),
    ],
)
def test_the_content_type_determines_how_the_payload_is_decoded(payload: Any, content_type: str, seen: Any) -> None:
    assert as_content(codec.decode(GivenRecord(task_value(payload=payload, content_type=content_type)))) == Content(
        seen
    )


def test_a_task_may_set_headers() -> None:
    value = task_value(headers={"trace": b"\x00\x01"}, payload=b"1")
    assert as_content(codec.decode(GivenRecord(value))) == Content(1, headers={"trace": b"\x00\x01"})


def test_a_codec_without_the_shipped_schema_of_tasks_reads_none() -> None:
    value = codec.encode_task(Outgoing("s1", 1))
    with pytest.raises(DecodeError, match=f"no schema has the fingerprint {TASK.fingerprint.hex()}"):
        AvroCodec(Schemas({}, [RESULT])).decode(GivenRecord(value))


def test_a_payload_declared_as_json_that_is_not_json_is_rejected() -> None:
    with pytest.raises(DecodeError, match="the payload is not JSON"):
        codec.decode(GivenRecord(task_value(payload=b"oops")))


def test_a_record_of_another_schema_is_the_payload_and_its_name_is_the_tasks(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(json.dumps(ORDER))
    schemas = load_schemas(str(tmp_path))
    order = {"sku": "A-1", "price": Decimal("12.50")}
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(ORDER), order)
    value = b"\xc3\x01" + schemas.by_name["shop.Order"].fingerprint + stream.getvalue()
    assert as_content(AvroCodec(schemas).decode(GivenRecord(value))) == Content(order, "shop.Order")


def test_a_datum_of_an_unnamed_type_is_a_payload_without_a_task_name(tmp_path: Path) -> None:
    (tmp_path / "list.avsc").write_text('{"type": "array", "items": "long"}')
    value = framed(schema_of({"type": "array", "items": "long"}), [1, 2])
    assert as_content(AvroCodec(load_schemas(str(tmp_path))).decode(GivenRecord(value))) == Content([1, 2])


def test_confluents_framing_is_resolved_by_the_registry() -> None:
    value = b"\x00\x00\x00\x01\x02" + datum(TASK, {"id": "t-1", "payload": b"5"})
    assert as_content(AvroCodec(registry=Registry(258, TASK)).decode(GivenRecord(value))) == Content(5, id="t-1")


def test_another_version_of_the_task_sets_the_fields_it_has() -> None:
    fields = [
        {"name": "priority", "type": "int"},
        {"name": "payload", "type": ["null", "bytes", "string"]},
        {"name": "name", "type": "string"},
    ]
    other = schema_of({"type": "record", "name": "processor.Task", "fields": fields})
    value = b"\x00\x00\x00\x00\x07" + datum(other, {"priority": 9, "payload": b"5", "name": "charge"})
    assert as_content(AvroCodec(registry=Registry(7, other)).decode(GivenRecord(value))) == Content(5, "charge")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "the value is empty"),
        (b"{}", "begins with 7b 7d.*; it looks like JSON: --value-format json reads it"),
        (b"\n[1]", "it looks like JSON"),
        (b"plain", r"Confluent's wire format \(00\)$"),
        (b"\xc3", "begins with c3"),
        (b"\xc3\x01\x02", "ends inside the schema fingerprint"),
        (
            b"\xc3\x01" + bytes(range(8)),
            "no schema has the fingerprint 0001020304050607: add its .avsc file to --schemas",
        ),
        (b"\x00\x00", "ends inside the schema ID"),
        (b"\x00\x00\x00\x01\x02abc", "refers to schema 258 of a registry, but --schema-registry is not set"),
        (
            task_value(id="t-1")[:-1],
            "the value is not a valid processor.Task: byte 35, field created_at:"
            " the value ends before or inside a number",
        ),
        (
            task_value(id="t-1") + b"\x00",
            "the value is not a valid processor.Task: byte 36: 1 byte follows the end of the datum",
        ),
        (
            framed(RESULT, {}) + b"abc",
            "the value is not a valid processor.TaskResult: byte 36: 3 bytes follow the end of the datum",
        ),
        (
            framed(RESULT, {})[:-1],
            "the value is not a valid processor.TaskResult: byte 35, field completed_at: the value ends",
        ),
        (b"\xc3\x01" + TASK.fingerprint + b"\x02\xff", "byte 11, field id: a string is not UTF-8: invalid start byte"),
        (
            b"\xc3\x01" + TASK.fingerprint + b"\x01",
            "byte 10, field id: a string declares a negative length of -1 bytes",
        ),
        (b"\xc3\x01" + TASK.fingerprint + b"\xff" * 99, "a variable-length number has more than 10 bytes"),
        (
            b"\xc3\x01" + TASK.fingerprint + b"\x00\x00\x00\x06",
            "byte 13, field payload: union index 3 is out of range: there are 3 branches",
        ),
    ],
)
def test_an_invalid_value_is_rejected_with_the_reason(value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as refusal:
        codec.decode(GivenRecord(value))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("outgoing", "reason"),
    [
        (Outgoing("s1", object()), "the payload cannot be encoded as JSON"),
        (Outgoing("\ud800", 1), "cannot encode a processor.Task"),
        (Outgoing(5, 1), "cannot encode a processor.Task"),  # type: ignore[arg-type] # what a caller gets wrong
    ],
)
def test_a_task_that_cannot_be_encoded_is_rejected(outgoing: Outgoing, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        codec.encode_task(outgoing)


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        ({"charged": True}, b'{"charged":true}', "application/json"),
        ("done", b'"done"', "application/json"),
        (b"\x00\x01", b"\x00\x01", "application/octet-stream"),
    ],
)
def test_a_result_identifies_its_task(result: Any, body: bytes, content_type: str) -> None:
    value = codec.encode_result(given_task(), result)
    assert value[:10] == b"\xc3\x01" + RESULT.fingerprint
    fields: Any = fastavro.schemaless_reader(BytesIO(value[10:]), RESULT.parsed, None)
    assert abs((fields.pop("completed_at") - datetime.now(UTC)).total_seconds()) < 60
    assert fields == {
        "task_id": "t-1",
        "session_id": "s1",
        "name": "charge",
        "topic": "orders",
        "partition": 3,
        "offset": 42,
        "attempt": 2,
        "result": body,
        "content_type": content_type,
    }


def test_a_result_without_a_json_form_is_rejected() -> None:
    with pytest.raises(EncodeError, match="the handler's return value cannot be encoded as JSON"):
        codec.encode_result(given_task(), object())
