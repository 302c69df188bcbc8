from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec.json_values import JsonCodec
from processor.codec.messages import Outgoing
from processor.errors import DecodeError, EncodeError
from processor.handlers.task import Content
from tests.avro.values import json_values, text
from tests.codec.record import GivenRecord, given_task

codec = JsonCodec()


def decoded(document: Any) -> Content:
    return codec.decode(GivenRecord(json.dumps(document).encode()))


@given(session_id=text, payload=json_values, name=text, task_id=st.none() | text)
def test_a_json_value_round_trips(session_id: str, payload: Any, name: str, task_id: str | None) -> None:
    value = codec.encode_task(Outgoing(session_id, payload, name, task_id))
    assert codec.decode(GivenRecord(value)) == Content(payload, name, task_id, session_id)


def test_a_task_is_written_as_an_envelope() -> None:
    value = codec.encode_task(Outgoing("s1", {"amount": 5}, "charge", "t-1"))
    assert json.loads(value) == {"id": "t-1", "session_id": "s1", "name": "charge", "payload": {"amount": 5}}


def test_a_task_without_an_id_leaves_it_out() -> None:
    assert "id" not in json.loads(codec.encode_task(Outgoing("s1", None)))


@given(json_values.filter(lambda document: not isinstance(document, dict) or "payload" not in document))
def test_json_without_a_payload_member_is_the_payload(document: Any) -> None:
    assert decoded(document) == Content(document)


def test_a_payload_may_be_null() -> None:
    assert decoded({"payload": None, "name": "wipe"}) == Content(None, "wipe")


def test_null_members_are_ignored() -> None:
    assert decoded({"payload": 1, "id": None, "name": None, "session_id": None, "headers": None}) == Content(1)


def test_headers_are_text_or_null() -> None:
    assert decoded({"payload": 1, "headers": {"a": "ä", "b": None}}).headers == {"a": b"\xc3\xa4", "b": None}


def test_a_record_without_a_value_has_no_payload() -> None:
    assert codec.decode(GivenRecord(None)) == Content(None)


@pytest.mark.parametrize("member", ["id", "session_id", "name"])
@pytest.mark.parametrize("value", [5, True, [], {}, 1.5])
def test_a_member_that_is_not_text_is_named(member: str, value: Any) -> None:
    with pytest.raises(DecodeError, match=f"the member '{member}' must be text, not a"):
        decoded({"payload": 1, member: value})


@pytest.mark.parametrize("headers", [5, "a", ["a"], False])
def test_headers_that_are_not_an_object_are_rejected(headers: Any) -> None:
    with pytest.raises(DecodeError, match="the member 'headers' must be an object, not "):
        decoded({"payload": 1, "headers": headers})


def test_a_header_that_is_not_text_is_named() -> None:
    with pytest.raises(DecodeError, match="the header 'trace' must be text or null, not a number"):
        decoded({"payload": 1, "headers": {"trace": 5}})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "the value is empty"),
        (b"{", "the value is not JSON"),
        (b"\xff\xfe", "the value is not JSON"),
        (b'"\xff"', "the value is not JSON"),
        (b'{"payload": 1} x', "the value is not JSON"),
        (b"NaN", "the value is not JSON"),
        (b"1" * 100_000, "the value is not JSON"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"payload":' * 100_000, "nested too deeply"),
    ],
)
def test_invalid_json_is_rejected_in_one_line(value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as refusal:
        codec.decode(GivenRecord(value))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (object(), "cannot be encoded as JSON: Encoding objects of type object is unsupported"),
        ({(1, 2): 3}, "cannot be encoded as JSON"),
        ("\ud800", "cannot be encoded as JSON"),
        (endless(), "contains itself"),
    ],
)
def test_a_payload_without_a_json_form_is_rejected(payload: Any, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        codec.encode_task(Outgoing("s1", payload))


def test_no_headers_are_sent() -> None:
    assert codec.headers_for(Outgoing("s1", 1, "charge", "t-1")) == []


def test_a_result_identifies_its_task() -> None:
    before = time.time_ns() // 1_000_000
    result = json.loads(codec.encode_result(given_task(), {"charged": True}))
    assert before <= result.pop("completed_at") <= time.time_ns() // 1_000_000
    assert result == {
        "task_id": "t-1",
        "session_id": "s1",
        "name": "charge",
        "topic": "orders",
        "partition": 3,
        "offset": 42,
        "attempt": 2,
        "result": {"charged": True},
        "content_type": "application/json",
    }


def test_a_result_without_a_json_form_is_rejected() -> None:
    with pytest.raises(EncodeError, match="the handler's return value cannot be encoded as JSON"):
        codec.encode_result(given_task(), object())
