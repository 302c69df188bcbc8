"""The hand-written reader and writer of tasks compared with fastavro's, which are driven by the schema."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.avro.definitions import Definitions
from processor.avro.schemas import shipped_schemas
from processor.codec.body import read_body
from processor.codec.envelope import LAYOUT, read_envelope, usual_reader, write_envelope
from processor.errors import DecodeError
from processor.handlers.task import Content
from tests.avro.values import text
from tests.codec.record import as_content

TASK = shipped_schemas().by_name["processor.Task"]

# The same layout without a logical type: fastavro would reject times after the year 9999.
PLAIN: Any = fastavro.parse_schema(
    {
        "type": "record",
        "name": "processor.Task",
        "fields": [
            *({"name": name, "type": "string"} for name in ("id", "session_id", "name")),
            {"name": "payload", "type": ["null", "bytes", "string"]},
            {"name": "content_type", "type": "string"},
            {"name": "headers", "type": {"type": "map", "values": "bytes"}},
            {"name": "created_at", "type": "long"},
        ],
    }
)

long_text = text | st.integers(60, 9000).map("x".__mul__)

tasks = st.fixed_dictionaries(
    {
        "id": long_text,
        "session_id": long_text,
        "name": long_text,
        "payload": st.none() | st.binary() | long_text | st.just(b'{"a": [1, 2]}'),
        "content_type": st.sampled_from(["application/json", "text/plain", "", "application/x+json"]) | text,
        "headers": st.dictionaries(text, st.binary(), max_size=3),
        "created_at": st.integers(-(2**63), 2**63 - 1),
    }
)


def written(fields: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, PLAIN, fields)
    return stream.getvalue()


def content_of(fields: dict[str, Any]) -> Content:
    return Content(
        read_body(fields["payload"], fields["content_type"]),
        fields["name"] or None,
        fields["id"] or None,
        fields["session_id"] or None,
        fields["headers"] or None,
    )


def outcome(read: Any) -> Content | None:
    """The content; None if the payload is declared as JSON and is not."""
    try:
        content: Content = read()
    except DecodeError:
        return None
    return content


def test_the_layout_is_the_shipped_schema() -> None:
    """If this test fails, the shipped schema has changed, and the reader must be changed too."""
    assert TASK.fingerprint == LAYOUT
    definitions = Definitions()
    assert definitions.schema("", definitions.add("", PLAIN)).fingerprint == LAYOUT


@given(tasks, st.binary(max_size=5))
def test_a_task_is_read_as_written(fields: dict[str, Any], before: bytes) -> None:
    assert outcome(lambda: read_envelope(before + written(fields), len(before))) == outcome(lambda: content_of(fields))


@given(tasks, st.data())
def test_a_truncated_task_is_rejected(fields: dict[str, Any], data: st.DataObject) -> None:
    value = written(fields)
    with pytest.raises((IndexError, ValueError)):
        read_envelope(value[: data.draw(st.integers(0, len(value) - 1))], 0)


@given(tasks, st.data())
def test_every_accepted_value_is_the_same_for_fastavro(fields: dict[str, Any], data: st.DataObject) -> None:
    """Changed bytes may still be a valid task. It must then be the same task for every Avro reader."""
    value = bytearray(written(fields))
    for at in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=4)):
        value[at] = data.draw(st.integers(0, 255))
    try:
        content = read_envelope(bytes(value), 0)
    except (IndexError, ValueError, DecodeError):
        return
    seen: Any = fastavro.schemaless_reader(BytesIO(value), PLAIN, None)
    assert content == content_of(seen)


USUAL = {
    "id": "t-1",
    "session_id": "s1",
    "name": "charge",
    "payload": b'{"cents":5}',
    "content_type": "application/json",
    "headers": {},
    "created_at": 1_700_000_000_000,
}

usual_texts = st.text(st.characters(max_codepoint=127), max_size=63)
usual_tasks = st.fixed_dictionaries(
    {
        "id": usual_texts,
        "session_id": usual_texts,
        "name": usual_texts,
        "payload": st.sampled_from(
            [b"1", b"null", b'{"a": [1, 2]}', b'"' + b"x" * 61 + b'"', b'"' + b"x" * 8189 + b'"']
        ),
        "content_type": st.just("application/json"),
        "headers": st.just({}),
        "created_at": st.integers(-(2**63), 2**63 - 1),
    }
)


def usual(value: bytes, frame: bytes = b"") -> Content | None:
    decoded = usual_reader(frame)(value)
    return as_content(decoded) if decoded is not None else None


@given(usual_tasks, st.binary(max_size=5))
def test_a_usual_task_is_read_at_once(fields: dict[str, Any], frame: bytes) -> None:
    assert usual(frame + written(fields), frame) == content_of(fields)
    assert usual(b"\x80" + frame + written(fields), b"\x81" + frame) is None


UNUSUAL = {
    "text beyond ASCII": {"session_id": "é"},
    "a text of 64 characters": {"name": "x" * 64},
    "no payload": {"payload": None},
    "a payload as a string": {"payload": "1"},
    "a payload of 8 KiB": {"payload": b'"' + b"x" * 8190 + b'"'},
    "another content type": {"content_type": "text/plain"},
    "headers": {"headers": {"a": b"1"}},
}


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_any_other_task_is_left_to_the_reader_of_all(change: dict[str, Any]) -> None:
    value = written(USUAL | change)
    assert usual(written(USUAL)) == content_of(USUAL)
    assert usual(value) is None
    assert read_envelope(value, 0) == content_of(USUAL | change)


@given(usual_tasks | tasks, st.data())
def test_both_readers_agree_on_changed_and_truncated_bytes(fields: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(written(fields))
    for at in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=4)):
        value[at] = data.draw(st.integers(0, 255))
    found = bytes(value[: data.draw(st.integers(0, len(value)))]) if data.draw(st.booleans()) else bytes(value)
    content = usual(found)
    assert content is None or content == read_envelope(found, 0)


def test_a_map_in_several_blocks_is_read_as_one() -> None:
    blocks = b"\x02\x02a\x021" + b"\x01\x08\x02b\x022" + b"\x00"
    assert read_envelope(bytes(4) + b"\x00" + blocks + b"\x00", 0) == Content(None, headers={"a": b"1", "b": b"2"})


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_declared_length_of_exabytes_allocates_no_memory(at: int) -> None:
    with pytest.raises(IndexError):
        read_envelope(bytes(at) + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"abc", 0)


@pytest.mark.parametrize("end", [b"\x80" * 10 + b"\x00", b"\x00\x00", b"\x81\x00\x01"])
def test_a_task_ends_with_its_last_number(end: bytes) -> None:
    with pytest.raises(ValueError, match=r"created_at is not a valid number|bytes follow the end of the datum"):
        read_envelope(bytes(6) + end, 0)


@given(tasks, st.binary())
def test_the_hand_written_writer_agrees_with_fastavro(fields: dict[str, Any], payload: bytes) -> None:
    fields |= {"payload": payload, "headers": {}}
    texts = (fields["id"], fields["session_id"], fields["name"], payload, fields["content_type"], fields["created_at"])
    assert write_envelope(b"frame", texts) == b"frame" + written(fields)
