"""The whole engine against a model, over every order of events that hypothesis finds.

Each run ends by letting everything finish: a scheduler that strands one lane passes every other check.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from itertools import takewhile
from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine import skipmap
from processor.engine.assignment import Assignment
from processor.engine.commit_note import Note
from processor.engine.lane import Lane, LaneState
from processor.engine.ledger import Ledger, LedgerState, Loan
from processor.engine.offsets import Range
from processor.engine.progress_record import keys_of, next_key, reference_in, reference_to, settled_in
from processor.engine.record import Headers, Record
from processor.engine.retry import Setback
from processor.engine.stock import Usage
from processor.engine.stretch import merged
from processor.engine.terms import Terms
from tests.engine.first_version import version_1
from tests.engine.progress_topic import MapRecord, ProgressTopic
from tests.engine.record import FakeRecord

PARTITIONS = (0, 1)
KEYS = (b"a", b"b", b"c", None)
CROWDS: list[list[bytes | None]] = [
    [b"a"] * 8,
    [b"a", b"b"] * 4,
    [b"a", b"a", b"b", None] * 2,
    [b"a", None, b"b", b"b", b"a"],
    [b"b", b"b", b"b", b"b", b"b", b"a", b"a", b"a", b"a"],
]
"""The sessions of tasks that fill a partition."""

FORMS = ("p2", "p2", "p1", "r1", "r1")
"""How a commit has its skip map."""

NOTES = ("", "", str(Note(4, 9)))

PLAIN: Headers = [("h", None)]
LIMITS = Usage(8, 10_000)
"""Of what may be in flight, where tasks are set aside: a lane keeps one task."""


def terms_of(headers: Headers) -> Terms | None:
    """Reads the headers of the model: the time before which a task may not begin, and its priority."""
    found = {name: int(value) for name, value in headers if value is not None}
    return Terms(found.get("priority", 0), not_before=found.get("due", -inf)) if found else None


def headers_for(time: int | None, priority: int) -> Headers:
    headers: Headers = [("due", b"%d" % time)] if time is not None else []
    return [*headers, ("priority", b"%d" % priority)] if priority else headers or PLAIN


def delayed_lanes(ledger: Ledger) -> list[Lane]:
    """Return the lanes that wait for their time, found from unsettled tasks at the head of one."""
    progress = ledger.progress()
    heads = [ledger.lanes.headed_by(offset) for offset in (progress.unsettled if progress else ())]
    return [lane for lane in heads if lane is not None and lane.state is LaneState.DELAYED]


def elsewhere(ledger: Ledger, lane: Lane) -> list[int]:
    """Return the offsets of a lane's tasks that are set aside, in the order in which they must run."""
    kept = ledger.offsets.set_aside
    if kept is None:
        return []
    asked = [offset for offset, shelf in kept.asked.items() if shelf is not None and shelf.lane is lane]
    shelf = kept.shelves.get(lane.key)
    return [*asked, *(offset for part in merged([shelf.stretch()] if shelf else []) for offset in part)]


def far(ledger: Ledger) -> list[int]:
    """Return the offsets of the tasks that are set aside because of a delay."""
    kept = ledger.offsets.set_aside
    if kept is None:
        return []
    asked = [offset for offset, shelf in kept.asked.items() if shelf is None]
    return sorted([*asked, *(offset for part in merged(kept.delays.stretches()) for offset in part)])


class Broker:
    """One partition as the broker has it: its log, and what the group has committed."""

    def __init__(self) -> None:
        self.log: list[FakeRecord] = []
        self.end = 0
        self.committed: int | None = None
        self.metadata = ""
        self.settled_in_commit: set[int] = set()
        self.recorded: tuple[int, MapRecord] | None = None
        """Where the skip map of the commit was written, and as what; None if it is in the metadata."""
        self.is_made_anew = False
        """Whether the progress topic was recreated since the commit."""


class Consuming(RuleBasedStateMachine):
    """Fetch, lend, settle, delay, fail, postpone, hold, free, wake, take back, revoke, lose, assign, crash, restore.

    And tasks are set aside, read again, and found to be gone; skip maps are written as records, of which some are gone
    or another's when they are read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.shift = 0
        """By how much the machine's clock was set."""
        self.brokers = {partition: Broker() for partition in PARTITIONS}
        self.progress = ProgressTopic()
        self.places: dict[Record, int] = {}
        """Which partition each record is in."""
        self.assignment: Assignment[int] = Assignment(terms_of)
        self.fetched: dict[int, int] = {}
        self.loans: list[Loan] = []
        self.held: list[tuple[Ledger, Lane]] = []
        """Lanes whose next task may not begin until they are freed."""
        self.asked: list[tuple[int, Ledger, list[int]]] = []
        """Offsets that are to be read again."""
        self.limits = LIMITS
        """Of what may be in flight, for what is read again."""
        self.settled: dict[int, set[int]] = defaultdict(set)
        self.ran: dict[int, set[int]] = defaultdict(set)
        """Settled in this life of the process, since the last crash."""

    @initialize()
    def begin(self) -> None:
        for partition in PARTITIONS:
            self.assign_again(partition)

    # --- the broker's side -------------------------------------------------------------------------

    @rule(
        partition=st.sampled_from(PARTITIONS),
        tasks=st.lists(
            st.tuples(
                st.sampled_from(KEYS), st.sampled_from([None, None, None, 3, 9, 30]), st.sampled_from([0, 0, 0, 1, 9])
            ),
            max_size=8,
        ),
        hole=st.integers(0, 2),
    )
    def produce(self, partition: int, tasks: list[tuple[bytes | None, int | None, int]], hole: int) -> None:
        """Append tasks. Some may not begin before a time, some are urgent."""
        broker = self.brokers[partition]
        for key, time, priority in tasks:
            headers = headers_for(time, priority) if key or time or priority else None
            record = FakeRecord(broker.end, key, b"v", headers)
            broker.log.append(record)
            self.places[record] = partition
            broker.end += 1 + hole

    @rule(partition=st.sampled_from(PARTITIONS), most=st.integers(1, 6))
    def fetch(self, partition: int, most: int) -> None:
        if partition not in self.assignment.ledgers:
            return
        broker, start = self.brokers[partition], self.fetched[partition]
        records = [record for record in broker.log if record.offset() >= start][:most]
        if records:
            assert self.assignment.ledgers[partition].continues_at(records[0].offset())
            known = self.assignment.ledgers[partition].offsets.position is not None
            assert not (known and self.assignment.ledgers[partition].continues_at(start - 1))
            self.assignment.admit(partition, records, self.clock)
            self.fetched[partition] = records[-1].offset() + 1
        else:
            self.assignment.ledgers[partition].offsets.reach(broker.end)
            self.fetched[partition] = max(broker.end, start)

    @rule(partition=st.sampled_from(PARTITIONS), form=st.sampled_from(FORMS), note=st.sampled_from(NOTES))
    def commit(self, partition: int, form: str = "p2", note: str = "") -> None:
        """In the metadata, as an earlier version wrote it there, or as a record that the metadata refers to."""
        ledger = self.assignment.ledgers.get(partition)
        progress = ledger.progress() if ledger else None
        if progress is None:
            return
        broker, point, ranges = self.brokers[partition], progress.commit_point, progress.settled_ranges()
        recorded = None
        if form == "r1" and ranges:  # only a map that is too long is a record
            record = self.write_map(partition, point, ranges)
            recorded = self.progress.end - 1, record
            broker.metadata = str(reference_to("progress", 0, self.progress.end - 1, point, record.value))
        elif form == "p1":
            broker.metadata = version_1(point, ranges)
        else:
            broker.metadata, kept = skipmap.encode(point, ranges)
            assert kept == len(ranges)
        broker.metadata += note
        broker.committed, broker.recorded, broker.is_made_anew = point, recorded, False
        broker.settled_in_commit = set(self.settled[partition])

    @rule(partition=st.sampled_from(PARTITIONS))
    def write_without_a_commit(self, partition: int) -> None:
        """Write a skip map without the commit that should refer to it."""
        ledger = self.assignment.ledgers.get(partition)
        progress = ledger.progress() if ledger else None
        if progress is not None and (ranges := progress.settled_ranges()):
            self.write_map(partition, progress.commit_point, ranges)

    @rule()
    def compact_the_progress_topic(self) -> None:
        self.progress.compact()

    @rule(kept=st.booleans())
    def make_the_progress_topic_anew(self, kept: bool) -> None:
        """Its offsets start again: maps of another group or partition are at the offsets of the old ones."""
        old, self.progress = self.progress, ProgressTopic()
        for broker in self.brokers.values():
            broker.is_made_anew = True
        for _, record in sorted(old.records.items()) if kept else ():
            group, topic, number, *second = json.loads(record.key)
            stranger = ("another", number) if group == "g" else (group, 1 - number)
            key = keys_of(stranger[0], topic, stranger[1])[len(second)]
            self.progress.write(MapRecord(key, record.value))

    # --- the workers' side -------------------------------------------------------------------------

    @rule(limit=st.integers(1, 6), workers=st.none() | st.integers(1, 4))
    def lend(self, limit: int, workers: int | None = None) -> None:
        loans = self.assignment.lend(limit, workers, self.epoch)
        assert sum(len(loan.records) for loan in loans[:-1]) < limit or not loans
        assert workers is not None or sum(len(loan.records) for loan in loans) <= limit
        for loan in loans:
            for record in loan.records:
                partition = self.partition_of(loan)
                assert (terms_of(record.headers() or []) or Terms()).not_before <= self.epoch
                assert record.offset() not in self.brokers[partition].settled_in_commit & self.restored(partition)
        self.loans += loans

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        """A worker runs some tasks of a loan; another thread may settle them before the loan ends."""
        loan = data.draw(st.sampled_from(self.loans))
        self.do(loan, data.draw(st.integers(0, len(loan.records) - loan.done)))
        self.assignment.settle(loan)

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        loan = self.take(data)
        self.do(loan, data.draw(st.integers(0, len(loan.records) - loan.done)))
        self.assignment.release(loan)

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def release_all(self, data: st.DataObject) -> None:
        """A worker returns a batch: most loans are done, some were stopped midway."""
        back = data.draw(st.lists(st.sampled_from(self.loans), unique_by=id))
        self.loans = [loan for loan in self.loans if loan not in back]
        for loan in back:
            left = len(loan.records) - loan.done
            self.do(loan, data.draw(st.sampled_from([left, left, 0])))
        settled_before = {id(ledger): ledger.done for ledger in self.assignment.ledgers.values()}
        self.assignment.release_all(back)
        for ledger in self.assignment.ledgers.values():
            loans = [loan for loan in back if loan.ledger is ledger]
            assert all(loan.settled == loan.done for loan in loans)
            assert ledger.done - settled_before[id(ledger)] <= sum(loan.done for loan in loans)

    @precondition(lambda self: any(not loan.done for loan in self.loans))
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        loan = data.draw(st.sampled_from([loan for loan in self.loans if not loan.done]))
        self.loans.remove(loan)
        self.assignment.take_back(loan)

    @precondition(lambda self: any(loan.done < len(loan.records) for loan in self.loans))
    @rule(data=st.data(), delay=st.integers(0, 5))
    def fail(self, data: st.DataObject, delay: int) -> None:
        loan = data.draw(st.sampled_from([loan for loan in self.loans if loan.done < len(loan.records)]))
        self.loans.remove(loan)
        self.assignment.park(loan, Setback("E", "no", self.clock, self.clock + delay))
        assert loan.lane.attempts == (1 if loan.done else loan.attempt)

    @precondition(lambda self: any(loan.done < len(loan.records) for loan in self.loans))
    @rule(data=st.data(), delay=st.integers(0, 5))
    def postpone(self, data: st.DataObject, delay: int) -> None:
        loan = data.draw(st.sampled_from([loan for loan in self.loans if loan.done < len(loan.records)]))
        self.loans.remove(loan)
        self.assignment.park(loan, Setback("E", "not yet", self.clock, self.clock + delay), failed=False)
        assert loan.lane.attempts == (0 if loan.done else loan.attempt - 1)

    @precondition(lambda self: any(loan.done < len(loan.records) for loan in self.loans))
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        loan = data.draw(st.sampled_from([loan for loan in self.loans if loan.done < len(loan.records)]))
        self.loans.remove(loan)
        _, may_begin = self.assignment.hold(loan, Setback("E", "its handler is suspended", self.clock, self.clock))
        assert loan.lane.attempts == (0 if loan.done else loan.attempt - 1)
        assert may_begin == (loan.ledger.state is LedgerState.OPEN)
        if may_begin:
            self.held.append((loan.ledger, loan.lane))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        self.held.remove(held)
        self.assignment.free(*held)

    @rule(seconds=st.integers(1, 5))
    def wake(self, seconds: int) -> None:
        self.clock += seconds
        self.assignment.wake(self.clock, self.epoch)
        due = self.assignment.next_wake()
        assert due is None or due > self.clock
        delay = self.assignment.next_delay()
        assert delay is None or delay > self.epoch

    @rule(seconds=st.integers(-20, 20))
    def set_the_clock(self, seconds: int) -> None:
        """Set the wall clock; the monotonic clock does not change."""
        self.shift += seconds

    # --- what is set aside -------------------------------------------------------------------------

    @rule(
        partition=st.sampled_from(PARTITIONS),
        keys=st.sampled_from(CROWDS),
        last=st.sampled_from([(None, 0), (None, 0), (9, 0), (None, 9)]),
        most=st.integers(0, 9),
    )
    def fill(self, partition: int, keys: list[bytes | None], last: tuple[int | None, int], most: int) -> None:
        """Append many tasks of few sessions, the last one with a time or a priority. Lend all ready lanes."""
        self.produce(partition, [*((key, None, 0) for key in keys), (keys[0], *last)], 0)
        self.fetch(partition, len(self.brokers[partition].log))
        while (before := self.assignment.waiting) and self.assignment.ready_lanes:
            self.lend(1)
            if self.assignment.waiting == before:
                break
        self.make_room(partition, most)

    @rule(partition=st.sampled_from(PARTITIONS), most=st.integers(1, 9))
    def make_room(self, partition: int, most: int) -> None:
        self.clock += 1
        in_flight = self.assignment.in_flight
        count = self.assignment.make_room(partition, LIMITS, most, self.clock)
        assert count <= most
        assert self.assignment.in_flight == in_flight - count

    @precondition(lambda self: self.assignment.set_aside)
    @rule()
    def ask(self) -> None:
        assert self.assignment.runs_low or not self.assignment.ask(self.limits)
        for partition, ledger, offsets in self.assignment.ask(self.limits):
            assert offsets == sorted(set(offsets))
            self.asked.append((partition, ledger, offsets))

    @rule(size=st.sampled_from([LIMITS.bytes, 4, 1]))
    def bound_memory(self, size: int) -> None:
        """Bound the memory for tasks that are read again, in bytes."""
        self.limits = Usage(LIMITS.tasks, size)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def read_again(self, data: st.DataObject) -> None:
        """Read the log from the first to the last offset of some of the tasks that were asked for."""
        partition, ledger, offsets = asked = data.draw(st.sampled_from(self.asked))
        self.asked.remove(asked)
        count = data.draw(st.integers(1, len(offsets)))
        if self.deliver(partition, ledger, offsets[:count]) and offsets[count:]:
            self.asked.append((partition, ledger, offsets[count:]))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), retention=st.booleans())
    def miss(self, data: st.DataObject, retention: bool) -> None:
        """Some of these records are gone; with retention, all below them are gone too."""
        partition, ledger, offsets = asked = data.draw(st.sampled_from(self.asked))
        self.asked.remove(asked)
        gone = data.draw(st.sets(st.sampled_from(offsets)))
        missed = self.assignment.miss(ledger, sorted(gone), max(gone, default=0) if retention else None)
        assert gone <= set(missed) or ledger.state is not LedgerState.OPEN
        if ledger.state is LedgerState.OPEN:
            self.settled[partition].update(missed)
            left = [offset for offset in offsets if offset not in missed]
            self.asked += [(partition, ledger, left)] if left else []

    # --- the group's side --------------------------------------------------------------------------

    @rule(partition=st.sampled_from(PARTITIONS))
    def drain(self, partition: int) -> None:
        if partition in self.assignment.ledgers:
            self.assignment.drain(partition)

    @rule(partition=st.sampled_from(PARTITIONS), form=st.sampled_from(FORMS))
    def revoke(self, partition: int, form: str) -> None:
        """Revoke in order: what is settled is committed. A handler may continue to run."""
        if partition in self.assignment.ledgers:
            self.assignment.drain(partition)
            for loan in self.loans:
                self.assignment.settle(loan)
            self.commit(partition, form)
            self.assignment.close(partition)

    @rule(partition=st.sampled_from(PARTITIONS))
    def lose(self, partition: int) -> None:
        if partition in self.assignment.ledgers:
            self.assignment.close(partition)

    @rule(partition=st.sampled_from(PARTITIONS))
    def assign_again(self, partition: int) -> None:
        broker = self.brokers[partition]
        ranges = self.restored_ranges(partition)
        self.assignment.assign(partition, broker.committed, ranges or [])
        self.fetched[partition] = broker.committed or 0
        below = broker.committed or 0
        self.settled[partition] = {o for o in broker.settled_in_commit if o < below or ranges is not None}

    def restored_ranges(self, partition: int) -> list[Range] | None:
        """Return the ranges that the commit lists as settled; None if its record is gone, or belongs to another."""
        broker = self.brokers[partition]
        if broker.committed is None:
            return []
        reference = reference_in(broker.metadata, broker.committed)
        assert (reference is None) == (broker.recorded is None)
        if reference is None or broker.recorded is None:
            return skipmap.decode(broker.metadata, broker.committed)
        at, written = broker.recorded
        assert (reference.topic, reference.number, reference.offset) == ("progress", 0, at)
        found = self.progress.records.get(at)
        if found is None:
            assert broker.is_made_anew, "compaction has removed a map that a commit refers to"
            return None
        try:
            ranges = settled_in(reference, keys_of("g", "t", partition), *found)
        except skipmap.SkipMapError:
            assert found != written
            return None
        assert found == written, "another record is trusted"
        return ranges

    def write_map(self, partition: int, point: int, ranges: list[Range]) -> MapRecord:
        value, kept = skipmap.encode_record(point, ranges)
        assert kept == len(ranges)
        recorded = self.brokers[partition].recorded
        key = next_key(keys_of("g", "t", partition), recorded[1].key if recorded is not None else None)
        record = MapRecord(key, value)
        self.progress.write(record)
        return record

    @rule(partition=st.sampled_from(PARTITIONS), most=st.integers(2, 8), form=st.sampled_from(FORMS))
    def restore(self, partition: int, most: int, form: str = "p2") -> None:
        """Commit, assign again and fetch: at random, these three seldom follow each other."""
        self.commit(partition, form)
        self.assign_again(partition)
        self.fetch(partition, most)

    @rule(partition=st.sampled_from(PARTITIONS), most=st.integers(2, 8), form=st.sampled_from(FORMS))
    def restore_behind_a_stuck_task(self, partition: int, most: int, form: str) -> None:
        """The oldest lent task hangs, and all others settle: the case that skip maps are for."""
        self.fetch(partition, most)
        self.lend(most)
        stuck = min(self.loans, key=lambda loan: loan.records[0].offset(), default=None)
        for loan in [loan for loan in self.loans if loan is not stuck]:
            self.loans.remove(loan)
            self.do(loan, len(loan.records) - loan.done)
            self.assignment.release(loan)
        self.restore(partition, most, form)

    @rule()
    def crash(self) -> None:
        """Crash: drop everything in memory."""
        self.assignment = Assignment(terms_of)
        self.loans = []
        self.held = []
        self.asked = []
        self.fetched = {}
        for partition in PARTITIONS:
            self.assign_again(partition)

    # --- what must hold ----------------------------------------------------------------------------

    @invariant()
    def no_commit_point_passes_an_unsettled_task(self) -> None:
        """Every delivered offset below the commit point is settled."""
        for partition, ledger in self.assignment.ledgers.items():
            point = ledger.offsets.commit_point
            below = 0 if point is None else min(point, self.fetched[partition])
            offsets = map(FakeRecord.offset, self.brokers[partition].log)
            assert set(takewhile(below.__gt__, offsets)) <= self.settled[partition]

    @invariant()
    def the_position_is_where_the_next_record_comes_from(self) -> None:
        """Whether the last records of a fetch were admitted or skipped: a lower position would lose settled tasks."""
        for partition, ledger in self.assignment.ledgers.items():
            if ledger.offsets.position is not None:
                assert ledger.offsets.position == self.fetched[partition]

    @invariant()
    def a_session_is_lent_once_at_a_time(self) -> None:
        """Also across two assignments of a partition."""
        lent = [(self.partition_of(loan), loan.lane.key) for loan in self.loans if loan.lane.key is not None]
        assert len(lent) == len(set(lent))

    @invariant()
    def a_lane_runs_in_the_order_of_its_offsets(self) -> None:
        for loan in self.loans:
            pending = [r.offset() for r in [*loan.records[loan.done :], *loan.lane.waiting]]
            if loan.ledger.state is not LedgerState.CLOSED:
                pending += elsewhere(loan.ledger, loan.lane)
            assert pending == sorted(pending)

    @invariant()
    def the_counters_equal_a_recount(self) -> None:
        ledgers = self.assignment.ledgers.values()
        assert self.assignment.in_flight == sum(len(ledger.offsets) for ledger in ledgers)
        assert self.assignment.waiting == sum(ledger.lanes.waiting for ledger in ledgers)
        assert self.assignment.lent_loans == len(self.loans)
        ready = sum(len(ledger.lanes.ready) for ledger in ledgers if ledger.state is LedgerState.OPEN)
        assert self.assignment.ready_lanes == ready
        for ledger in ledgers:
            sessions = ledger.lanes.longest(10)
            assert all(count >= 0 for _, count in sessions)
            assert ledger.lanes.parked() + ledger.lanes.delayed() <= len(ledger.lanes)
            assert set(ledger.terms) <= set(unsettled.unsettled if (unsettled := ledger.offsets.progress()) else ())
            aside = list[int]()
            if ledger.overflow is not None:
                aside = [each for lane in ledger.lanes.longer_than(-1) for each in elsewhere(ledger, lane)]
                aside += far(ledger)
                assert len(aside) == ledger.overflow.tasks
            head = ledger.head()
            assert (head and head.record.offset()) == (
                ledger.offsets.oldest if ledger.offsets.oldest not in aside else None
            )
            delayed = [r for lane in delayed_lanes(ledger) for r in lane.waiting]
            assert ledger.delayed_usage.tasks == len(delayed)
            assert ledger.delayed_usage.bytes == ledger.offsets.size_of(r.offset() for r in delayed)
            age = ledger.oldest_age(self.clock)
            assert 0 <= age <= self.clock

    def teardown(self) -> None:
        """Everything comes to an end, whatever happened before: what is assigned, and then all that is left."""
        self.finish()
        for ledger in self.assignment.ledgers.values():
            if ledger.state is LedgerState.OPEN:
                assert ledger.offsets.oldest is None
        for partition in PARTITIONS:
            if partition in self.assignment.ledgers:
                self.assignment.close(partition)
            self.assign_again(partition)
        self.finish()
        assert self.assignment.in_flight == 0
        for partition, broker in self.brokers.items():
            self.fetch(partition, 100)
            assert self.settled[partition] == {record.offset() for record in broker.log}
            assert self.assignment.ledgers[partition].offsets.commit_point == max(broker.end, broker.committed or 0)
            assert len(self.assignment.ledgers[partition].lanes) == 0

    def finish(self) -> None:
        """Run all tasks that may run, until none is left."""
        for held in self.held:
            self.assignment.free(*held)
        self.held = []
        for _ in range(1000):
            for loan in self.loans:
                self.do(loan, len(loan.records) - loan.done)
                self.assignment.release(loan)
            self.loans = []
            self.clock += 10
            self.shift = max(self.shift, 0)
            self.assignment.wake(self.clock, self.epoch)
            for partition in PARTITIONS:
                self.fetch(partition, 100)
            self.ask()
            for asked in self.asked:
                self.deliver(*asked)
            self.asked = []
            self.lend(100)
            if not self.loans and self.assignment.next_delay() is None and not self.is_any_aside():
                break

    # -----------------------------------------------------------------------------------------------

    def is_any_aside(self) -> bool:
        """Return whether anything is set aside that is to be read again."""
        ledgers = [ledger for ledger in self.assignment.ledgers.values() if ledger.state is LedgerState.OPEN]
        return any(ledger.overflow is not None and ledger.overflow.tasks for ledger in ledgers)

    @property
    def epoch(self) -> float:
        return self.clock + self.shift

    def partition_of(self, loan: Loan) -> int:
        return self.places[loan.records[0]]

    def restored(self, partition: int) -> set[int]:
        """Return the offsets that were settled before this assignment: they never run in it."""
        ledger = self.assignment.ledgers[partition]
        return self.settled[partition] if ledger.state is not LedgerState.CLOSED else set()

    def deliver(self, partition: int, ledger: Ledger, offsets: list[int]) -> bool:
        """Read the log from the first of these offsets to the last. Return whether the ledger takes more."""
        log = self.brokers[partition].log
        passed = [record for record in log if offsets[0] <= record.offset() <= offsets[-1]]
        is_open = self.assignment.read_again(ledger, passed)
        is_full = ledger.overflow is not None and ledger.overflow.needs > 0
        assert is_open == (ledger.state is LedgerState.OPEN and not is_full)
        return is_open

    def take(self, data: st.DataObject) -> Loan:
        loan = data.draw(st.sampled_from(self.loans))
        self.loans.remove(loan)
        return loan

    def do(self, loan: Loan, count: int) -> None:
        """Let this many more tasks succeed. A closed ledger does not settle them."""
        partition = self.partition_of(loan)
        for record in loan.records[loan.done : loan.done + count]:
            if loan.ledger.state is not LedgerState.CLOSED:
                assert record.offset() not in self.settled[partition], "it ran again in one assignment"
                self.settled[partition].add(record.offset())
        loan.done += count


Consuming.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestConsuming: Callable[..., object] = Consuming.TestCase
