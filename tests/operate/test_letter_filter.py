"""Which letters conditions and times match."""

from __future__ import annotations

import pytest

from processor.handlers.task import Identity
from processor.operate.letter_filter import FIELDS, LetterFilter, condition_fault, condition_of, value_of
from processor.operate.letter_reports import MOST_GROUPS, REST, Grouping
from processor.operate.letters import Letter
from tests.operate.dead_letter import letter

ONE = letter([("region", b"eu"), ("region", b"us")], message="payment 17 was declined")


def identify(_: Letter) -> Identity:
    return Identity("t-1", "anna", "charge", None)


def not_asked(_: Letter) -> Identity:
    raise AssertionError("no value has to be decoded for this condition")


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("error-type=builtins.ValueError", True),
        ("error-type=ValueError", True),
        ("error-type=Error", False),
        ("error-message=declined", True),
        ("error-message=accepted", False),
        ("name=charge", True),
        ("name=refund", False),
        ("session=anna", True),
        ("id=t-1", True),
        ("id=t-2", False),
        ("group=g", True),
        ("topic=t", True),
        ("partition=0", True),
        ("offset=7", True),
        ("offset=8", False),
        ("header.region=eu", True),
        ("header.region=us", True),
        ("header.region=asia", False),
        ("header.dlq-topic=t", False),
    ],
)
def test_a_condition(condition: str, matches: bool) -> None:
    assert condition_fault(condition) is None
    assert LetterFilter([condition_of(condition)]).matches(ONE, identify) is matches


def test_all_conditions_must_hold_and_none_match_everything() -> None:
    both = [condition_of("name=charge"), condition_of("session=ben")]
    assert not LetterFilter(both).matches(ONE, identify)
    assert LetterFilter().matches(ONE, not_asked)


def test_a_value_may_contain_an_equals_sign() -> None:
    assert condition_of("id=a=b").value == "a=b"


def test_only_conditions_about_the_task_need_its_value() -> None:
    conditions = [condition_of(text) for text in ("error-type=ValueError", "header.region=eu", "topic=t")]
    assert LetterFilter(conditions).matches(ONE, not_asked)


def test_times_compare_with_the_time_of_the_failure() -> None:
    at = ONE.failed_at
    assert LetterFilter(since=at, until=at + 1).matches(ONE, not_asked)
    assert not LetterFilter(since=at + 1).matches(ONE, not_asked)
    assert not LetterFilter(until=at).matches(ONE, not_asked)


@pytest.mark.parametrize("text", ["", "name", "colour=red", "header.=x", "=x"])
def test_an_invalid_condition_is_rejected(text: str) -> None:
    assert condition_fault(text) is not None


def test_every_field_has_a_value() -> None:
    assert all(value_of(field, ONE, identify) for field in FIELDS)


def test_groups_count_letters_and_show_the_latest() -> None:
    grouping = Grouping("error-type", 0.0)
    first, second = letter(offset=1, message="first"), letter(offset=2, message="second")
    second.failed_at = first.failed_at + 5
    for one in (second, first):
        grouping.note(one, not_asked)
    (group,) = grouping.groups()
    assert (group.value, group.letters, group.error, group.letter) == ("builtins.ValueError", 2, "second", "0:2")
    assert (group.first_failed_at, group.last_failed_at) == (first.failed_at, second.failed_at)


def test_groups_by_age() -> None:
    now, grouping = 1_795_946_400, Grouping("age", 1_795_946_400.0)
    for offset, hours in enumerate((0, 1, 2, 24, 25, 168, 169)):
        one = letter(offset=offset)
        one.failed_at = (now - hours * 3600) * 1000
        grouping.note(one, not_asked)
    counts = {group.value: group.letters for group in grouping.groups()}
    assert counts == {"last hour": 2, "last 24 hours": 2, "last 7 days": 2, "older": 1}


def test_groups_are_bounded() -> None:
    grouping = Grouping("offset", 0.0)  # type: ignore[arg-type]  # a field with many values
    for offset in range(MOST_GROUPS + 3):
        grouping.note(letter(offset=offset), not_asked)
    groups = grouping.groups()
    assert grouping.letters == MOST_GROUPS + 3
    assert len(groups) == MOST_GROUPS + 1
    assert (groups[0].value, groups[0].letters) == (REST, 3)
