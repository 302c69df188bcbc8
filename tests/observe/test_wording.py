"""Numbers, times and texts for people."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.wording import (
    BARS,
    LAST_SECOND,
    clock,
    date_time,
    duration,
    many,
    number,
    plain,
    short,
    spark,
    visible,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 ms"),
        (0.0, "0 ms"),
        (0.0124, "12 ms"),
        (0.9994, "999 ms"),
        (0.9995, "1.0 s"),
        (9.949, "9.9 s"),
        (9.95, "10 s"),
        (59.4, "59 s"),
        (59.5, "1 m 00 s"),
        (125.0, "2 m 05 s"),
        (3599.0, "59 m 59 s"),
        (3600.0, "1 h 00 m"),
        (3 * 3600 + 7 * 60 + 59, "3 h 07 m"),
        (86_400.0, "1 d 0 h"),
        (52 * 3600.0, "2 d 4 h"),
    ],
)
def test_a_duration_is_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e9))
def test_a_duration_fits_a_column(seconds: float) -> None:
    assert len(duration(seconds)) <= 12


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (7.0, "7"), (7.25, "7.2"), (99.9, "99.9"), (100.4, "100"), (1234567.8, "1,234,568")],
)
def test_a_number_has_commas_and_a_decimal_only_if_it_is_small(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (950, "950"),
        (9994, "9,994"),
        (9995, "10.0k"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (4_500_000, "4500k"),
        (45_000_000, "45.0M"),
        (2.5e10, "25.0G"),
    ],
)
def test_a_short_number_has_a_unit(value: float | None, text: str) -> None:
    assert short(value) == text


@given(st.integers(-(10**12), 10**12))
def test_a_short_number_fits_a_column(value: int) -> None:
    assert len(short(value)) <= 7


@pytest.mark.parametrize(("count", "text"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (1234, "1,234 tasks")])
def test_a_count_agrees_with_its_noun(count: int, text: str) -> None:
    assert many(count, "task") == text


def test_times_are_utc() -> None:
    assert (clock(1_800_000_000.0), date_time(1_800_000_000.0)) == ("08:00:00", "2027-01-15 08:00:00")


@pytest.mark.parametrize("at", [-1e30, -1.0, LAST_SECOND + 1, 1e30])
def test_a_time_outside_the_calendar_becomes_the_nearest_inside(at: float) -> None:
    assert date_time(at) in ("1970-01-01 00:00:00", "9999-12-31 23:59:59")


def test_bars_are_relative_to_the_largest() -> None:
    assert spark([0.0, 1.0, 2.0, 4.0], 10) == BARS[0] + BARS[2] + BARS[4] + BARS[7]


def test_bars_are_those_of_the_last_values() -> None:
    assert spark([9.0, 1.0, 1.0], 2) == BARS[7] * 2


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [-1.0]])
def test_values_without_a_positive_one_are_flat(values: list[float]) -> None:
    assert spark(values, 10) == BARS[0] * len(values)


def test_no_width_has_no_bars() -> None:
    assert spark([1.0], 0) == ""


@given(st.text(max_size=50), st.integers(2, 40))
def test_a_text_from_a_log_is_one_printable_line_of_bounded_length(text: str, longest: int) -> None:
    shown = plain(text, longest)
    assert shown.isprintable()
    assert all(unicodedata.bidirectional(letter) not in ("RLO", "LRO", "RLI", "LRI", "FSI") for letter in shown)
    assert len(plain(text.replace("\x00", ""), longest)) <= longest * len("\\u10ffff")


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=20))
def test_a_printable_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_line_breaks_become_spaces_and_controls_are_visible() -> None:
    assert plain("a\nb\tc\rd\x1b[2J\u202ee") == "a b c d\\u001b[2J\\u202ee"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_document_shows_no_character_on_which_a_terminal_acts_and_means_the_same(text: str) -> None:
    document = visible(json.dumps([text], ensure_ascii=False))
    assert json.loads(document) == [text]
    assert not {unicodedata.category(letter) for letter in document} & {"Cc", "Zl", "Zp"}
    assert all(unicodedata.bidirectional(letter) not in ("RLO", "LRO", "RLI", "LRI", "FSI") for letter in document)


def test_an_ordinary_document_stays_as_it_is() -> None:
    document = '{\n  "name": "Žofie Ω 🙂\\n"\n}'
    assert visible(document) == document


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert plain("x" * 301) == "x" * 299 + "…"
