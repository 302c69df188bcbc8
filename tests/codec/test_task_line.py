"""A record as a line: decoded, or with what keeps it from being decoded."""

from __future__ import annotations

import pytest

from processor.codec.messages import Outgoing
from processor.codec.select import codec_for
from processor.codec.task_line import task_line
from tests.codec.record import GivenRecord


def test_a_task_is_decoded() -> None:
    codec = codec_for("avro")
    value = codec.encode_task(Outgoing("anna", {"cents": 5}, "charge", "t-1"))
    line = task_line(GivenRecord(value, b"anna", [("trace", b"\xff"), ("none", None)]), codec)
    assert (line.topic, line.partition, line.offset, line.timestamp) == ("orders", 3, 42, 1_700_000_000_000)
    assert (line.session, line.name, line.id, line.error) == ("anna", "charge", "t-1", None)
    assert line.payload_text == '{"cents":5}'
    assert line.headers == {"trace": "\\xff", "none": None}
    assert line.size == len(value or b"")


@pytest.mark.parametrize(("value", "text"), [(b"plain", '"plain"'), (b"\xff", '"/w=="'), (None, "null"), (b"", '""')])
def test_bytes_are_text_where_they_can_be(value: bytes | None, text: str) -> None:
    assert task_line(GivenRecord(value), codec_for("bytes")).payload_text == text


def test_an_undecodable_record_is_shown_with_its_key_and_headers() -> None:
    line = task_line(GivenRecord(b"{", b"anna", [("task-name", b"charge"), ("task-id", b"t-9")]), codec_for("json"))
    assert (line.session, line.name, line.id, line.payload, line.size) == ("anna", "charge", "t-9", None, 1)
    assert line.error is not None
    assert line.error.startswith("the value is not JSON")


def test_an_arrival_at_a_join_has_the_result_of_its_branch_in_any_value_format() -> None:
    headers: list[tuple[str, bytes | None]] = [("task-name", b"processor.join"), ("task-arrival", b"{}")]
    for value, payload in ((b'{"json":{"n":1}}', {"n": 1}), (b'{"base64":"AQ=="}', "\x01"), (None, None)):
        arrival = GivenRecord(value, b"order-7/then", headers)
        line = task_line(arrival, codec_for("avro"))
        assert (line.name, line.payload, line.error) == ("processor.join", payload, None)
    broken = task_line(GivenRecord(b"?", b"order-7/then", headers), codec_for("avro"))
    assert broken.error is not None
    assert "the value of an arrival" in broken.error
