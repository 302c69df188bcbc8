"""Sessions that are delayed for long: only their offsets stay in memory, and they begin in time and in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from processor.engine import delays
from processor.engine.assignment import FULL_SECONDS, Assignment
from processor.engine.build import BUILD
from processor.engine.delays import (
    GROUP,
    LEAD_SECONDS,
    MOST_LEAD_SECONDS,
    are_crowded,
    lead_after,
    room_for_each,
    second_of,
)
from processor.engine.due_offsets import MOST_DUE, Entry
from processor.engine.ledger import Ledger, Loan
from processor.engine.record import Headers
from processor.engine.retry import Setback
from processor.engine.stock import Usage
from tests.engine.record import FakeRecord
from tests.engine.test_delays import offsets, record, terms_of
from tests.engine.test_ledger_machine import terms_of as urgent_terms_of

LIMITS = Usage(8, 10**6)
"""More than four tasks that wait for their time are set aside; four are read again at once."""

HOUR = 3600


class Log:
    """A partition's log, and what is read again."""

    def __init__(self, *records: FakeRecord, terms: object = terms_of) -> None:
        self.records: dict[int, FakeRecord] = {}
        self.assignment: Assignment[int] = Assignment(terms)  # type: ignore[arg-type]
        self.ledger: Ledger = self.assignment.assign(0, 0)
        self.now = 0.0
        self.admit(*records)

    def admit(self, *records: FakeRecord) -> None:
        self.records.update((record.offset(), record) for record in records)
        self.assignment.admit(0, records, 0.0)

    def lend(self) -> list[Loan]:
        self.assignment.wake(0.0, self.now)
        return self.assignment.lend(100, epoch=self.now)

    def run(self) -> list[int]:
        """Run all tasks that may begin. Return their offsets."""
        ran = []
        while loans := self.lend():
            for loan in loans:
                ran += [record.offset() for record in loan.records]
                loan.done = len(loan.records)
                self.assignment.release(loan)
        return ran

    def set_aside(self, most: int = 100) -> int:
        self.run()
        return sum(self.assignment.make_room_of_delayed(LIMITS, most, self.now).values())

    def ask(self, limits: Usage = LIMITS) -> list[int]:
        return [offset for _, _, asked in self.assignment.ask(limits, self.now) for offset in asked]

    def read_again(self, numbers: Iterable[int]) -> None:
        assert self.assignment.read_again(self.ledger, [self.records[number] for number in numbers])


def far(count: int = 10, due: int = HOUR) -> list[FakeRecord]:
    """Return tasks of as many sessions, due one second after the other from `due` on."""
    return [record(n, b"%d" % n, due=due + n) for n in range(count)]


def test_sessions_whose_time_is_far_leave_memory_but_the_oldest_one() -> None:
    log = Log(*far())
    assert log.set_aside() == 9
    assert (log.assignment.in_flight, log.assignment.waiting, log.assignment.set_aside) == (1, 1, 9)
    assert log.ledger.delayed_usage == Usage(1, log.ledger.offsets.bytes)
    assert list(log.ledger.terms) == [0]
    assert len(log.ledger.lanes) == 1
    snapshot = log.assignment.snapshot(0.0, 5)
    assert (snapshot.set_aside, snapshot.delayed_aside, snapshot.next_delay) == (0, 9, HOUR)
    partition = snapshot.partitions[0]
    assert (partition.set_aside, partition.delayed_aside, partition.next_delay_aside) == (0, 9, HOUR + 1)
    assert (partition.sessions_aside, partition.delayed) == (0, 1)
    assert partition.head is not None
    assert (partition.head.place, partition.head.delayed_until) == ("delayed", HOUR)
    progress = log.ledger.progress()
    assert progress is not None
    assert (progress.commit_point, progress.settled_ranges()) == (0, [])


def test_few_sessions_stay_and_so_does_what_is_due_soon() -> None:
    assert Log(*far(4)).set_aside() == 0
    assert Log(*far(8, due=1)).set_aside() == 0
    assert Log(*far(due=int(GROUP * LEAD_SECONDS) - 5)).set_aside() == 4
    assert Log(*far()).set_aside(most=3) == 3


def test_if_not_all_may_be_set_aside_those_that_were_delayed_first_are() -> None:
    log = Log(*far(50))
    assert log.set_aside(most=10) == 10
    assert list(log.ledger.terms) == [0, *range(11, 50)]


@pytest.mark.parametrize("most", [0, -1])
def test_where_no_task_may_be_set_aside_nothing_is_kept_for_that(most: int) -> None:
    log = Log(*far())
    assert log.set_aside(most) == 0
    assert log.ledger.overflow is None


def test_tasks_are_read_again_before_their_time_and_together_with_what_is_due_soon_after() -> None:
    log = Log(*far(20))
    log.set_aside()
    log.now = HOUR - 10.0
    assert log.ask() == []
    log.now = HOUR - 2.0
    assert log.ask() == [1, 2, 3, 4]
    assert log.ask() == []
    log.read_again([1, 2, 3, 4])
    assert log.run() == []
    assert log.assignment.in_flight == 5
    assert log.ask() == []
    log.now = HOUR + 2.0
    assert log.ask() == []
    assert log.run() == [0, 1, 2]
    assert log.ask() == [5, 6]


def test_what_is_due_earliest_is_read_again_first_if_there_is_no_room_for_all_that_is_due_soon() -> None:
    """Otherwise later tasks would take the room until their own time, and earlier ones would be late."""
    later = [record(n, b"%d" % n, due=HOUR + 8) for n in range(1, 11)]
    soon = [record(n, b"%d" % n, due=HOUR + 5) for n in range(12, 18)]
    log = Log(record(0, b"0", due=2 * HOUR), *later, record(11, b"11", due=HOUR + 2), *soon)
    assert log.set_aside() == 17
    log.now = float(HOUR)
    assert log.ask(Usage(16, 10**6)) == [1, *range(11, 18)]


def test_what_was_read_again_is_not_set_aside_a_second_time_though_its_time_is_far_once_more() -> None:
    log = Log(*far(20))
    log.set_aside()
    log.now = HOUR - 2.0
    log.read_again(log.ask())
    log.now = 0.0  # the clock is set back
    assert log.set_aside() == 0
    assert log.assignment.in_flight == 5


def read_and_parked(log: Log, limits: Usage) -> list[int]:
    """Read due tasks again, as many as there is room for, and let them fail. Return how many each time."""
    counts = []
    while asked := log.ask(limits):
        log.read_again(asked)
        for loan in log.lend():
            log.assignment.park(loan, Setback("E", "no", 0.0, 1e9))
        counts.append(len(asked))
    return counts


def test_tasks_that_wait_for_a_retry_do_not_hold_back_what_is_due_while_there_is_room() -> None:
    log, limits = Log(*far(200)), Usage(100, 10**6)
    assert log.set_aside(most=200) == 199
    log.now = 2.0 * HOUR
    assert read_and_parked(log, limits) == [50, 24]
    assert log.assignment.in_flight == 75


def test_what_was_read_again_while_the_clock_was_ahead_does_not_hold_back_what_is_due_earlier() -> None:
    late = [record(n, b"%d" % n, due=2 * HOUR) for n in range(60)]
    log, limits = Log(*late, record(60, b"60", due=HOUR)), Usage(100, 10**6)
    assert log.set_aside() == 60
    log.now = 3.0 * HOUR
    asked = log.ask(limits)
    assert asked == list(range(1, 51))
    log.now = float(HOUR)
    log.read_again(asked)
    assert log.run() == []
    assert log.ask(limits) == [60]


def test_the_oldest_task_is_read_again_whenever_it_is_due_so_that_reports_can_name_it() -> None:
    log = Log(record(0, b"first", due=20), *[record(n, b"%d" % n, due=HOUR - n) for n in range(1, 10)])
    log.set_aside()
    log.now = 20.0
    assert log.run() == [0]
    assert log.ledger.head() is None
    assert log.ask() == [1]
    log.read_again([1])
    head = log.ledger.head()
    assert head is not None
    assert head.record.offset() == 1
    assert log.ask() == []
    assert log.set_aside() == 0


def test_later_tasks_of_a_session_wait_behind_its_delayed_one() -> None:
    log = Log(*far(), record(10, b"5"), record(11, b"5", due=2 * HOUR), record(12, b"5", due=20))
    assert log.set_aside() == 12
    log.admit(record(13, b"5"), record(14, b"new"), record(15, b"5", due=HOUR), record(16, None))
    assert log.run() == [14, 16]
    assert log.assignment.set_aside == 14
    log.now = HOUR + 9.0
    ran = log.run()
    while asked := log.ask():
        log.read_again(asked)
        ran += log.run()
    assert ran == [*range(10), 10]
    assert log.assignment.set_aside == 3
    log.now = 2.0 * HOUR
    assert log.ask() == [12, 13, 15]
    log.admit(record(17, b"5"))
    log.read_again([12, 13, 15])
    assert log.run() == [11, 12, 13, 15]
    assert log.ask() == [17]
    log.read_again([17])
    log.admit(record(18, b"5"))
    assert log.run() == [17, 18]
    assert log.ledger.offsets.commit_point == 19


def test_each_far_delayed_task_without_a_key_waits_by_itself() -> None:
    log = Log(*[record(n, None, due=HOUR + n) for n in range(10)])
    assert log.set_aside() == 9
    log.now = HOUR + 1.0
    log.read_again(log.ask())
    assert sorted(log.run()) == [0, 1]


def test_a_task_that_expires_before_its_time_is_read_again_when_it_expires() -> None:
    log = Log(*far(), record(10, b"x", due=HOUR, expires=HOUR // 2))
    log.set_aside()
    log.now = HOUR / 2
    assert log.ask() == [10]
    log.read_again([10])
    assert log.run() == [10]


def test_sessions_with_the_same_number_wait_for_each_other_and_keep_their_orders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delays, "session_of", lambda key: 7)
    log = Log(*far(), record(10, b"5", due=HOUR // 2))
    assert log.set_aside() == 10
    log.admit(record(11, b"b"), record(12, b"5"))
    assert log.run() == []
    log.now = 2.0 * HOUR
    ran = log.run()
    while asked := log.ask():
        log.read_again(asked)
        ran += log.run()
    assert sorted(ran) == list(range(13))
    assert ran.index(5) < ran.index(10) < ran.index(12)


def test_a_task_waits_for_its_own_session_too_if_another_one_with_its_number_is_due_earlier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delays, "session_of", lambda key: 7)
    log = Log(*far(), record(10, b"late", due=2 * HOUR))
    assert log.set_aside() == 10
    log.admit(record(11, b"late"))
    log.now = HOUR + 10.0
    ran = log.run()
    while asked := log.ask():
        log.read_again(asked)
        ran += log.run()
    assert sorted(ran) == list(range(10))
    log.now = 2.0 * HOUR
    log.read_again(log.ask())
    assert log.run() == [10, 11]


def test_a_session_stays_if_a_later_task_of_it_was_set_aside_because_of_another_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delays, "session_of", lambda key: 7)
    log = Log(*far(5, due=1), record(5, b"x", due=3 * HOUR), record(6, b"s", due=4 * HOUR), record(7, b"s"))
    assert log.set_aside(most=1) == 1
    log.admit(record(8, b"s"))
    assert log.assignment.set_aside == 2
    assert log.set_aside() == 0
    log.now = 3.0 * HOUR
    log.run()
    log.read_again(log.ask())
    assert log.run() == [5]
    log.now = 4.0 * HOUR
    assert log.run() == [6, 7, 8]


def test_a_session_that_has_failed_or_has_others_on_a_shelf_stays() -> None:
    log = Log(*far())
    log.now = 2.0 * HOUR
    loan, *others = log.lend()
    log.assignment.park(loan, Setback("E", "no", 0.0, 5.0))
    for each in others:
        log.assignment.take_back(each)
    log.now = 0.0
    log.assignment.wake(5.0, log.now)
    head = loan.records[0].offset()
    assert log.set_aside() == 9
    log.admit(record(10, b"hot", due=HOUR), *[record(n, b"hot") for n in range(11, 60)])
    log.run()
    assert log.assignment.make_room(0, Usage(32, 10**6), 100, FULL_SECONDS) == 46
    assert log.set_aside() == 0
    assert log.ledger.lanes.headed_by(head) is loan.lane


def test_what_was_read_again_is_put_behind_what_its_session_has_on_a_shelf() -> None:
    hot = [record(n, b"hot", due=HOUR) for n in range(10, 60)]
    log = Log(*far(), *hot, record(60, b"hot", due=2 * HOUR))
    assert log.set_aside() == 60
    log.now = HOUR - 1.0
    many = Usage(100, 10**6)
    asked = log.ask(many)
    log.read_again(asked)
    log.run()
    assert log.assignment.make_room(0, Usage(32, 10**6), 100, FULL_SECONDS) == 34  # two portions stay
    log.admit(record(61, b"hot"))
    log.now = 2.0 * HOUR
    log.ledger.overflow.is_low = False  # type: ignore[union-attr]
    assert log.ask(many) == [*range(1, 10), 60, 61]
    log.read_again([*range(1, 10), 60, 61])
    assert (log.assignment.set_aside, log.ledger.snapshot(0.0).delayed_aside) == (36, 0)
    ran = log.run()
    while asked := log.ask(many):
        log.read_again(asked)
        ran += log.run()
    assert [n for n in ran if n >= 10] == list(range(10, 62))


def test_an_urgent_task_lifts_its_session_once_it_is_read_again() -> None:
    urgent = FakeRecord(9, b"9", b"", [("due", b"3600"), ("priority", b"9")])
    log = Log(*[FakeRecord(n, b"%d" % n, b"", [("due", b"3600")]) for n in range(9)], urgent, terms=urgent_terms_of)
    log.set_aside()
    log.now = float(HOUR)
    log.read_again(log.ask(Usage(100, 10**6)))
    assert log.assignment.snapshot(0.0, 0).urgent == 1
    assert offsets(log.assignment.lend(1, epoch=log.now)) == [[9]]


def test_an_urgent_task_lifts_its_session_also_if_it_is_put_behind_what_that_has_on_a_shelf() -> None:
    due: Headers = [("due", b"3600")]
    delayed = [FakeRecord(n, b"%d" % n, b"", due) for n in range(10)]
    hot = [FakeRecord(n, b"hot", b"", due) for n in range(10, 60)]
    urgent = FakeRecord(60, b"hot", b"", [("due", b"7200"), ("priority", b"9")])
    log, many = Log(*delayed, *hot, urgent, terms=urgent_terms_of), Usage(100, 10**6)
    log.set_aside()
    log.now = HOUR - 1.0
    log.read_again(log.ask(many))
    log.run()
    log.assignment.make_room(0, Usage(32, 10**6), 100, FULL_SECONDS)
    log.now = 2.0 * HOUR
    log.ledger.overflow.is_low = False  # type: ignore[union-attr]
    log.read_again(log.ask(many))
    assert log.ledger.snapshot(0.0).delayed_aside == 0
    assert offsets(log.lend())[0][0] == 10


def test_a_deleted_record_counts_as_missed_and_so_do_those_below_the_start_of_the_log() -> None:
    log = Log(*far(20))
    log.set_aside()
    log.now = HOUR + 3.0
    assert log.ask() == [1, 2, 3, 4]
    assert log.assignment.miss(log.ledger, [2, 30], None) == [2]
    assert log.assignment.miss(log.ledger, [], 10) == [1, *range(3, 10)]
    assert log.assignment.set_aside == 10
    assert log.ledger.missed == 9
    log.now = HOUR * 2.0
    assert log.run() == [0]
    while asked := log.ask():
        log.read_again(asked)
        log.run()
    assert log.ledger.offsets.commit_point == 20
    log.admit(record(20, b"5"))
    assert log.run() == [20]


def test_a_partition_that_drains_or_is_closed_takes_what_is_set_aside_with_it() -> None:
    log = Log(*far())
    log.assignment.assign(1, 0)
    log.assignment.admit(1, far(), 0.0)
    log.run()
    log.assignment.drain(1)
    assert log.assignment.make_room_of_delayed(LIMITS, 100, 0.0) == {0: 9}
    log.assignment.drain(0)
    log.now = HOUR * 2.0
    assert log.ask() == []
    assert log.assignment.close(0) == 10
    assert log.assignment.set_aside == 0


@pytest.mark.skipif(BUILD == "compiled", reason="compiled code takes no stand-in of a Ledger")
def test_a_partition_may_be_assigned_while_another_thread_counts_what_is_set_aside() -> None:
    """The count takes no lock. Here the partition is assigned in the middle of it, in the same thread."""
    log = Log(*far())
    log.set_aside()

    class Interrupting:
        @property
        def overflow(self) -> None:
            log.assignment.assign(2, 0)

    interrupting: Any = Interrupting()
    log.assignment.ledgers[1] = interrupting
    assert log.assignment.set_aside == 9
    assert 2 in log.assignment.ledgers


def test_the_session_of_a_task_that_is_set_aside_can_be_looked_up() -> None:
    log = Log(*far())
    assert not log.ledger.has_session(b"other")
    log.set_aside()
    assert log.ledger.has_session(b"0")
    assert log.ledger.has_session(b"5")
    assert not log.ledger.has_session(b"other")
    assert not log.ledger.has_session(None)


def test_arrivals_that_wait_do_not_hide_what_is_set_aside() -> None:
    log = Log(*far())
    log.set_aside()
    assert log.ledger.unkept_point(0.0) == 0


def test_the_room_of_what_is_read_again_is_half_of_what_may_be_in_flight() -> None:
    assert room_for_each(1, 100, Usage(10_000, 64 << 20)) == 5000
    assert room_for_each(4, 100, Usage(10_000, 64 << 20)) == 1250
    assert room_for_each(1, 1 << 20, Usage(10_000, 64 << 20)) == 32
    assert room_for_each(0, 1, Usage(1, 1)) == 1


def test_large_tasks_are_read_again_a_few_at_once_though_a_small_one_was_set_aside_last() -> None:
    small = record(20, b"small", due=2 * HOUR)
    log = Log(*[FakeRecord(n, b"%d" % n, b"v" * 1000, [("due", b"%d" % HOUR)]) for n in range(20)], small)
    limits = Usage(40, 10_000)
    log.run()
    assert log.assignment.make_room_of_delayed(limits, 19, log.now) == {0: 19}
    assert log.assignment.make_room_of_delayed(Usage(2, 10_000), 1, log.now) == {0: 1}
    log.now = float(HOUR)
    assert len(log.ask(limits)) == 5


def test_tasks_that_are_to_be_read_again_at_once_are_although_their_time_is_far() -> None:
    log = Log(*far())
    log.set_aside()
    log.admit(*[record(10 + n, b"%d" % n) for n in range(1, 10)])
    assert log.ledger.overflow is not None
    assert [offset for part in log.ledger.overflow.delayed_stretches() for offset in part.offsets] == [
        *range(1, 10),
        *range(11, 20),
    ]
    log.ledger.overflow.hasten([Entry(offset, int(log.now)) for offset in (3, 7, 13)])
    assert log.ask() == [3, 7, 13]
    log.read_again([3, 7, 13])
    assert log.run() == []
    log.now = HOUR + 10.0
    ran = log.run()
    while asked := log.ask():
        log.read_again(asked)
        ran += log.run()
    assert all(ran.index(n) < ran.index(10 + n) for n in range(1, 10))


def test_large_tasks_behind_small_ones_do_not_take_more_memory_than_there_is_and_keep_their_order() -> None:
    """The mean size of set-aside records does not include them."""
    log, limits = Log(*far()), Usage(100, 3000)
    log.set_aside()
    log.admit(*[FakeRecord(10 + n, b"%d" % n, b"v" * 1000) for n in range(1, 10)])
    log.now = HOUR + 10.0
    ran, most = log.run(), 0
    while asked := log.ask(limits):
        log.assignment.read_again(log.ledger, [log.records[offset] for offset in asked])
        most = max(most, log.ledger.offsets.bytes)
        ran += log.run()
    assert sorted(ran) == [*range(10), *range(11, 20)]
    assert all(ran.index(n) < ran.index(10 + n) for n in range(1, 10))
    assert most <= limits.bytes
    assert (log.assignment.set_aside, log.assignment.in_flight) == (0, 0)


def test_tasks_that_wait_crowd_others_by_their_number_or_their_bytes() -> None:
    assert not are_crowded([], LIMITS)
    assert not are_crowded([Usage(2, 10), Usage(2, 10)], LIMITS)
    assert are_crowded([Usage(2, 10), Usage(3, 10)], LIMITS)
    assert are_crowded([Usage(1, 600_000)], LIMITS)


def test_tasks_are_read_again_earlier_where_a_pass_over_the_log_takes_long() -> None:
    assert [lead_after(seconds) for seconds in (0.1, 10.0, 1000.0)] == [LEAD_SECONDS, 20.0, MOST_LEAD_SECONDS]


def test_one_short_pass_over_the_log_does_not_end_the_long_lead_that_others_need() -> None:
    assert [lead_after(0.1, 60.0, since) for since in (0.0, 120.0, 1000.0)] == [60.0, 48.0, LEAD_SECONDS]
    assert lead_after(30.0, 20.0, 1.0) == 60.0


def test_a_time_that_four_bytes_cannot_name_is_looked_at_again_earlier() -> None:
    assert (second_of(float("-inf")), second_of(12.9), second_of(1e11)) == (0, 12, MOST_DUE)
