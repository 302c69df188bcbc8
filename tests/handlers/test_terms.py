"""The headers that set a task's terms: what can be read, and what is refused with one clear line."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor import Expired, InvalidHeader
from processor.engine.record import Headers
from processor.engine.terms import Terms
from processor.handlers.links import MOST_SECONDS
from processor.handlers.terms import (
    NAMES,
    check_age,
    check_begin,
    headers_for_terms,
    shown_time,
    terms_of,
)
from processor.runtime.ports import Partition
from processor.testing.memory.cluster import MemoryRecord

MOMENT = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)


def test_headers_without_terms_have_no_terms() -> None:
    assert terms_of([("trace", b"1"), ("task-id", b"7"), ("task-name", b"charge"), ("Task-Priority", b"9")]) is None


def test_the_default_priority_has_no_terms() -> None:
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


def test_the_maximum_age_of_a_handler_limits_the_start_of_a_task_unless_a_header_has_the_expiry() -> None:
    produced = MOMENT.timestamp()
    record = MemoryRecord(Partition("t", 0), 0, None, None, timestamp=round(produced * 1000))
    check_age(record, 60.0, None, produced + 60.0)
    check_age(record, 60.0, Terms(priority=3), produced + 60.0)
    with pytest.raises(Expired) as caught:
        check_age(record, 60.0, Terms(priority=3), produced + 60.1)
    assert str(caught.value) == "it had to begin within 60 s of its timestamp, 2026-11-29T08:30:00.000Z"
    check_age(record, 60.0, Terms(expires=produced + 3600.0), produced + 600.0)


def test_a_record_without_a_timestamp_does_not_expire() -> None:
    class Timeless(MemoryRecord):
        def timestamp(self) -> tuple[int, int]:
            return 0, -1

    check_age(Timeless(Partition("t", 0), 0, None, None), 60.0, None, MOMENT.timestamp())


def test_a_time_that_no_calendar_has_is_shown_in_milliseconds() -> None:
    assert shown_time(999999999999.999) == "999999999999999"
    assert shown_time(inf) == "inf"


@given(
    st.integers(0, 9),
    st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 — see timezones
    st.none() | st.integers(0, 10**14),
)
def test_terms_round_trip_through_headers(priority: int, moment: datetime | None, expires: int | None) -> None:
    if moment is not None and expires is not None and expires < moment.timestamp() * 1000:
        expires = None
    terms = terms_of(headers_for_terms(priority, not_before=moment, expires=expires)) or Terms()
    assert (terms.fault, terms.priority) == (None, priority)
    assert terms.not_before == (-inf if moment is None else pytest.approx(moment.timestamp(), abs=0.001))
    assert terms.expires == (inf if expires is None else expires / 1000)


def test_seconds_from_now_are_epoch_milliseconds_in_the_header() -> None:
    before = time.time()
    ((name, value),) = headers_for_terms(delay=1.5)
    assert name == "task-not-before"
    assert before + 1.499 <= int(value or 0) / 1000 <= time.time() + 1.501


def test_the_longest_delay_can_be_read_again() -> None:
    terms = terms_of(headers_for_terms(delay=MOST_SECONDS))
    assert terms is not None
    assert terms.fault is None


@pytest.mark.parametrize("moment", [datetime(1969, 7, 20, tzinfo=UTC), "1969-07-20T20:17:00Z"])
def test_a_time_before_1970_is_a_time_that_has_passed(moment: datetime | str) -> None:
    assert terms_of(headers_for_terms(expires=moment)) == Terms(expires=0.0)


def test_the_terms_of_any_task_need_no_header() -> None:
    assert headers_for_terms() == []


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"priority": 10}, "priority must be an integer from 0 to 9, not 10"),
        ({"priority": -1}, "priority must be an integer from 0 to 9, not -1"),
        ({"priority": "9"}, "priority must be an integer from 0 to 9, not '9'"),
        ({"delay": -0.5}, "delay must be a number of seconds from 0 on, not -0.5"),
        ({"expires_in": inf}, "expires_in must be a number of seconds from 0 on, not inf"),
        ({"delay": float("nan")}, "delay must be a number of seconds from 0 on, not nan"),
        ({"delay": "5"}, "delay must be a number of seconds from 0 on, not '5'"),
        ({"expires_in": True}, "expires_in must be a number of seconds from 0 on, not True"),
        ({"delay": 1e300}, "delay must be at most 100,000,000,000 seconds, not 1e+300"),
        ({"expires_in": 10**400}, "expires_in must be at most 100,000,000,000 seconds, not 1000"),
        ({"delay": 1, "not_before": 1}, "either not_before or delay, not both"),
        ({"expires_in": 1, "expires": 1}, "either expires or expires_in, not both"),
        ({"not_before": "2026-11-29T08:30:00"}, "not_before has no time zone: '2026-11-29T08:30:00'; add Z"),
        ({"not_before": datetime(2026, 11, 29)}, "not_before has no time zone: 2026-11-29T00:00:00"),  # noqa: DTZ001 — the fault
        ({"expires": "tomorrow"}, "expires must be epoch milliseconds or an ISO 8601 time, not 'tomorrow'"),
        ({"expires": -1}, "expires must be epoch milliseconds or an ISO 8601 time, not '-1'"),
        ({"not_before": 2, "expires": 1}, "the task could never begin: it expires before its earliest start"),
    ],
)
def test_invalid_terms_are_one_line(terms: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        headers_for_terms(**terms)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
