"""Any bytes are decoded or rejected with a `DecodeError`, in bounded time and memory."""

from __future__ import annotations

import threading
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.avro.definitions import Definitions
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, shipped_schemas
from processor.codec.avro_values import AvroCodec
from processor.codec.bytes_values import BytesCodec
from processor.codec.json_values import JsonCodec
from processor.codec.value_codec import ValueCodec
from processor.errors import DecodeError
from processor.handlers.task import Content
from tests.codec.record import GivenRecord, as_content

FORMS: dict[str, Any] = {
    "list": {"type": "record", "name": "List", "fields": [{"name": "next", "type": ["null", "List"]}]},
    "tree": {"type": "record", "name": "Tree", "fields": [{"name": "in", "type": {"type": "array", "items": "Tree"}}]},
    "maps": {"type": "record", "name": "Maps", "fields": [{"name": "in", "type": {"type": "map", "values": "Maps"}}]},
    "endless": {"type": "record", "name": "Endless", "fields": [{"name": "self", "type": "Endless"}]},
    "decimal": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    "decimals": {"type": "array", "items": {"type": "bytes", "logicalType": "decimal", "precision": 9}},
    "blob": ["bytes"],
    "shapeless": {"type": "map", "values": {"type": "bytes", "logicalType": "decimal"}},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "time": {"type": "long", "logicalType": "timestamp-micros"},
    "day": {"type": "int", "logicalType": "date"},
    "fixed": {"type": "fixed", "name": "Fixed", "size": 2**50},
    "enum": {"type": "enum", "name": "Enum", "symbols": ["A", "B"]},
    "array": {"type": "array", "items": "long"},
    "map of numbers": {"type": "map", "values": "long"},
    "map": {"type": "map", "values": "null"},
    "union": ["null", "boolean", "double", {"type": "array", "items": ["null", "string"]}],
}


def schema_of(document: Any) -> Schema:
    definitions = Definitions()
    return definitions.schema("test", definitions.add("test", document))


SCHEMAS = {form: schema_of(document) for form, document in FORMS.items()} | shipped_schemas().by_name
avro = AvroCodec(Schemas({}, list(SCHEMAS.values())))


def frame(form: str) -> bytes:
    return b"\xc3\x01" + SCHEMAS[form].fingerprint


def number(value: int) -> bytes:
    """A long in Avro's encoding."""
    value = (value << 1) ^ (value >> 63)
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def outcome(codec: ValueCodec, value: bytes) -> Content | str:
    try:
        return as_content(codec.decode(GivenRecord(value)))
    except DecodeError as refusal:
        return str(refusal)


@pytest.mark.parametrize("codec", [avro, JsonCodec(), BytesCodec()], ids=["avro", "json", "bytes"])
@given(value=st.binary())
def test_any_bytes_are_decoded_or_rejected(codec: ValueCodec, value: bytes) -> None:
    assert isinstance(outcome(codec, value), Content | str)


@given(start=st.sampled_from([*map(frame, SCHEMAS), b"\x00\x00\x00\x00\x01"]), rest=st.binary())
def test_any_bytes_after_a_valid_frame_are_decoded_or_rejected(start: bytes, rest: bytes) -> None:
    assert isinstance(outcome(avro, start + rest), Content | str)


@given(st.sampled_from(list(SCHEMAS)), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=20))
def test_any_length_is_decoded_or_rejected(form: str, length: int, rest: bytes) -> None:
    assert isinstance(outcome(avro, frame(form) + number(length) + rest), Content | str)


@given(st.text(alphabet='[]{}",:0123456789eE.+-\\ua tfn'))
def test_any_text_like_json_is_decoded_or_rejected(text: str) -> None:
    assert isinstance(outcome(JsonCodec(), text.encode()), Content | str)


HUGE = {
    "a list that never ends": frame("list") + b"\x02" * 1_000_000,
    "a tree that never ends": frame("tree") + b"\x02" * 1_000_000,
    "maps that never end": frame("maps") + b"\x02\x00" * 500_000,
    "a type without an end": frame("endless"),
    "a string of exabytes": frame("uuid") + number(2**62),
    "bytes of gigabytes": frame("blob") + b"\x00" + number(2**32) + b"abc",
    "an array of quintillions": frame("array") + number(2**61),
    "an array of minus quintillions": frame("array") + number(-(2**61)) + number(5),
    "a map of quintillions": frame("map") + number(2**61),
    "a fixed of petabytes": frame("fixed") + b"abc",
    "a decimal of a megabyte": frame("decimal") + number(1_000_000) + b"\x7f" * 1_000_000,
    "a decimal in an array of a megabyte": frame("decimals") + number(10**6) + number(5 * 10**5) + b"\x7f" * 10**6,
    "a megabyte of blocks of nothing and then too much": frame("array") + b"\x01\x00" * 500_000 + number(2**61),
    "a number of a megabyte": frame("time") + b"\xff" * 1_000_000,
    "a time after the last": frame("time") + number(2**62),
    "a day after the last": frame("day") + number(2**31 - 1),
    "a task with exabytes in its name": frame("processor.Task") + bytes(2) + number(2**62) + b"abc",
    "a task with quintillions of headers": frame("processor.Task") + bytes(5) + number(2**62),
    "a result of exabytes": frame("processor.TaskResult") + number(2**62),
}


NUMBERS_FROM_THE_END = {
    "a branch": (frame("union") + number(-1) + number(0), "union index -1 is out of range: there are 4 branches"),
    "a branch after the last": (frame("union") + number(4), "union index 4 is out of range: there are 4 branches"),
    "a symbol": (frame("enum") + number(-1), "enum index -1 is out of range: there are 2 symbols"),
    "a symbol after the last": (frame("enum") + number(2), "enum index 2 is out of range: there are 2 symbols"),
    "a length": (frame("uuid") + number(-1) + b"a", "a string declares a negative length of -1 bytes"),
    "a payload's branch": (
        frame("processor.Task") + bytes(3) + number(-1),
        "union index -1 is out of range: there are 3 branches",
    ),
}


@pytest.mark.parametrize(("value", "reason"), NUMBERS_FROM_THE_END.values(), ids=NUMBERS_FROM_THE_END.keys())
def test_an_index_that_is_negative_or_too_large_is_rejected(value: bytes, reason: str) -> None:
    refusal = outcome(avro, value)
    assert isinstance(refusal, str)
    assert reason in refusal


def test_a_key_in_an_error_is_printable_and_short() -> None:
    key = "\x1b[2J\n" + "x" * 10_000
    refusal = outcome(avro, frame("map of numbers") + number(1) + number(len(key)) + key.encode())
    assert isinstance(refusal, str)
    assert refusal.isprintable()
    assert 'field ["\\u001b[2J\\u000axxx' in refusal
    assert len(refusal) < 200


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE.keys())
def test_an_excessive_length_is_rejected_at_once(value: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        refusal = outcome(avro, value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(refusal, str), refusal
    assert time.process_time() - began < 5
    assert peak < 20_000_000


def test_nesting_deeper_than_a_worker_threads_stack_is_rejected() -> None:
    """The thread's stack is small: a reader that recursed on it would crash the process."""
    refusals: list[Content | str] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: refusals.append(outcome(avro, HUGE["a list that never ends"])))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join(60)
    assert refusals == ["the value is not a valid List: byte 10: nested too deeply"]


@pytest.mark.parametrize("depth", [0, 1, 50])
def test_moderate_nesting_is_read(depth: int) -> None:
    content = outcome(avro, frame("list") + b"\x02" * depth + b"\x00")
    assert isinstance(content, Content)
    payload = content.payload
    for _ in range(depth):
        payload = payload["next"]
    assert payload == {"next": None}


@given(st.integers(-(10**9) + 1, 10**9 - 1), st.integers(0, 12))
def test_a_decimal_within_its_precision_is_read(unscaled: int, spare: int) -> None:
    """Java's BigInteger writes the fewest bytes; other writers sign-extend."""
    data = unscaled.to_bytes(4 + spare, "big", signed=True)
    content = outcome(avro, frame("decimal") + number(len(data)) + data)
    assert isinstance(content, Content)
    assert content.payload * 100 == unscaled


def test_a_decimal_without_a_precision_is_bytes() -> None:
    assert outcome(avro, frame("shapeless") + b"\x02\x02a\x04\x01\x02\x00") == Content({"a": b"\x01\x02"})
