"""The ledger's state machine, which here also sets aside sessions that are delayed for long and reads them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from processor.engine import delays, due_offsets
from processor.engine.ledger import Ledger, LedgerState, Loan
from tests.engine.test_ledger_machine import KEYS, LIMITS, PARTITIONS, Consuming, far

SESSIONS = [*KEYS, b"d", b"e", b"f", b"g", b"h"]
SECONDS = [None, 2, 10, 10, 15, 30, 90]
"""Until the time of a task. What is due in more than nine is far."""

ONE_NUMBER = 7


class Delaying(Consuming):
    """The rules of the other machine, and one more: sessions that are delayed for long are set aside."""

    def __init__(self) -> None:
        super().__init__()
        self.patches: list[Any] = [patch.object(due_offsets, "CHUNK", 4)]

    @initialize(have_one_number=st.booleans())
    def number_the_sessions(self, have_one_number: bool) -> None:
        """In half of the runs, all sessions have the same 64-bit number."""
        if have_one_number:
            self.patches.append(patch.object(delays, "session_of", lambda key: ONE_NUMBER))
        for each in self.patches:
            each.start()

    @rule(
        partition=st.sampled_from(PARTITIONS),
        tasks=st.lists(
            st.tuples(st.sampled_from(SESSIONS), st.sampled_from(SECONDS), st.sampled_from([0, 0, 0, 9])),
            min_size=5,
            max_size=12,
        ),
        most=st.sampled_from([20, 20, 3]),
    )
    def delay(self, partition: int, tasks: list[tuple[bytes | None, int | None, int]], most: int) -> None:
        """Many tasks of many sessions come, and most may not begin yet. A worker checks each."""
        now = int(self.epoch)
        times = [(key, now + seconds if seconds is not None else None, priority) for key, seconds, priority in tasks]
        self.produce(partition, times, 0)
        self.fetch(partition, len(self.brokers[partition].log))
        while (before := self.assignment.waiting) and self.assignment.ready_lanes:
            self.lend(3)
            if self.assignment.waiting == before:
                break
        self.make_room_of_delayed(most)

    @rule(most=st.integers(0, 20))
    def make_room_of_delayed(self, most: int) -> None:
        in_flight, aside = self.assignment.in_flight, self.assignment.set_aside
        counts = self.assignment.make_room_of_delayed(LIMITS, most, self.epoch)
        assert sum(counts.values()) <= most
        assert self.assignment.in_flight == in_flight - sum(counts.values())
        assert self.assignment.set_aside == aside + sum(counts.values())

    @precondition(lambda self: self.assignment.set_aside)
    @rule()
    def ask(self) -> None:
        for partition, ledger, offsets in self.assignment.ask(self.limits, self.epoch):
            assert offsets == sorted(set(offsets))
            self.asked.append((partition, ledger, offsets))

    @precondition(lambda self: self.assignment.set_aside)
    @rule(seconds=st.integers(0, 30))
    def come_back(self, seconds: int) -> None:
        """Time passes, and all that is due is read again."""
        self.wake(seconds)
        self.ask()
        for asked in self.asked:
            self.deliver(*asked)
        self.asked = []

    @invariant()
    def what_is_set_aside_comes_behind_all_that_its_session_has_in_memory(self) -> None:
        for partition, ledger in self.assignment.ledgers.items():
            keys = {record.offset(): record.key() for record in self.brokers[partition].log}
            first = {keys[offset]: offset for offset in reversed(far(ledger))}
            for lane in ledger.lanes.longer_than(-1):
                if lane.key in first and lane.waiting:
                    assert lane.waiting[-1].offset() < first[lane.key]

    @invariant()
    def what_is_set_aside_is_counted_and_the_first_of_it_is_known(self) -> None:
        for ledger in self.assignment.ledgers.values():
            snapshot = ledger.snapshot(self.clock)
            assert snapshot.delayed_aside == len(far(ledger))
            assert (snapshot.next_delay_aside is None) == (not self.not_asked(ledger))

    def not_asked(self, ledger: Ledger) -> list[int]:
        kept = ledger.offsets.set_aside
        return [offset for offset in far(ledger) if kept is not None and offset not in kept.asked]

    def do(self, loan: Loan, count: int) -> None:
        """No task runs before an earlier one of its session."""
        partition = self.partition_of(loan)
        for record in loan.records[loan.done : loan.done + count]:
            if loan.ledger.state is not LedgerState.CLOSED and record.key() is not None:
                before = [each for each in self.brokers[partition].log if each.offset() < record.offset()]
                of_session = {each.offset() for each in before if each.key() == record.key()}
                assert of_session <= self.settled[partition] | self.running(loan)
        super().do(loan, count)

    def running(self, loan: Loan) -> set[int]:
        return {record.offset() for record in loan.records}

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            for each in reversed(self.patches):
                each.stop()


Delaying.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestDelaying: Callable[..., object] = Delaying.TestCase
