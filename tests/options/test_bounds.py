"""A number, or the bounds of one, as an option."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.errors import SettingsError
from processor.options.bounds import Bounds, Count, bounds_of, order_fault
from processor.options.entry import entry_of
from processor.options.option import Option
from processor.settings import Settings

ENTRY = entry_of("hands", Annotated[Count, Option("Hands.", at_least=1, at_most=99, rule=order_fault)], 8)


@given(st.integers(1, 99), st.integers(0, 98))
def test_a_text_is_read_as_it_is_written(least: int, room: int) -> None:
    bounds = Bounds(least, min(99, least + room))
    assert ENTRY.read(str(bounds)) == bounds
    assert ENTRY.read(str(least)) == least
    assert ENTRY.read(f" {bounds.least} .. {bounds.most} ") == bounds


@pytest.mark.parametrize("text", ["", "a", "1..", "..2", "1...2", "1..2..3", "-1..2", "1.5..2", "1-2", "0x1..2"])
def test_text_that_is_neither_a_number_nor_a_range_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--hands must be an integer, or a range such as 8\.\.64, not "):
        ENTRY.read(text)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Bounds(0, 3), "--hands must be from 1 to 99, not 0..3"),
        (Bounds(1, 100), "--hands must be from 1 to 99, not 1..100"),
        (100, "--hands must be from 1 to 99, not 100"),
        (Bounds(3, 2), "--hands must have its minimum first, not 3..2"),
        ((1, 2), "--hands must be an integer, or a range such as 8..64, not (1, 2)"),
        (True, "--hands must be an integer, or a range such as 8..64, not True"),
    ],
)
def test_a_value_that_a_program_gives_is_checked_alike(value: object, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ENTRY.check(value)
    assert str(refused.value) == sentence


def test_a_fixed_number_has_equal_bounds() -> None:
    assert bounds_of(8) == Bounds(8, 8)
    assert bounds_of(Bounds(1, 8)) == Bounds(1, 8)
    assert (ENTRY.metavar, ENTRY.default_text) == ("N|MIN..MAX", "8")


def test_settings_take_a_range_as_text_too_and_travel_as_json() -> None:
    given: dict[str, object] = {"topics": ("t",), "group": "g", "workers": "8..64"}
    settings = Settings(**given)  # type: ignore[arg-type]
    assert settings.workers == Bounds(8, 64)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings).workers == Bounds(8, 64)
    with pytest.raises(SettingsError, match=r"^--workers must be an integer, or a range"):
        Settings(**(given | {"workers": "many"}))  # type: ignore[arg-type]
