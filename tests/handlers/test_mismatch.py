"""What a payload lacks, in words."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from processor.handlers.mismatch import mismatch


class Colour(enum.Enum):
    RED = "red"


class Line(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(min_length=1)]
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    labels: dict[int, str] = {}
    pair: tuple[int, str] | None = None
    at: dt.datetime | None = None
    colour: Colour = Colour.RED
    key: UUID | None = None
    either: int | str | None = None


class Order(msgspec.Struct):
    lines: list[Line]


CASES: list[tuple[Any, str]] = [
    (None, "it must be an object, not null"),
    ({}, "lines is missing"),
    ({"lines": True}, "lines must be an array, not a boolean"),
    ({"lines": [{}]}, "lines[0].id is missing"),
    ({"lines": [{"id": "a", "x y": 1}]}, "unknown member lines[0].x y"),
    ({"lines": [{"id": 1}]}, "lines[0].id must be text, not an integer"),
    ({"lines": [{"id": ""}]}, "lines[0].id must not be empty"),
    ({"lines": [{"id": "a", "count": 0}]}, "lines[0].count must be an integer >= 1"),
    ({"lines": [{"id": "a", "labels": {"x": "y"}}]}, "a key of lines[0].labels must be an integer, not text"),
    ({"lines": [{"id": "a", "labels": {1: 1}}]}, "lines[0].labels[…] must be text, not an integer"),
    ({"lines": [{"id": "a", "pair": [1]}]}, "lines[0].pair must be an array of length 2, not 1"),
    ({"lines": [{"id": "a", "at": "noon"}]}, "lines[0].at: invalid RFC3339 encoded datetime"),
    ({"lines": [{"id": "a", "at": []}]}, "lines[0].at must be a date and time or null, not an array"),
    ({"lines": [{"id": "a", "colour": "blue"}]}, "lines[0].colour: invalid enum value 'blue'"),
    ({"lines": [{"id": "a", "key": 1}]}, "lines[0].key must be a UUID or null, not an integer"),
    ({"lines": [{"id": "a", "either": 1.5}]}, "lines[0].either must be an integer, text or null, not a number"),
]


@pytest.mark.parametrize(("payload", "words"), CASES, ids=[words for _, words in CASES])
def test_a_mismatch_names_the_place_what_it_must_be_and_what_it_is(payload: Any, words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(payload, Order)
    assert mismatch(str(caught.value), "it") == words


@pytest.mark.parametrize("complaint", ["", "Something new", "Something new - at `$.a`", "Expected something"])
def test_a_complaint_of_another_form_is_kept(complaint: str) -> None:
    assert complaint.split(" - ", maxsplit=1)[0].lower() in mismatch(complaint, "it").lower()
