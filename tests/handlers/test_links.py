"""The headers that link tasks: what is written can be read, and what cannot be read is refused with one clear line."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor import DependencyFailed, InvalidHeader
from processor.engine.terms import Terms
from processor.errors import EncodeError
from processor.handlers.dependencies import check_links
from processor.handlers.links import (
    MOST_BYTES,
    Planned,
    read_inputs,
    read_plan,
    write_inputs,
    write_plan,
)
from processor.handlers.terms import terms_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
BYTES = st.none() | st.binary(max_size=10)
PLANNED = st.builds(
    Planned,
    key=TEXT.filter(bool),
    value=BYTES,
    headers=st.lists(st.tuples(TEXT, BYTES), max_size=3),
    topic=st.none() | st.sampled_from(["tasks", "a.b-c_d"]),
    delay=st.none() | st.floats(0, 1e10),
    expires_in=st.none() | st.floats(1e10, 1e11),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(PLANNED, min_size=1, max_size=4))
def test_a_plan_is_read_as_it_was_written(plan: list[Planned]) -> None:
    assert read_plan(write_plan(plan)) == plan


@given(st.lists(JSON | st.binary(max_size=10), max_size=4))
def test_inputs_are_read_as_they_were_written(values: list[Any]) -> None:
    assert read_inputs(write_inputs(values)) == values


def test_a_plan_is_json_that_other_languages_can_write() -> None:
    header = (
        b'[{"key": "anna", "value": "e30=", "headers": [["task-name", "c2hpcA=="]], "topic": "parcels", "delay": 5}]'
    )
    assert read_plan(header) == [Planned("anna", b"{}", [("task-name", b"ship")], "parcels", 5.0)]
    assert write_plan([Planned("ben")]) == b'[{"key":"ben"}]'
    assert write_inputs([{"cents": 5}, b"\xff"]) == b'[{"json":{"cents":5}},{"base64":"/w=="}]'


@given(st.binary(max_size=40))
def test_any_header_value_is_read_or_refused(value: bytes) -> None:
    for read in (read_plan, read_inputs):
        with contextlib.suppress(InvalidHeader):
            assert isinstance(read(value), list)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the header task-then has no value"),
        (b"", "the header task-then cannot be read: Input data was truncated"),
        (b"[]", "it must not be empty"),
        (b"{}", "must be an array, not an object"),
        (b'[{"key": ""}]', "key must not be empty"),
        (b'[{"key": "s", "value": "?"}]', "base64"),
        (b'[{"key": "s", "then": []}]', "unknown member [0].then"),
        (b'[{"key": "s", "delay": -1}]', "delay"),
        (b'[{"key": "s", "topic": "no/topic"}]', "the topic"),
        (b'[{"group": [[{"key": "s"}]], "expires": 1000000000000000}]', "must be an integer <= 999999999999999"),
        (b'[{"key": "s", "delay": 2, "expires_in": 1.5}]', "a task expires before its delay of 2 s is over"),
        (b'[{"key": "\xff"}]', "UTF-8"),
        (b" " * (MOST_BYTES + 1), "has 262,145 bytes, and may have 262,144"),
    ],
)
def test_a_plan_that_cannot_be_read_is_refused_with_one_line(value: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidHeader, match=r"^the header task-then") as refused:
        check_links([("task-then", value)])
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "value",
    [None, b"{}", b"[1]", b"[{}]", b'[{"json": 1, "base64": ""}]', b'[{"json": 1', b'[{"json": ' + b"[" * 99_999],
)
def test_inputs_that_cannot_be_read_are_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidHeader, match=r"^the header task-inputs"):
        check_links([("task-inputs", value)])


def test_a_plan_or_an_input_too_large_for_a_header_is_refused_with_both_sizes() -> None:
    with pytest.raises(EncodeError, match=r"what follows from the task is too large: 400,0.. bytes .* 262,144"):
        write_plan([Planned("s", bytes(300_000))])
    with pytest.raises(EncodeError, match=r"what the handler returned is too large .*: 300,013 bytes .* 262,144"):
        write_inputs(["x" * 300_000])


@pytest.mark.parametrize("value", [object(), [[]]])
def test_a_value_without_a_json_form_is_refused_as_an_input(value: Any) -> None:
    if isinstance(value, list):
        value[0].append(value)
    with pytest.raises(EncodeError, match="what the handler returned"):
        write_inputs([value])


def test_a_plan_that_no_consumer_could_read_is_not_written() -> None:
    with pytest.raises(EncodeError, match="the topic"):
        write_plan([Planned("s", topic="no/topic")])


def test_a_replayed_letter_of_a_task_whose_predecessor_failed_is_refused() -> None:
    with pytest.raises(DependencyFailed, match="'charge-7', from which it follows, is a dead letter"):
        check_links([("task-after", b"charge-7")])


def test_links_are_terms_that_bind_a_tasks_begin() -> None:
    followed = terms_of([("task-then", b"anything")])
    assert followed == Terms(linked=True, followed=True)
    assert terms_of([("task-inputs", b"[]")]) == Terms(linked=True)
    assert followed.bind_its_begin
