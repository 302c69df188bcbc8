"""Corrupted values: truncated, with bytes changed, inserted and removed. Each is decoded or rejected, quickly."""

from __future__ import annotations

import time
import tracemalloc
from io import BytesIO
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, shipped_schemas
from processor.avro.tools.sample import Sampler
from processor.codec.anatomy import Anatomy, anatomy_of
from processor.codec.avro_values import AvroCodec
from processor.codec.messages import Outgoing
from processor.codec.value_codec import ValueCodec
from processor.errors import DecodeError
from processor.handlers.task import Decoded
from tests.avro.avro_types import evolved, schemas
from tests.avro.tools.test_classes import ORDER, schema_of
from tests.codec.record import GivenRecord

SECONDS = 2.0
PEAK_BYTES = 10_000_000

LENGTHS = st.sampled_from(
    [b"\xff" * 9 + b"\x01", b"\xfe" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\x7f", b"\x80" * 20, b"\x01"]
)
"""Encoded numbers: quintillions, negative quintillions, billions, -64, an unterminated one, and -1."""


@st.composite
def spoilt(draw: st.DrawFn, value: bytes) -> bytes:
    """A corrupted value with an intact framing."""
    datum = bytearray(value[10:])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(datum)))
        match draw(st.sampled_from(["cut", "byte", "length", "insert", "drop", "twice"])):
            case "cut":
                del datum[at:]
            case "byte" if at < len(datum):
                datum[at] = draw(st.integers(0, 255))
            case "length":
                datum[at : at + 1] = draw(LENGTHS)
            case "insert":
                datum[at:at] = draw(st.binary(max_size=12))
            case "drop":
                del datum[at : at + draw(st.integers(1, 4))]
            case _:
                datum[at:at] = datum[at:]
    return value[:10] + bytes(datum)


def framed(schema: Schema, fields: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, fields)
    return b"\xc3\x01" + schema.fingerprint + stream.getvalue()


def check(codec: ValueCodec, value: bytes) -> None:
    """Checks that a value is decoded or rejected in one line, in bounded time and memory, and its anatomy agrees."""
    record = GivenRecord(value)
    tracemalloc.start()
    began = time.process_time()
    try:
        try:
            outcome: Decoded | str = codec.decode(record)
        except DecodeError as refusal:
            outcome = str(refusal)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < SECONDS
    assert peak < PEAK_BYTES
    anatomy = anatomy_of(record, codec)
    assert isinstance(anatomy, Anatomy)
    assert anatomy.json()
    if isinstance(outcome, str):
        assert outcome.isprintable()
    else:
        assert anatomy.error is None


ORDERS = schema_of(ORDER)[0]
KNOWN = [ORDERS, *shipped_schemas().by_name.values()]
CODEC = AvroCodec(Schemas({}, KNOWN))


@given(st.data(), st.sampled_from(KNOWN), st.integers(0, 1000))
def test_a_corrupted_value_is_decoded_or_rejected(data: st.DataObject, schema: Schema, seed: int) -> None:
    check(CODEC, data.draw(spoilt(framed(schema, Sampler(schema, seed).value()))))


@given(st.data())
def test_a_corrupted_task_is_decoded_or_rejected(data: st.DataObject) -> None:
    value = CODEC.encode_task(Outgoing("s1", {"a": ["b", 1.5, None]}, "charge", "t-1"))
    check(CODEC, data.draw(spoilt(value)))


@given(st.data(), schemas(depth=3), st.integers(0, 1000))
def test_a_corrupted_value_of_any_schema_is_decoded_or_rejected(data: st.DataObject, document: Any, seed: int) -> None:
    (schema,) = schema_of(document)
    check(AvroCodec(Schemas({}, [schema])), data.draw(spoilt(framed(schema, Sampler(schema, seed).value()))))


@given(st.data(), schemas(depth=3), st.integers(0, 1000))
def test_a_corrupted_value_read_with_a_readers_schema_is_decoded_or_rejected(
    data: st.DataObject, document: Any, seed: int
) -> None:
    (writer,), (reader,) = schema_of(document), schema_of(data.draw(evolved(document)))
    if reader.name is None or reader.definition["type"] != "record":
        return
    codec = AvroCodec(Schemas({}, [writer]), readers=[reader])
    check(codec, data.draw(spoilt(framed(writer, Sampler(writer, seed).value()))))
