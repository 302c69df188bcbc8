"""The headers that set a task's terms: what can be read, and what is refused with one clear line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor import Expired, InvalidHeader
from processor.engine.record import Headers
from processor.engine.terms import Terms
from processor.handlers.terms import NAMES, check_begin, shown_time, terms_of

MOMENT = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)


def test_headers_without_terms_ask_for_nothing() -> None:
    assert terms_of([("trace", b"1"), ("task-id", b"7"), ("task-name", b"charge"), ("Task-Priority", b"9")]) is None


def test_the_priority_of_every_task_asks_for_nothing() -> None:
    assert terms_of([("task-priority", b"0")]) is None


@pytest.mark.parametrize(
    ("headers", "terms"),
    [
        ([("task-priority", b"9")], Terms(priority=9)),
        ([("task-not-before", b"1764405000123")], Terms(not_before=1764405000.123)),
        ([("task-not-before", b"2026-11-29T08:30:00Z")], Terms(not_before=MOMENT.timestamp())),
        ([("task-not-before", b"2026-11-29T10:30+02:00")], Terms(not_before=MOMENT.timestamp())),
        ([("task-expires", b"20261129T083000Z")], Terms(expires=MOMENT.timestamp())),
        ([("task-expires", b"0")], Terms(expires=0.0)),
        ([("task-priority", b"1"), ("trace", None), ("task-priority", b"2")], Terms(priority=2)),
        (
            [("task-expires", b"3000"), ("task-priority", b"4"), ("task-not-before", b"1500")],
            Terms(4, not_before=1.5, expires=3.0),
        ),
    ],
)
def test_terms_are_read(headers: Headers, terms: Terms) -> None:
    assert terms_of(headers) == terms


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("task-priority", b"10", "the header task-priority must be a digit from 0 to 9, not '10'"),
        ("task-priority", b"-1", "must be a digit from 0 to 9, not '-1'"),
        ("task-priority", b"", "must be a digit from 0 to 9, not ''"),
        ("task-priority", "٣".encode(), "must be a digit from 0 to 9"),
        ("task-priority", None, "the header task-priority has no value"),
        ("task-priority", b"\xff", r"the header task-priority is not UTF-8: b'\xff'"),
        ("task-not-before", b"soon", "must be epoch milliseconds or an ISO 8601 time, not 'soon'"),
        ("task-not-before", b"1" * 16, "must be epoch milliseconds or an ISO 8601 time"),
        ("task-not-before", b"-1", "must be epoch milliseconds or an ISO 8601 time, not '-1'"),
        ("task-not-before", b"2026-11-29T08:30:00", "has no time zone: '2026-11-29T08:30:00'; add Z or an offset"),
        ("task-expires", b"2026-11-29", "the header task-expires has no time zone"),
        ("task-expires", b"x" * 1000, "not '" + "x" * 40 + "'"),
    ],
)
def test_a_header_that_cannot_be_read_is_a_fault_and_no_guess(name: str, value: bytes | None, fault: str) -> None:
    terms = terms_of([("task-priority", b"9")] * (name != "task-priority") + [(name, value)])
    assert terms is not None
    assert fault in (terms.fault or "")
    assert terms._replace(fault=None) == Terms(), "its other terms are those of any task"
    with pytest.raises(InvalidHeader, match="the header task-"):
        check_begin(terms, 0.0)


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.binary() | st.none())))
def test_no_header_breaks_the_reading(headers: Headers) -> None:
    terms = terms_of(headers)
    assert terms is None or terms.fault is not None or 0 <= terms.priority <= 9


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 — the time zone is drawn below
    st.integers(-14 * 60, 14 * 60),
)
def test_every_iso_time_and_its_epoch_milliseconds_are_the_same(moment: datetime, minutes: int) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(minutes=minutes)))
    milliseconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    by_text, by_number = (
        terms_of([("task-expires", text.encode())]) for text in (moment.isoformat(), str(milliseconds))
    )
    assert by_text is not None
    assert by_number is not None
    assert by_text.expires == pytest.approx(by_number.expires, abs=1e-4)


def test_a_task_may_begin_until_it_expires_and_not_after() -> None:
    terms = Terms(expires=MOMENT.timestamp())
    check_begin(terms, MOMENT.timestamp())
    with pytest.raises(Expired) as caught:
        check_begin(terms, MOMENT.timestamp() + 0.001)
    assert str(caught.value) == "it had to begin by 2026-11-29T08:30:00.000Z, as its header task-expires says"


def test_a_time_that_no_calendar_has_is_shown_in_milliseconds() -> None:
    assert shown_time(999999999999.999) == "999999999999999"
    assert shown_time(inf) == "inf"
