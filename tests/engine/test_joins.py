"""Arrivals that are kept, by the engine: what is kept, what settles when, and what counts as in flight."""

from __future__ import annotations

from math import inf

import pytest

from processor.engine import joins as module
from processor.engine.assignment import Assignment
from processor.engine.joins import Doubtful, Due, Identity, Joins, KeptRecord, Marker, Standing, missing_ids
from processor.engine.ledger import Ledger, Loan
from processor.engine.offsets import Progress, Range
from processor.engine.outbox import Cut, Staged, unsettling
from processor.engine.record import Headers
from processor.engine.stock import Usage
from processor.engine.terms import Terms
from processor.handlers.exceptions import Expired
from tests.engine.record import FakeRecord

JOIN: Identity = ("7/then", "t-0-1")
HEADERS: Headers = [("task-join", b"the same in all"), ("task-arrival", b"0"), ("empty", None)]
REFUSED = (Expired, "too late")


def terms_of(headers: Headers) -> Terms | None:
    return Terms(linked=True, arrives=True) if headers else None


def record(offset: int, key: bytes | None = b"7/then", value: bytes = b"{}") -> FakeRecord:
    return FakeRecord(offset, key, value, [*HEADERS, ("n", b"%d" % offset)])


def assignment_of(*records: FakeRecord) -> Assignment[int]:
    assignment: Assignment[int] = Assignment(terms_of)
    assignment.assign(0, 0)
    if records:
        assignment.admit(0, records, 0.0)
    return assignment


def lend(assignment: Assignment[int], limit: int = 1) -> Loan:
    (loan,) = assignment.lend(limit)
    return loan


def state(assignment: Assignment[int]) -> tuple[int, int, int, int | None]:
    """Return how many tasks are in flight, waiting and lent, and the commit point."""
    point = assignment.ledgers[0].offsets.commit_point
    return assignment.in_flight, assignment.waiting, assignment.lent_loans, point


def test_an_arrival_is_kept_out_of_its_lane_and_does_not_count_as_in_flight() -> None:
    assignment = assignment_of(record(0), record(1))
    assert assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 5.0) == (Standing.KEPT, 0)
    assert state(assignment) == (1, 1, 0, 0)
    assert assignment.arrive(lend(assignment), Due(JOIN, 3, 1), 5.0) == (Standing.KEPT, 0)
    assert state(assignment) == (0, 0, 0, 0)
    ledger = assignment.ledgers[0]
    size = sum(ledger.offsets.size_of([offset]) for offset in (0, 1))
    assert (ledger.kept.tasks, ledger.kept.bytes) == (2, size)
    snapshot = ledger.snapshot(6.0)
    assert (snapshot.in_flight, snapshot.in_flight_bytes, snapshot.sessions) == (0, 0, 0)
    assert ledger.terms == {}


def test_the_last_arrival_settles_with_all_others() -> None:
    assignment = assignment_of(record(0), record(1), record(2))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    loan = lend(assignment)
    assert assignment.arrive(loan, Due(JOIN, 2, 1), 0.0) == (Standing.LAST, 0)
    assert state(assignment) == (2, 1, 1, 0)
    loan.done = 1
    assert assignment.release(loan) == 2
    assert state(assignment) == (1, 1, 0, 2)
    assert assignment.ledgers[0].kept.tasks == 0
    assert assignment.ledgers[0].done == 2


def test_a_loan_that_settles_and_stays_lent_takes_the_other_arrivals_along() -> None:
    assignment = assignment_of(record(0), record(1))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    loan = lend(assignment)
    assignment.arrive(loan, Due(JOIN, 2, 1), 0.0)
    assert assignment.settle(loan) == 0
    loan.done = 1
    assert assignment.settle(loan) == 2
    assert state(assignment) == (0, 0, 1, 2)


def test_a_last_arrival_that_comes_back_undone_leaves_the_others_kept() -> None:
    assignment = assignment_of(record(0), record(1))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0, expires=1.0), 0.0)
    loan = lend(assignment)
    assignment.arrive(loan, Due(JOIN, 2, 1, expires=1.0), 0.0)
    assert assignment.release(loan) == 0
    assert state(assignment) == (1, 1, 0, 0)
    ledger = assignment.ledgers[0]
    assert ledger.joins is not None
    assert ledger.joins.expired(9.0, 9) == []  # it is ending
    assert assignment.arrive(lend(assignment), Due(JOIN, 2, 1), 0.0)[0] is Standing.LAST


def test_a_join_of_one_branch_is_complete_with_it() -> None:
    assignment = assignment_of(record(0))
    loan = lend(assignment)
    assert assignment.arrive(loan, Due(JOIN, 1, 0), 0.0) == (Standing.LAST, 0)
    loan.done = 1
    assert assignment.release(loan) == 1
    assert state(assignment) == (0, 0, 0, 1)


def test_a_repeated_arrival_settles_alone() -> None:
    assignment = assignment_of(record(0), record(1))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    assert assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0) == (Standing.REPEATED, 1)
    assert state(assignment) == (0, 0, 0, 0)
    assert assignment.ledgers[0].kept.tasks == 1


def test_another_run_of_the_same_group_is_another_join() -> None:
    assignment = assignment_of(record(0), record(1))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    assert assignment.arrive(lend(assignment), Due((JOIN[0], "t-0-2"), 2, 1), 0.0)[0] is Standing.KEPT


def test_tasks_before_an_arrival_in_its_lane_settle_first() -> None:
    """A session's key may equal the ID of a join."""
    assignment = assignment_of(FakeRecord(0, b"7/then"), record(1), FakeRecord(2, b"7/then"))
    loan = lend(assignment, 3)
    loan.done = 1
    assert assignment.arrive(loan, Due(JOIN, 2, 0), 0.0) == (Standing.KEPT, 1)
    assert state(assignment) == (1, 1, 0, 1)
    assert [each.offset() for each in lend(assignment, 3).records] == [2]


def test_an_arrival_after_its_join_is_complete_is_repeated() -> None:
    assignment = assignment_of(record(0), record(1), record(2))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    loan = lend(assignment)
    assignment.arrive(loan, Due(JOIN, 2, 1), 0.0)
    loan.done = 1
    assignment.release(loan)
    assert assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0) == (Standing.REPEATED, 1)
    assert state(assignment) == (0, 0, 0, 3)


def test_a_join_from_which_nothing_follows_may_be_replayed() -> None:
    joins = Joins()
    joins.fail(JOIN)
    assert joins.complete(JOIN) == []
    assert joins.arrive(Due(JOIN, 2, 0), record(0), 1, 0.0) is Standing.KEPT


def test_as_many_complete_joins_are_remembered_as_there_is_room_for() -> None:
    joins = Joins()
    for number in range(module.MOST_RECENT + 1):
        joins.complete(("j", str(number)))
    assert joins.arrive(Due(("j", "0"), 2, 0), record(0), 1, 0.0) is Standing.KEPT
    assert joins.arrive(Due(("j", "1"), 2, 0), record(1), 1, 0.0) is Standing.REPEATED


def test_a_marker_is_kept_until_it_is_settled_and_what_arrives_meanwhile_is_repeated() -> None:
    assignment = assignment_of(record(0), record(1), record(2))
    assert assignment.mark(lend(assignment), JOIN, {"t": {0: [1]}}, 3.0) == 0
    assert state(assignment) == (2, 2, 0, 0)
    assert assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)[0] is Standing.REPEATED
    assert assignment.mark(lend(assignment), JOIN, {}, 3.0) == 1  # of a second marker, the first one counts
    ledger = assignment.ledgers[0]
    assert ledger.joins is not None
    assert ledger.joins.markers[JOIN].path == {"t": {0: [1]}}
    assert state(assignment) == (0, 0, 0, 0)
    assert ledger.unmark([JOIN, ("other", "")]) == 1
    assert (state(assignment), ledger.kept.tasks, ledger.kept.bytes) == ((0, 0, 0, 3), 0, 0)
    assert ledger.unmark([JOIN]) == 0


def test_a_marker_settles_arrivals_that_came_again_without_the_others() -> None:
    """As after a crash between the commits of two arrivals."""
    assignment = assignment_of(record(0), record(1))
    assignment.arrive(lend(assignment), Due(JOIN, 3, 2), 0.0)
    assert assignment.mark(lend(assignment), JOIN, {}, 0.0) == 1
    assert state(assignment) == (0, 0, 0, 1)


def test_a_join_that_is_refused_puts_its_arrivals_back_into_their_lane() -> None:
    assignment = assignment_of(record(0), record(1), record(2))
    for branch in (0, 1):
        assignment.arrive(lend(assignment), Due(JOIN, 3, branch), 0.0)
    assert state(assignment) == (1, 1, 0, 0)
    ledger = assignment.ledgers[0]
    assignment.refuse(ledger, JOIN, REFUSED)
    assert state(assignment) == (3, 3, 0, 0)
    assert {offset: (terms.followed, terms.refusal) for offset, terms in ledger.terms.items() if terms.refusal} == {
        0: (True, REFUSED), 1: (False, REFUSED)
    }  # fmt: skip
    loan = lend(assignment, 9)
    assert [each.offset() for each in loan.records] == [2, 0, 1]
    loan.done = 3
    assert assignment.release(loan) == 3
    assert state(assignment) == (0, 0, 0, 3)
    assert ledger.terms == {}


def test_a_refused_join_without_a_lane_gets_one() -> None:
    assignment = assignment_of(record(0), record(1))
    for branch in (0, 1):
        assignment.arrive(lend(assignment), Due(JOIN, 3, branch), 0.0)
    ledger = assignment.ledgers[0]
    assert not ledger.lanes.has_lane(b"7/then")
    assignment.refuse(ledger, JOIN, REFUSED)
    assert ledger.lanes.has_lane(b"7/then")
    assert state(assignment) == (2, 2, 0, 0)
    assert [each.offset() for each in lend(assignment, 9).records] == [0, 1]


def test_what_is_refused_counts_as_delayed_where_its_lane_is() -> None:
    def delayed_terms(headers: Headers) -> Terms | None:
        return Terms(not_before=50.0) if dict(headers).get("later") else terms_of(headers)

    assignment: Assignment[int] = Assignment(delayed_terms)
    assignment.assign(0, 0)
    assignment.admit(0, [record(0)], 0.0)
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    assignment.admit(0, [FakeRecord(1, b"7/then", b"", [("later", b"1")])], 0.0)
    assert assignment.lend(9, None, 10.0) == []
    ledger = assignment.ledgers[0]
    assert ledger.lanes.is_delayed(b"7/then")
    assignment.refuse(ledger, JOIN, REFUSED)
    assert ledger.delayed_usage.tasks == 2
    assignment.wake(0.0, 60.0)
    assert ledger.delayed_usage.tasks == 0


@pytest.mark.parametrize("error", [REFUSED, None])
def test_arrivals_of_a_refused_join_are_not_set_aside_while_others_of_their_lane_are(
    error: tuple[type[Exception], str] | None,
) -> None:
    assignment = assignment_of(*[record(n) for n in range(20)])
    for branch in (0, 1):
        assignment.arrive(lend(assignment), Due(JOIN, 3, branch), 0.0)
    loan, ledger = lend(assignment), assignment.ledgers[0]
    assert assignment.make_room(0, Usage(32, 10**6), 100, 1.0) == 13
    assignment.refuse(ledger, JOIN, error)
    assert assignment.make_room(0, Usage(8, 10**6), 100, 1.0) == 0
    loan.done = 1
    assignment.release(loan)
    assert [each.offset() for each in lend(assignment, 9).records] == [3, 4, 5, 6, 0, 1]


def test_a_lane_whose_last_arrival_here_is_kept_waits_for_those_that_are_set_aside() -> None:
    records = [record(n) for n in range(20)]
    assignment, limits = assignment_of(*records), Usage(8, 10**6)
    loan, ledger = lend(assignment), assignment.ledgers[0]
    assignment.make_room(0, limits, 100, 1.0)
    assert assignment.arrive(loan, Due(JOIN, 3, 0), 0.0)[0] is Standing.KEPT
    assert assignment.arrive(lend(assignment, 9), Due(JOIN, 3, 1), 0.0)[0] is Standing.KEPT
    assert assignment.lend(9) == []
    (asked,) = assignment.ask(limits)
    assert assignment.read_again(ledger, [records[offset] for offset in asked.offsets])
    assert [each.offset() for each in lend(assignment, 9).records] == asked.offsets == [2, 3]


def test_arrivals_of_a_cancelled_join_are_set_aside_neither_behind_later_ones_nor_without_what_was_to_follow() -> None:
    assignment = assignment_of(*[record(n) for n in range(20)])
    for branch in range(10):
        assignment.arrive(lend(assignment), Due(JOIN, 11, branch), 0.0)
    loan, ledger = lend(assignment), assignment.ledgers[0]
    assignment.refuse(ledger, JOIN, None)  # behind the arrivals from 11 on, which wait for their turn
    assignment.make_room(0, Usage(8, 10**6), 100, 1.0)
    progress = ledger.progress()
    assert progress is not None
    assert (progress.commit_point, progress.settled_ranges()) == (0, [])
    assert ledger.terms[0].followed
    loan.done = 1
    assignment.release(loan)


def test_arrivals_of_a_refused_join_make_their_lane_ready_though_its_other_tasks_are_set_aside() -> None:
    assignment = assignment_of(*[record(n) for n in range(20)])
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    loan, ledger = lend(assignment), assignment.ledgers[0]
    assignment.make_room(0, Usage(8, 10**6), 100, 1.0)
    loan.done = 1
    assignment.release(loan)
    last = lend(assignment, 9)
    last.done = 1
    assignment.release(last)
    assert assignment.lend(9) == []
    assignment.refuse(ledger, JOIN, REFUSED)
    assert [each.offset() for each in lend(assignment, 9).records] == [0]


def test_a_partition_that_closes_forgets_what_is_kept() -> None:
    assignment = assignment_of(record(0), record(1))
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    assert [joins.tasks for _, joins in assignment.joining()] == [1]
    assert assignment.close(0) == 1
    assert (assignment.in_flight, assignment.waiting, list(assignment.joining())) == (0, 0, [])


def test_partitions_without_joins_have_none() -> None:
    assignment = assignment_of(record(0))
    assignment.assign(1, 0)
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    assert [ledger for ledger, _ in assignment.joining()] == [assignment.ledgers[0]]


def test_an_arrival_leaves_a_lane_of_which_more_is_set_aside() -> None:
    assignment = assignment_of(*(record(n) for n in range(9)), *(FakeRecord(n, b"7/then") for n in range(9, 400)))
    loan = lend(assignment)
    assert assignment.make_room(0, Usage(10, 10_000), 1000, 9.0) > 0
    ledger = assignment.ledgers[0]
    aside = assignment.set_aside
    assert assignment.arrive(loan, Due(JOIN, 3, 0), 0.0)[0] is Standing.KEPT
    assert (ledger.kept.tasks, assignment.set_aside) == (1, aside)
    assert assignment.in_flight == 399 - aside
    assert ledger.unkept_point(0.0) == 1
    assert ledger.lanes.has_lane(b"7/then")


def test_an_arrival_that_ends_in_a_draining_partition_is_kept() -> None:
    assignment = assignment_of(record(0), record(1))
    loan = lend(assignment)
    assignment.drain(0)
    assert assignment.arrive(loan, Due(JOIN, 3, 0), 0.0)[0] is Standing.KEPT
    assert (assignment.lend(9), list(assignment.joining())) == ([], [])
    assert assignment.in_flight == 1


def test_what_holds_the_commit_point_is_named_with_what_it_waits_for() -> None:
    assignment = assignment_of(record(0), record(1))
    ledger = assignment.ledgers[0]
    assignment.arrive(lend(assignment), Due(JOIN, 3, 1), 5.0)
    snapshot = ledger.snapshot(9.0)
    block = snapshot.head
    assert snapshot.open_joins == 1
    assert block is not None
    assert (block.record.offset(), block.place, block.since, block.loan) == (0, "joining", 5.0, None)
    assert block.setback is not None
    assert block.setback.error == "the join 7/then waits for 7/1, 7/3"
    assignment.mark(lend(assignment), JOIN, {}, 7.0)
    block = ledger.snapshot(9.0).head
    assert block is not None
    assert block.setback is not None
    assert (block.record.offset(), block.since) == (1, 7.0)
    assert "is complete, and waits until the group has committed" in block.setback.error


def test_a_head_that_is_neither_lent_nor_kept_is_not_mistaken_for_a_join() -> None:
    joins = Joins()
    joins.arrive(Due(JOIN, 3, 1), record(4), 1, 0.0)
    joins.mark(("other", ""), Marker(KeptRecord(record(5), 1), 0.0, {}))
    assert joins.holder_of(6) is None


def test_only_the_first_of_many_missing_branches_are_named() -> None:
    assert missing_ids("7/then", range(12)).endswith("7/9, 7/10 and 2 more")
    assert missing_ids("7/then", [4]) == "7/5"


def test_the_point_below_which_only_lasting_joins_are_open() -> None:
    assignment = assignment_of(record(0), record(1, b"8/then"), FakeRecord(2, b"s"), FakeRecord(3, b"u"))
    ledger = assignment.ledgers[0]
    assert ledger.unkept_point(0.0) == 0
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    assignment.arrive(lend(assignment), Due(("8/then", ""), 3, 0, expires=20.0), 0.0)
    assert (ledger.unkept_point(10.0), ledger.unkept_point(30.0)) == (2, 1)
    first, second = assignment.lend(1), assignment.lend(1)
    assignment.stage(first[0], "output", 1)
    second[0].done = 1
    assignment.release(second[0])
    assert ledger.unkept_point(10.0) == 2  # what is staged is not committed
    ledger.committed([2])
    assert ledger.unkept_point(10.0) == 4


def test_joins_expire_in_turn_and_a_late_one_not_before_it_may() -> None:
    joins = Joins()
    for offset, (run, expires, not_before) in enumerate(
        [("a", 30.0, -inf), ("b", 10.0, -inf), ("c", 5.0, 40.0), ("d", inf, 1.0)]
    ):
        joins.arrive(Due(("j", run), 3, 0, expires, not_before), record(offset), 1, 0.0)
    assert joins.next_expiry() == 10.0
    assert joins.expired(10.0, 9) == []
    assert joins.expired(35.0, 9) == [("j", "b"), ("j", "a")]
    assert (joins.expired(39.0, 9), joins.expired(41.0, 9), joins.next_expiry()) == ([], [("j", "c")], None)


def test_a_join_that_was_taken_and_waits_again_expires_once_and_hides_no_other() -> None:
    joins = Joins()
    for offset, run in enumerate("aab"):
        joins.take(("j", run))
        joins.arrive(Due(("j", run), 3, 0, 10.0), record(offset), 1, 0.0)
    assert joins.expired(20.0, 9) == [("j", "a"), ("j", "b")]


def test_times_of_joins_that_are_complete_are_forgotten() -> None:
    joins = Joins()
    for number in range(3 * module.SPARE_EXPIRIES):
        joins.arrive(Due(("j", str(number)), 2, 0, 9.0), record(number), 1, 0.0)
        joins.complete(("j", str(number)))
    assert len(joins._expiries) <= module.SPARE_EXPIRIES + 1
    assert joins.expired(99.0, 9) == []


def test_data_that_is_equal_in_all_arrivals_is_stored_once() -> None:
    joins = Joins()
    for offset in (0, 1):
        given = FakeRecord(
            offset, b"7/then", b"v", [("task-join", bytes(bytearray(b"the same"))), ("n", b"%d" % offset)]
        )
        joins.arrive(Due(JOIN, 3, offset), given, 1, 0.0)
    first, second = joins.arrivals(JOIN).values()
    assert (first.headers() or [])[0][1] is (second.headers() or [])[0][1]
    assert first.key() is second.key()
    assert second.headers() == [("task-join", b"the same"), ("n", b"1")]
    place = (second.topic(), second.partition(), second.offset(), second.timestamp(), second.error(), second.value())
    assert place == ("t", 0, 1, (1, 0), None, b"v")


# --- exactly-once: one commit has all of a join, or nothing ---------------------------------------------


def test_a_join_is_staged_with_all_its_arrivals() -> None:
    assignment = assignment_of(record(0), record(1), record(2))
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    loan = lend(assignment)
    assignment.arrive(loan, Due(JOIN, 2, 1), 0.0)
    assert assignment.stage(loan, "what follows", 1) == 2
    ledger = assignment.ledgers[0]
    assert (ledger.offsets.commit_point, ledger.secured_point) == (2, 0)
    ledger.outbox.refuse(1, 5.0)
    cut = ledger.cut(0.0)
    assert cut is not None
    assert (cut.outputs, cut.progress.commit_point) == ([], 0)
    assert list(cut.progress.unsettled) == [0, 1, 2]


def test_a_commit_without_room_for_a_join_has_none_of_its_arrivals() -> None:
    joined = Staged(8, b"7/then", "what follows", 1, (0, 4))
    plain = Staged(2, b"s", "result", 1)
    cut = Cut(Progress(1, (1, 3, 5, 7), 9, ()), [plain, joined])
    assert cut.parted([(2, 3), (4, 5)]) == {0, 4}
    assert cut.parted([(2, 3), (4, 5), (6, 7), (8, 9)]) == set()
    without = cut.without({4})
    assert without.outputs == [plain]
    assert (without.progress.commit_point, list(without.progress.unsettled)) == (0, [0, 1, 3, 4, 5, 7, 8])
    assert without.parted([(2, 3)]) == set()


def test_progress_has_the_offset_below_which_only_arrivals_are_unsettled() -> None:
    assignment = assignment_of(record(0), record(1), FakeRecord(2, b"s"), record(3, b"9/then"))
    ledger = assignment.ledgers[0]
    assert kept_until(ledger) is None
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    assert kept_until(ledger) == 1
    task = lend(assignment)
    assert task.records[0].offset() == 2
    before = ledger.stamp
    assignment.arrive(lend(assignment), Due(("9/then", ""), 2, 0), 0.0)
    assignment.arrive(lend(assignment), Due(JOIN, 3, 1), 0.0)
    assert ledger.stamp != before
    assert kept_until(ledger) == 2
    task.done = 1
    assignment.release(task)
    assert kept_until(ledger) == 4
    assert ledger.unkept_point(0.0) == 4
    ledger.transition("close")
    assert ledger.progress() is None


def kept_until(ledger: Ledger) -> int | None:
    progress = ledger.progress()
    assert progress is not None
    return progress.kept_until


def test_what_is_withheld_counts_as_neither_settled_nor_kept() -> None:
    progress = Progress(2, (2,), 9, (), kept_until=9)
    assert unsettling(progress, {5, 7}, {5, 7}) == Progress(2, (2, 5, 7), 9, (), kept_until=5)


def test_tasks_that_a_commit_has_noted_as_settled_are_skipped_and_records_of_joins_are_not() -> None:
    assignment: Assignment[int] = Assignment(terms_of)
    ledger = assignment.assign(0, 2, [(3, 4)], kept_until=6)
    arrival: Headers = [("task-arrival", b"")]
    log = [FakeRecord(2, b"7/then", b"", arrival), *(FakeRecord(n, b"s") for n in (3, 4))]
    assert assignment.admit(0, log, 0.0) == 1
    assert (ledger.offsets.position, ledger.skipped) == (5, 2)
    assert kept_until(ledger) == 6
    assert assignment.admit(0, [FakeRecord(n, b"s") for n in (5, 6, 7)], 0.0) == 2
    assert (ledger.offsets.position, ledger.skipped) == (8, 3)
    assert [loan.records[0].offset() for loan in assignment.lend(9)] == [2, 6]
    assert kept_until(ledger) == 6


@pytest.mark.parametrize(
    ("settled", "kept_until", "jump", "missed"),
    [
        ([], None, 9, [(2, 9)]),
        ([], 2, 9, [(2, 9)]),
        ([], 6, 9, [(2, 3), (6, 9)]),
        ([], 6, 5, [(2, 3)]),
        ([(3, 4)], 6, 9, [(2, 3), (6, 9)]),
        ([(3, 4), (5, 6)], 8, 9, [(2, 3), (4, 5), (8, 9)]),
        ([(3, 4), (5, 6)], 8, 4, [(2, 3)]),
        ([(3, 4), (12, 14)], 8, 20, [(2, 3), (4, 12), (14, 20)]),
    ],
)
def test_offsets_behind_a_cut_skip_map_whose_tasks_a_commit_has_noted_as_settled_are_not_missed(
    settled: list[Range], kept_until: int | None, jump: int, missed: list[Range]
) -> None:
    """The record at the committed offset, 2, belongs to a join and is unsettled. The map lists all that is settled."""
    assert Assignment[int](terms_of).assign(0, 2, settled, kept_until).missed_below(jump) == missed


def test_noted_offsets_that_were_delivered_are_not_missed() -> None:
    assignment: Assignment[int] = Assignment(terms_of)
    ledger = assignment.assign(0, 2, [], kept_until=6)
    assignment.admit(0, [FakeRecord(2, b"7/then", b"", [("task-arrival", b"")]), FakeRecord(3, b"s")], 0.0)
    assert ledger.missed_below(9) == [(6, 9)]
    assert Assignment[int](terms_of).assign(0, None, [], kept_until=6).missed_below(9) == []


def test_what_a_commit_may_have_noted_is_not_taken_back_when_a_join_expires() -> None:
    assignment = assignment_of(record(0), FakeRecord(1, b"s"))
    ledger = assignment.ledgers[0]
    assignment.arrive(lend(assignment), Due(JOIN, 2, 0), 0.0)
    task = lend(assignment)
    task.done = 1
    assignment.release(task)
    assert kept_until(ledger) == 2
    assignment.refuse(ledger, JOIN, (TimeoutError, "expired"))
    assert kept_until(ledger) == 2


def test_a_staged_record_of_a_join_is_distinguished_from_a_task() -> None:
    assignment: Assignment[int] = Assignment(terms_of)
    assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(0, b"g", b"", [("task-arrival", b"")]), FakeRecord(1, b"s")], 0.0)
    loans = sorted(assignment.lend(9), key=lambda loan: loan.records[0].offset())
    for loan in loans:
        assignment.stage(loan, "output", 1)
    cut = assignment.ledgers[0].cut(0.0)
    assert cut is not None
    assert [(staged.offset, staged.arrives) for staged in cut.outputs] == [(0, True), (1, False)]


def test_only_so_many_joins_are_given_up_at_once() -> None:
    joins = Joins()
    for number in range(5):
        joins.arrive(Due((f"{number}/then", ""), 2, 0, expires=number), record(number), 1, 0.0)
    assert joins.expired(9.0, 3) == [(f"{number}/then", "") for number in range(3)]
    assert joins.expired(9.0, 3) == [(f"{number}/then", "") for number in (3, 4)]


def test_a_join_is_doubtful_that_began_before_its_partition_was_assigned_until_it_is_complete() -> None:
    joins = Joins(assigned_at=10)
    runs = [("a", "t-0-9"), ("b", "t-0-10"), ("c", "u-0-9"), ("d", "elsewhere"), ("e", "t-0-8"), ("f", "t-0-7")]
    for number, identity in enumerate(runs):
        joins.arrive(Due(identity, 3, 0), record(20 + number), 1, float(number))
    joins.arrive(Due(runs[0], 3, 1), record(30), 1, 9.0)
    joins.complete(runs[4])
    assert joins.take_doubtful(0.0) == [Doubtful(("a", "t-0-9"), 0.0, 9, 20)]
    assert joins.take_doubtful(9.0) == [Doubtful(("f", "t-0-7"), 5.0, 7, 25)]
    assert joins.take_doubtful(9.0) == []


def test_arrivals_at_a_join_that_was_complete_before_settle_and_later_ones_are_repeated() -> None:
    assignment = assignment_of(record(0), record(1), record(2))
    assignment.arrive(lend(assignment), Due(JOIN, 3, 0), 0.0)
    ledger = assignment.ledgers[0]
    assert ledger.settle_complete([("8/then", ""), JOIN]) == 1
    assert state(assignment) == (2, 2, 0, 1)
    assert assignment.arrive(lend(assignment), Due(JOIN, 3, 1), 0.0)[0] is Standing.REPEATED


def test_the_join_of_an_arrival_is_found_behind_others() -> None:
    joins = Joins()
    for offset, (identity, branch) in enumerate([(JOIN, 0), (JOIN, 1), (("8/then", ""), 0)]):
        joins.arrive(Due(identity, 3, branch), record(offset), 1, float(offset))
    found = joins.holder_of(2)
    assert found is not None
    assert (found[0], found[1].offset(), found[2]) == (("8/then", ""), 2, 2.0)
