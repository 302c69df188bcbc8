"""A session with very many tasks: what it may keep in flight, and how the rest comes back."""

from __future__ import annotations

from collections.abc import Iterable

from processor.engine.assignment import FULL_SECONDS, MOST_DELIVERING, OVERDUE_SECONDS, Assignment
from processor.engine.lane import LaneState
from processor.engine.ledger import Ledger, Loan
from processor.engine.overflow import kept_by_each, portion
from processor.engine.retry import Setback
from processor.engine.set_aside import FIRST_PORTION, MOST_PORTION
from processor.engine.stock import Usage
from tests.engine.record import FakeRecord
from tests.engine.test_delays import offsets, terms_of
from tests.engine.test_ledger_machine import terms_of as urgent_terms_of

LIMITS = Usage(32, 10**6)
"""A lane keeps four tasks."""

WIDER = Usage(64, 10**6)
"""Up to sixteen of one session are read again at once."""

FULL = Usage(10_000, 64 << 20)


class Log:
    """A partition with a hot session, and the offsets that are asked for."""

    def __init__(self, *records: FakeRecord, terms: object = terms_of) -> None:
        self.records = {record.offset(): record for record in records}
        self.assignment: Assignment[int] = Assignment(terms)  # type: ignore[arg-type]
        self.ledger: Ledger = self.assignment.assign(0, 0)
        self.admit(*records)

    def admit(self, *records: FakeRecord) -> None:
        self.records.update((record.offset(), record) for record in records)
        self.assignment.admit(0, records, 0.0)

    def lend(self, limit: int = 100) -> list[Loan]:
        return self.assignment.lend(limit, epoch=0.0)

    def make_room(self, most: int = 100) -> int:
        return self.assignment.make_room(0, LIMITS, most, FULL_SECONDS)

    def ask(self) -> list[int]:
        return [offset for _, _, asked in self.assignment.ask(WIDER) for offset in asked]

    def read_again(self, numbers: Iterable[int]) -> bool:
        return self.assignment.read_again(self.ledger, [self.records[number] for number in numbers])


def tasks(key: bytes, *numbers: int) -> list[FakeRecord]:
    return [FakeRecord(number, key, b"v") for number in numbers]


def end(assignment: Assignment[int], loan: Loan) -> None:
    loan.done = len(loan.records)
    assignment.release(loan)


def hot(*others: FakeRecord, count: int = 20) -> tuple[Log, Loan]:
    """A session whose first task is lent while many others wait; no other lane is ready."""
    log = Log(*tasks(b"hot", *range(count)), *others)
    loan, *_ = log.lend(1)
    while log.assignment.ready_lanes:
        log.lend(1)
    return log, loan


def test_a_long_lane_keeps_some_tasks_and_the_rest_is_not_in_flight() -> None:
    log, _ = hot()
    assert (log.assignment.in_flight, log.assignment.waiting) == (20, 19)
    assert log.make_room() == 15
    assert (log.assignment.in_flight, log.assignment.waiting, log.assignment.set_aside) == (5, 4, 15)
    snapshot = log.assignment.snapshot(1.0, 3)
    assert (snapshot.set_aside, snapshot.partitions[0].set_aside, snapshot.partitions[0].sessions_aside) == (15, 15, 1)
    assert snapshot.partitions[0].in_flight_bytes == log.ledger.offsets.bytes == 5 * len(b"hotv")
    assert [busy.waiting for busy in snapshot.busiest] == [19]
    head = snapshot.partitions[0].head
    assert head is not None
    assert head.session_waiting == 19


def test_what_comes_later_to_that_session_is_set_aside_at_once_and_what_comes_to_others_is_not() -> None:
    log, _ = hot()
    log.make_room()
    log.admit(*tasks(b"hot", 20), *tasks(b"b", 21), *tasks(b"hot", 22))
    log.admit(*tasks(b"hot", 23))
    assert log.assignment.set_aside == 18
    assert log.ledger.offsets.position == 24
    assert offsets(log.lend()) == [[21]]


def test_nothing_is_set_aside_while_another_lane_is_ready_or_nothing_has_waited_long() -> None:
    log = Log(*tasks(b"hot", *range(20)), *tasks(b"b", 20))
    log.lend(1)
    assert log.make_room() == 0
    log.lend(1)
    assert log.assignment.make_room(0, LIMITS, 100, FULL_SECONDS / 2) == 0
    assert log.assignment.make_room(1, LIMITS, 100, FULL_SECONDS) == 0
    assert log.make_room(most=0) == 0
    assert not log.assignment.has_set_aside
    assert log.make_room(most=7) == 7


def test_nothing_is_set_aside_while_many_lanes_wait_for_acknowledgements_that_are_not_overdue() -> None:
    log, _ = hot(*(FakeRecord(100 + number, b"s%d" % number, b"v") for number in range(MOST_DELIVERING)))
    assert len(log.ledger.lent) == MOST_DELIVERING + 1
    for loan in log.ledger.lent:
        loan.handed_over_at = FULL_SECONDS / 2
    assert log.make_room() == 0
    next(iter(log.ledger.lent)).handed_over_at = None
    assert log.make_room() == 15


def test_nothing_is_set_aside_while_many_lanes_wait_in_the_batches_of_workers() -> None:
    log, running = hot(*(FakeRecord(100 + number, b"s%d" % number, b"v") for number in range(MOST_DELIVERING + 1)))
    not_begun = log.ledger.lent - {running}
    assert log.assignment.make_room(0, LIMITS, 100, FULL_SECONDS, not_begun) == 0
    not_begun.pop()
    assert log.assignment.make_room(0, LIMITS, 100, FULL_SECONDS, not_begun) == 15


def test_acknowledgements_that_are_overdue_do_not_keep_tasks_from_being_set_aside() -> None:
    log, _ = hot(*(FakeRecord(100 + number, b"s%d" % number, b"v") for number in range(MOST_DELIVERING)))
    for loan in log.ledger.lent:
        loan.handed_over_at = FULL_SECONDS - OVERDUE_SECONDS
    assert log.make_room() == 15


def test_nothing_is_set_aside_where_no_lane_is_long() -> None:
    log = Log(*[FakeRecord(n, b"%d" % (n % 10)) for n in range(20)])
    while log.assignment.ready_lanes:
        log.lend(1)
    assert log.make_room() == 0
    assert not log.assignment.runs_low


def test_tasks_are_read_again_before_their_session_runs_out_of_them() -> None:
    log, loan = hot()
    log.make_room()
    assert log.assignment.runs_low
    assert log.ask() == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19][:16]
    assert log.ask() == []
    end(log.assignment, loan)
    (loan,) = log.lend()
    assert offsets([loan]) == [[1, 2, 3, 4]]
    assert log.read_again([5, 6])
    end(log.assignment, loan)
    assert offsets(log.lend()) == [[5, 6]]
    assert log.assignment.in_flight == 2


def test_a_session_without_a_task_here_waits_until_one_is_read_again() -> None:
    log, loan = hot()
    log.make_room()
    asked = log.ask()
    end(log.assignment, loan)
    (loan,) = log.lend()
    end(log.assignment, loan)
    assert log.lend() == []
    assert log.ledger.head() is None
    assert log.ledger.offsets.commit_point == 5
    assert log.read_again([4])
    assert log.assignment.set_aside == len(asked)
    assert log.read_again([4, *asked])
    assert log.assignment.set_aside == 0
    assert not log.assignment.runs_low
    assert offsets(log.lend()) == [asked]
    log.admit(*tasks(b"hot", 20))
    assert log.assignment.set_aside == 0


def test_a_session_that_ran_out_of_tasks_gets_more_the_next_time() -> None:
    log, loan = hot(count=3000)
    log.assignment.make_room(0, FULL, 3000, FULL_SECONDS)
    end(log.assignment, loan)
    for portions in (1, 2, 4):
        while loans := log.lend(4):
            for each in loans:
                end(log.assignment, each)
        ((_, _, asked),) = log.assignment.ask(FULL)
        assert len(asked) == portions * FIRST_PORTION
        log.read_again(asked)


def test_no_tasks_are_requested_for_a_session_that_still_has_many_in_memory() -> None:
    log, loan = hot(count=3000)
    log.assignment.make_room(0, FULL, 3000, FULL_SECONDS)
    assert not log.assignment.runs_low
    assert log.assignment.ask(FULL) == []
    end(log.assignment, loan)
    end(log.assignment, *log.lend(FIRST_PORTION // 4))
    assert not log.assignment.runs_low
    log.lend(FIRST_PORTION // 4)
    assert log.assignment.runs_low


def test_a_pass_takes_nothing_for_a_session_that_has_many_tasks_here() -> None:
    log = Log(*[FakeRecord(n, b"%d" % (n % 2)) for n in range(6000)])
    loans = [*log.lend(1), *log.lend(1)]
    log.assignment.make_room(0, FULL, 6000, FULL_SECONDS)
    (busy, other) = (loan.records[0].key() for loan in loans)
    assert busy != other
    end(log.assignment, loans[0])
    while not log.assignment.runs_low:
        (loan,) = log.lend(FIRST_PORTION // 4)
        end(log.assignment, loan)
    ((_, _, asked),) = log.assignment.ask(FULL)
    assert {log.records[offset].key() for offset in asked} == {busy}


def test_one_pass_serves_all_sessions_that_need_it() -> None:
    log = Log(*[FakeRecord(n, b"%d" % (n % 2)) for n in range(40)])
    while log.assignment.ready_lanes:
        log.lend(1)
    log.make_room()
    assert log.ask()[:4] == [10, 11, 12, 13]


def test_a_deleted_record_is_settled_as_missed() -> None:
    log, loan = hot()
    log.make_room()
    before = log.ledger.stamp
    asked = log.ask()
    end(log.assignment, loan)
    end(log.assignment, *log.lend())
    assert log.assignment.miss(log.ledger, [5, 6, 30], None) == [5, 6]
    assert log.ledger.offsets.commit_point == 7
    assert log.ledger.stamp != before
    assert log.assignment.miss(log.ledger, asked, None) == asked[2:]
    assert log.ledger.offsets.commit_point == 20
    assert len(log.ledger.lanes) == 0


def test_records_below_the_start_of_the_log_are_deleted_whether_requested_or_not() -> None:
    log, loan = hot(count=100)
    log.make_room()
    assert log.ask()[:3] == [5, 6, 7]
    assert log.assignment.miss(log.ledger, [], 90) == list(range(5, 90))
    assert log.assignment.set_aside == 10
    end(log.assignment, loan)
    end(log.assignment, *log.lend())
    assert log.assignment.runs_low
    assert log.ask() == list(range(90, 100))


def test_a_ledger_that_drains_or_is_closed_takes_nothing_back() -> None:
    log, _ = hot()
    log.make_room()
    asked = log.ask()
    log.assignment.drain(0)
    assert not log.read_again(asked)
    assert log.assignment.miss(log.ledger, asked, 10) == []
    assert log.ask() == []
    assert log.make_room() == 0
    assert log.assignment.close(0) == 19
    assert log.assignment.set_aside == 0


def test_an_urgent_task_that_is_set_aside_lifts_those_before_it() -> None:
    log = Log(*tasks(b"hot", *range(20)), terms=urgent_terms_of)
    (loan,) = log.lend(1)
    log.make_room()
    log.admit(
        FakeRecord(20, b"hot", b"", [("priority", b"9")]), FakeRecord(21, b"hot", b"", [("h", None)]), *tasks(b"b", 22)
    )
    loan.done = 1
    log.assignment.release(loan)
    assert log.assignment.snapshot(0.0, 0).urgent == 1
    assert offsets(log.lend(4)) == [[1, 2, 3, 4]]
    log.assignment.admit(0, tasks(b"b", 23), 0.0)
    log.read_again(log.ask())
    assert log.ledger.lanes.longest(1) == [(b"hot", 17)]


def test_terms_of_a_task_that_is_set_aside_bind_it_once_its_record_is_back() -> None:
    late = [FakeRecord(n, b"hot", b"v", [("due", b"100")]) for n in range(1, 20)]
    log = Log(FakeRecord(0, b"hot", b"v"), *late)
    (loan,) = log.lend(1)
    log.make_room()
    assert sorted(log.ledger.terms) == [1, 2, 3, 4]
    end(log.assignment, loan)
    assert log.lend() == []
    assert log.ledger.delayed_usage.tasks == 4
    asked = log.ask()
    log.read_again(asked)
    assert log.ledger.delayed_usage.tasks == 4 + len(asked) == log.assignment.in_flight
    assert sorted(log.ledger.terms) == list(range(1, 5 + len(asked)))
    log.assignment.wake(0.0, 100.0)
    assert log.ledger.delayed_usage == Usage(0, 0)
    assert offsets(log.assignment.lend(3, epoch=100.0)) == [[1, 2, 3]]


def test_a_delayed_lane_is_set_aside_like_any_other() -> None:
    log = Log(*[FakeRecord(n, b"hot", b"v", [("due", b"100")]) for n in range(20)])
    log.lend()
    assert log.ledger.delayed_usage.tasks == 20
    assert log.make_room() == 16
    assert log.ledger.delayed_usage.tasks == 4
    assert log.ledger.delayed_usage.bytes == log.ledger.offsets.bytes


def test_a_parked_lane_stays_parked_while_its_tasks_are_read_again() -> None:
    log, loan = hot()
    log.make_room()
    log.assignment.park(loan, Setback("E", "no", 0.0, 5.0))
    log.read_again(log.ask())
    assert loan.lane.state is LaneState.PARKED
    assert log.lend() == []
    log.assignment.wake(5.0)
    assert offsets(log.lend(2)) == [[0, 1]]


def test_a_lane_that_is_long_again_after_its_tasks_were_read_again_keeps_two_portions_of_them() -> None:
    log, _ = hot()
    log.make_room()
    log.read_again(log.ask())
    assert log.assignment.set_aside == 0
    assert log.make_room() == 19 - 2 * portion(1, 1, LIMITS) == 3
    assert log.assignment.set_aside == 3
    assert log.make_room() == 0


def test_nothing_of_a_lane_is_set_aside_while_tasks_of_it_are_being_read_again() -> None:
    log, _ = hot(count=40)
    log.make_room()
    asked = log.ask()
    log.read_again(asked[:3])
    assert log.make_room() == 0
    assert log.assignment.set_aside == 40 - 5 - 3


def test_what_was_read_again_of_a_single_session_is_not_set_aside_a_second_time() -> None:
    log, loan = hot(count=100)
    assert log.make_room() == 95
    read_again = list[int]()
    while log.assignment.set_aside:
        ((_, _, asked),) = log.assignment.ask(LIMITS)
        log.read_again(asked)
        read_again += asked
        assert log.make_room() == 0
        end(log.assignment, loan)
        (loan,) = log.lend(8)
    assert read_again == list(range(5, 100))


def hot_and_warm() -> Log:
    """Tasks of a hot session were read again while it was the only one; now a second one has very many as well."""
    log, _ = hot(count=100)
    log.make_room()
    log.read_again(offset for _, _, asked in log.assignment.ask(LIMITS) for offset in asked)
    log.admit(*tasks(b"warm", *range(100, 140)))
    log.lend(1)
    return log


def test_a_lane_keeps_less_of_what_was_read_again_once_more_sessions_share_the_room() -> None:
    log = hot_and_warm()
    assert [len(lane.waiting) for lane in log.ledger.lanes.longer_than(0)] == [12, 39]
    assert log.make_room() == 4 + 35
    assert [len(lane.waiting) for lane in log.ledger.lanes.longer_than(0)] == [8, 4]


def test_a_lane_keeps_less_of_what_was_read_again_although_another_pass_has_served_more_sessions() -> None:
    log = hot_and_warm()
    assert log.ledger.overflow is not None
    assert log.ledger.overflow.put_aside(13, 100, 8) == 26
    log.ledger.overflow.is_low = True
    log.read_again(offset for _, _, asked in log.assignment.ask(LIMITS) for offset in asked)
    assert [len(lane.waiting) for lane in log.ledger.lanes.longer_than(0)] == [12, 13]
    log.make_room()
    assert [len(lane.waiting) for lane in log.ledger.lanes.longer_than(0)] == [8, 4]


def test_tasks_of_the_only_hot_session_of_many_partitions_are_not_set_aside_twice() -> None:
    log, loan = hot(count=600)
    for partition in range(1, 10):
        log.assignment.assign(partition, 0)
    assert log.assignment.make_room(0, FULL, 1000, FULL_SECONDS) == 343
    while len(loan.lane.waiting) > 128:
        end(log.assignment, loan)
        (loan,) = log.lend(64)
    (asked,) = log.assignment.ask(FULL)
    assert len(asked.offsets) == 256
    log.read_again(asked.offsets)
    assert log.assignment.make_room(0, FULL, 1000, FULL_SECONDS) == 0


def test_what_was_read_again_of_many_partitions_leaves_room_for_the_tasks_of_others() -> None:
    """It was read again while few sessions had tasks set aside, so that there was room for all of it."""
    assignment: Assignment[int] = Assignment(terms_of)
    log = {n: FakeRecord(n, b"hot", b"v") for n in range(30)}
    for partition in range(4):
        assignment.assign(partition, 0)
        assignment.admit(partition, list(log.values()), 0.0)
        assignment.lend(1)
        assert assignment.make_room(partition, WIDER, 100, FULL_SECONDS)
        for _, ledger, asked in assignment.ask(FULL):
            assignment.read_again(ledger, [log[number] for number in asked])
    assert (assignment.in_flight, assignment.set_aside) == (4 * 30, 0)
    assert sum(assignment.make_room(partition, WIDER, 100, FULL_SECONDS) for partition in range(4)) == 4 * 21
    assert assignment.in_flight <= WIDER.tasks // 2 + 4


def test_a_faster_session_gets_more_than_an_equal_share_and_all_together_no_more_than_before() -> None:
    log, limits, most = Log(*[FakeRecord(n, b"%d" % (n % 2), b"v") for n in range(4000)]), Usage(400, 10**6), 0
    (fast,), _ = log.lend(1), log.lend(1)
    log.assignment.make_room(0, limits, 4000, FULL_SECONDS)
    for _ in range(12):
        for _, _, asked in log.assignment.ask(limits):
            most = max(most, len(asked))
            log.read_again(asked)
        assert log.assignment.waiting <= limits.tasks // 2
        end(log.assignment, fast)
        (fast,) = log.lend(40)
    assert most > portion(2, 1, limits)


def test_a_lane_keeps_less_where_what_all_of_them_keep_fills_the_partition() -> None:
    log = Log(*[FakeRecord(n, b"%d" % (n % 2)) for n in range(40)])
    while log.assignment.ready_lanes:
        log.lend(1)
    log.make_room()
    assert log.ledger.overflow is not None
    assert log.ledger.overflow.put_aside(2, 3, 8) == 3
    asked = log.ask()
    assert asked[:4] == [6, 8, 9, 10]
    log.read_again(asked)
    for loan in list(log.ledger.lent):
        end(log.assignment, loan)
    assert sorted(offsets(log.lend())) == [list(range(2, 22, 2)), list(range(3, 25, 2))]


def test_many_loans_may_come_back_at_once_where_something_is_set_aside() -> None:
    log, loan = hot(*tasks(b"b", 20), *tasks(b"c", 21))
    log.make_room()
    others = [each for each in log.ledger.lent if each is not loan]
    for each in (loan, *others):
        each.done = 1
    assert log.assignment.release_all([loan, *others]) == 3
    assert offsets(log.lend(1)) == [[1]]


def test_the_longer_lanes_are_the_more_each_of_them_keeps() -> None:
    used = Usage(10_000, 10_000 * 100)
    assert kept_by_each([9000, *[1] * 1000], 10_000, used, FULL) == 256
    assert kept_by_each([100] * 100, 10_000, used, FULL) == 64
    assert kept_by_each([10] * 20, 200, Usage(200, 200), FULL) == 4
    assert kept_by_each([2] * 100, 200, Usage(200, 200), FULL) is None
    assert kept_by_each([1] * 10_000, 10_000, used, FULL) is None
    assert kept_by_each([64], 64, Usage(64, 64 << 20), FULL) == 8
    assert kept_by_each([9], 9, Usage(9, 9), Usage(10, 1000)) == 1


def test_what_is_read_again_at_once_is_a_quarter_of_the_limits_for_all_sessions_together() -> None:
    assert portion(1, 100, Usage(100_000, 64 << 20)) == MOST_PORTION
    assert portion(10, 100, FULL) == 250
    assert portion(10_000, 100, FULL) == 1
    assert portion(1, 1 << 20, FULL) == 16
    assert portion(0, 1, Usage(1, 1)) == 1


TIGHT = Usage(64, 4000)
"""Sixteen tasks of one session are read again at once, if they are small."""


def test_very_large_records_behind_small_ones_do_not_take_more_memory_than_there_is() -> None:
    """The mean size of set-aside records does not include them."""
    log, loan = hot()
    log.make_room()
    log.admit(*[FakeRecord(n, b"hot", b"v" * (900 if n % 4 else 10)) for n in range(20, 100)])
    loans, ran, most = [loan], list[int](), 0
    while loans:
        for loan in loans:
            ran += [record.offset() for record in loan.records]
            end(log.assignment, loan)
        for _, ledger, asked in log.assignment.ask(TIGHT):
            log.assignment.read_again(ledger, [log.records[offset] for offset in asked])
        most = max(most, log.ledger.offsets.bytes)
        loans = log.lend(1)
    assert ran == list(range(100))
    assert most <= TIGHT.bytes
    assert (log.assignment.set_aside, log.assignment.in_flight, log.ledger.offsets.bytes) == (0, 0, 0)


def test_a_record_that_is_larger_than_memory_is_read_again_when_nothing_else_is() -> None:
    log, loan = hot()
    log.make_room()
    log.admit(FakeRecord(20, b"hot", b"v" * 5000), *tasks(b"hot", 21))
    (first,) = log.assignment.ask(TIGHT)
    assert first.offsets == list(range(5, 21))
    assert not log.read_again(first.offsets)
    assert log.ledger.offsets.bytes == 20 * len(b"hotv")
    loans = [loan]
    while loans:
        assert log.assignment.ask(TIGHT) == []
        end(log.assignment, loans.pop())
        loans = log.lend(1)
    (second,) = log.assignment.ask(TIGHT)
    assert second.offsets == [20, 21]
    assert not log.read_again(second.offsets)
    assert log.ledger.offsets.bytes == len(b"hot") + 5000
    (loan,) = log.lend()
    end(log.assignment, loan)
    (third,) = log.assignment.ask(TIGHT)
    assert third.offsets == [21]
    assert log.read_again(third.offsets)


def test_what_is_read_again_has_half_of_the_limit_although_memory_is_full_of_others() -> None:
    log, loan = hot(FakeRecord(20, b"b", b"v" * TIGHT.bytes))
    log.make_room()
    log.admit(*[FakeRecord(n, b"hot", b"v" * 497) for n in range(21, 30)])
    (first,) = log.assignment.ask(TIGHT)
    assert log.read_again(first.offsets)
    loans = [loan]
    while loans:
        end(log.assignment, loans.pop())
        loans = log.lend(1)
    (second,) = log.assignment.ask(TIGHT)
    assert second.offsets == list(range(22, 30))
    assert not log.read_again(second.offsets)
    assert offsets(log.lend()) == [[22, 23, 24, 25]]
