"""Pauses: what they cover, and how a loan that is already lent is cut short."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from processor.engine.assignment import Assignment
from processor.engine.ledger import Loan
from processor.engine.pauses import ALL, Pause, Pauses, Target
from processor.engine.record import Record
from tests.engine.record import FakeRecord

PAUSE = Pause(1, "ann@host")


@pytest.mark.parametrize(
    ("target", "covered"),
    [
        (ALL, {("t:0", b"a"), ("t:0", None), ("t:1", b"a"), ("t:0", b"\xff")}),
        (Target("partition", "t:0"), {("t:0", b"a"), ("t:0", None), ("t:0", b"\xff")}),
        (Target("session", "a"), {("t:0", b"a"), ("t:1", b"a")}),
        (Target("session", r"\xff"), {("t:0", b"\xff")}),
        (Target("session", ""), set()),
        (Target("name", "a"), set()),
    ],
)
def test_a_pause_covers_what_it_names(target: Target, covered: set[tuple[str, bytes | None]]) -> None:
    pauses = Pauses()
    assert pauses.begin(target, PAUSE)
    lanes: list[tuple[str, bytes | None]] = [("t:0", b"a"), ("t:0", None), ("t:1", b"a"), ("t:0", b"\xff")]
    assert {lane for lane in lanes if pauses.of_lane(*lane) == PAUSE} == covered
    assert {name for name in ("a", "b") if pauses.of_name(name)} == ({"a"} if target.kind == "name" else set())


def test_a_pause_ends_once_and_a_second_one_replaces_its_author() -> None:
    pauses, later = Pauses(), Pause(2, "bob@host")
    assert pauses.begin(ALL, PAUSE)
    assert not pauses.begin(ALL, later)
    assert pauses.of_lane("t:0", None) == later
    assert pauses.end(ALL)
    assert not pauses.end(ALL)
    assert pauses.of_lane("t:0", None) is None


def lent(count: int) -> tuple[Assignment[int], Loan]:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(n, b"s") for n in range(count)], 0.0)
    (loan,) = assignment.lend(count)
    return assignment, loan


def offsets(records: list[Record]) -> list[int]:
    return [record.offset() for record in records]


def test_a_loan_that_is_cut_short_keeps_the_task_that_runs() -> None:
    assignment, loan = lent(5)
    loan.done = 2
    assignment.cut_short(loan)
    assert offsets(loan.records) == [0, 1, 2]
    assert (assignment.waiting, assignment.in_flight) == (2, 5)
    assignment.cut_short(loan)  # nothing is left to take
    loan.done = 3
    assert assignment.release(loan) == 3
    assert assignment.partition_of(loan.ledger) == 0
    (rest,) = assignment.lend(9)
    assert offsets(rest.records) == [3, 4]


class Interleaved(list[Record]):
    """The records of a loan whose borrower continues at the moment in which the desk removes some."""

    def __init__(self, records: list[Record], go_on: Callable[[], None]) -> None:
        super().__init__(records)
        self._go_on = go_on

    def __delitem__(self, key: object) -> None:
        self._go_on()
        super().__delitem__(key)  # type: ignore[arg-type]


def test_a_task_that_its_borrower_may_have_begun_is_not_taken_back() -> None:
    assignment, loan = lent(6)
    steps = iter([2, 0])

    def go_on() -> None:
        loan.done += next(steps)

    loan.records = Interleaved(loan.records, go_on)
    assignment.cut_short(loan)
    assert loan.done == 2
    assert offsets(loan.records) == [0, 1, 2]
    assert assignment.waiting == 3


def test_a_borrower_that_ends_its_loan_meanwhile_leaves_nothing_to_take() -> None:
    assignment, loan = lent(3)

    def go_on() -> None:
        loan.done = 3

    loan.records = Interleaved(loan.records, go_on)
    assignment.cut_short(loan)
    assert offsets(loan.records) == [0, 1, 2]
    assert assignment.waiting == 0
    assert assignment.release(loan) == 3


def test_a_loan_of_a_closed_ledger_gives_nothing_back() -> None:
    assignment, loan = lent(3)
    assignment.close(0)
    assignment.cut_short(loan)
    assert offsets(loan.records) == [0]
    assert assignment.waiting == 0
