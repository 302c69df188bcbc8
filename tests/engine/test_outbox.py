"""The outbox of a partition, by examples. `test_outbox_machine` tests every order of events."""

from __future__ import annotations

from processor.engine.assignment import Assignment
from processor.engine.ledger import Ledger, Loan
from processor.engine.offsets import Progress
from processor.engine.outbox import Cut, Outbox, Staged, unsettling
from tests.engine.record import FakeRecord


def staged(offset: int, session: bytes | None = b"s") -> Staged:
    return Staged(offset, session, f"output of {offset}", 10)


def outbox_of(*outputs: Staged) -> Outbox:
    outbox = Outbox()
    for output in outputs:
        outbox.put(output)
    return outbox


def offsets_of(outputs: list[Staged]) -> list[int]:
    return [output.offset for output in outputs]


def test_outputs_leave_in_the_order_of_settlement_and_stay_until_they_are_committed() -> None:
    outbox = outbox_of(staged(5, b"a"), staged(2, b"b"))
    assert (len(outbox), outbox.bytes, outbox.oldest) == (2, 20, 2)
    content = outbox.content(0.0)
    assert content == ([staged(5, b"a"), staged(2, b"b")], set())
    assert outbox.content(0.0) == content
    assert outbox.commit([5]) == ["output of 5"]
    assert (len(outbox), outbox.bytes, outbox.oldest) == (1, 10, 2)
    assert outbox.commit([2]) == ["output of 2"]
    assert (len(outbox), outbox.bytes, outbox.oldest) == (0, 0, None)


def test_a_refused_output_withholds_the_later_ones_of_its_session_and_no_other_until_it_is_due() -> None:
    outbox = outbox_of(staged(1), staged(2), staged(3, b"other"), staged(4), staged(5, None))
    outbox.refuse(2, due=10.0)
    outputs, withheld = outbox.content(9.9)
    assert (offsets_of(outputs), withheld) == ([1, 3, 5], {2, 4})
    outputs, withheld = outbox.content(10.0)
    assert (offsets_of(outputs), withheld) == ([1, 2, 3, 4, 5], set())


def test_a_refused_output_without_a_session_withholds_itself_alone() -> None:
    outbox = outbox_of(staged(1, None), staged(2, None))
    outbox.refuse(1, due=10.0)
    outputs, withheld = outbox.content(0.0)
    assert (offsets_of(outputs), withheld) == ([2], {1})


def test_a_refusal_is_forgotten_with_its_output_and_one_of_a_committed_output_is_ignored() -> None:
    outbox = outbox_of(staged(1))
    outbox.refuse(1, due=10.0)
    outbox.commit([1])
    outbox.refuse(1, due=10.0)
    outbox.put(staged(1))
    assert outbox.content(0.0) == ([staged(1)], set())


def test_withheld_tasks_count_as_unsettled() -> None:
    progress = Progress(4, (4, 7), 9, ())
    assert unsettling(progress, set(), ()) is progress
    assert unsettling(progress, {2, 5}, {2, 5}) == Progress(2, (2, 4, 5, 7), 9, ())
    assert unsettling(Progress(9, (), 9, ()), {8}, {8}) == Progress(8, (8,), 9, ())


def test_a_skip_map_without_room_for_all_keeps_back_the_outputs_that_it_does_not_cover() -> None:
    cut = Cut(Progress(1, (1, 3, 5), 7, ()), [staged(0), staged(6), staged(2), staged(4)])
    assert offsets_of(cut.covered([(2, 3), (4, 5), (6, 7)])) == [0, 6, 2, 4]
    assert offsets_of(cut.covered([(2, 3), (6, 7)])) == [0, 6, 2]
    assert offsets_of(cut.covered([(2, 5)])) == [0, 2, 4]
    assert offsets_of(cut.covered([])) == [0]


def test_a_note_covers_tasks_for_which_a_skip_map_has_no_room_and_no_records_of_joins() -> None:
    joined = staged(4)._replace(others=(2,), arrives=True)
    cut = Cut(Progress(1, (1, 3, 5), 9, (), (), 7), [staged(0), staged(6), joined, staged(8)])
    assert offsets_of(cut.covered([])) == [0, 6]
    assert offsets_of(cut.covered([(2, 3), (4, 5)])) == [0, 6, 4]
    assert offsets_of(cut.covered([(2, 3), (4, 5), (8, 9)])) == [0, 6, 4, 8]


def test_what_is_withheld_of_a_join_ends_no_note_about_tasks() -> None:
    outbox = outbox_of(staged(4)._replace(others=(2,), arrives=True), staged(6), staged(8))
    assert outbox.tasks_in({2, 4, 6}) == {6}
    noting = Progress(9, (), 9, (), (), 9)
    assert unsettling(noting, {2, 4}, outbox.tasks_in({2, 4})) == Progress(2, (2, 4), 9, (), (), 9)
    assert unsettling(noting, {4, 6}, outbox.tasks_in({4, 6})) == Progress(4, (4, 6), 9, (), (), 6)
    beyond = Progress(5, (), 5, (), (), 20)  # noted before the assignment, and not delivered yet
    assert unsettling(beyond, {4}, ()).kept_until == 20


def lent(count: int) -> tuple[Assignment[int], Ledger, list[Loan]]:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(offset, b"s%d" % offset) for offset in range(count)], 0.0)
    return assignment, ledger, assignment.lend(count)


def test_a_task_settles_and_its_output_is_staged_in_one_step() -> None:
    assignment, ledger, (first, second) = lent(2)
    assert assignment.stage(second, "result", 10) == 1
    cut = ledger.cut(0.0)
    assert cut == Cut(Progress(0, (0,), 2, ()), [Staged(1, b"s1", "result", 10)])
    assert (ledger.secured_point, assignment.in_flight, assignment.lent_loans) == (0, 1, 1)
    assert assignment.stage(first, "letter", 10, release=False) == 1
    assert (ledger.offsets.commit_point, ledger.secured_point, assignment.lent_loans) == (2, 0, 1)
    assert ledger.committed([1, 0]) == ["result", "letter"]
    assert ledger.secured_point == 2


def test_the_outputs_of_a_partition_that_is_given_up_are_dropped() -> None:
    assignment, ledger, (first, second) = lent(2)
    assignment.stage(first, "result", 10)
    assignment.close(0)
    assert (ledger.cut(0.0), ledger.committed([0])) == (None, [])
    assignment.stage(second, "late", 10)
    assert len(ledger.outbox) == 1
    successor = assignment.assign(0, 0)
    assert successor.cut(0.0) == Cut(Progress(0, (), 0, ()), [])


def test_no_task_is_secured_before_the_first_delivery() -> None:
    ledger = Ledger(None)
    assert (ledger.secured_point, ledger.cut(0.0)) == (None, None)
