from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec.bytes_values import BytesCodec
from processor.codec.messages import Outgoing
from processor.errors import EncodeError
from processor.handlers.task import Content, Task
from tests.avro.values import text
from tests.codec.record import GivenRecord, given_task

codec = BytesCodec()


@given(st.none() | st.binary())
def test_the_value_is_the_payload(value: bytes | None) -> None:
    assert codec.decode(GivenRecord(value)) == Content(value)


@given(st.none() | st.binary())
def test_a_bytes_value_round_trips(payload: bytes | None) -> None:
    assert codec.decode(GivenRecord(codec.encode_task(Outgoing("s1", payload)))).payload == payload


@given(text)
def test_text_is_encoded_as_utf_8(payload: str) -> None:
    assert codec.encode_task(Outgoing("s1", payload)) == payload.encode()


@pytest.mark.parametrize("payload", [bytearray(b"abc"), memoryview(b"abc")])
def test_other_kinds_of_bytes_are_bytes(payload: Any) -> None:
    assert codec.encode_task(Outgoing("s1", payload)) == b"abc"


@pytest.mark.parametrize("payload", [5, 0, {"a": 1}, [1], 1.5, True, object()])
def test_any_other_payload_is_rejected_with_its_type(payload: Any) -> None:
    with pytest.raises(EncodeError, match=f"the payload has type {type(payload).__name__}"):
        codec.encode_task(Outgoing("s1", payload))


def test_text_that_utf_8_cannot_encode_is_rejected() -> None:
    with pytest.raises(EncodeError, match="cannot be encoded as UTF-8"):
        codec.encode_task(Outgoing("s1", "\ud800"))


def test_name_and_id_are_sent_in_the_headers_that_the_task_reads() -> None:
    headers = codec.headers_for(Outgoing("s1", b"", "chärge", "t-1"))
    task = Task(GivenRecord(b"", headers=headers), b"", 1, 0.0)
    assert (task.name, task.id) == ("chärge", "t-1")


def test_an_empty_name_sends_no_header() -> None:
    assert codec.headers_for(Outgoing("s1", b"")) == []


@pytest.mark.parametrize(("result", "value"), [(b"abc", b"abc"), ("ä", b"\xc3\xa4"), (b"", b"")])
def test_a_result_is_its_bytes(result: Any, value: bytes) -> None:
    assert codec.encode_result(given_task(), result) == value


@pytest.mark.parametrize("result", [None, 5, {}])
def test_any_other_result_is_rejected(result: Any) -> None:
    with pytest.raises(EncodeError, match="the handler's return value has type"):
        codec.encode_result(given_task(), result)
