"""Outputs and offsets in transactions against a model of the brokers, over every order of events that hypothesis finds.

A skip map that does not fit into the metadata is cut, or written to the progress topic before the transaction.
At any instant, what progress says is settled is what committed transactions hold and what the outbox holds. Each run
ends by letting everything finish: then each output was committed once, those of a session in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine import skipmap
from processor.engine.assignment import Assignment
from processor.engine.ledger import Ledger, LedgerState, Loan
from processor.engine.offsets import Range
from processor.engine.outbox import Cut, Staged
from processor.engine.progress_record import keys_of, next_key, reference_in, reference_to, settled_in
from tests.engine.progress_topic import MapRecord, ProgressTopic
from tests.engine.record import FakeRecord

PARTITIONS = (0, 1)
KEYS = (b"a", b"b", None)
LIMITS = (0, 16, 24, 4096)
"""Characters of a skip map: none, little, all."""


class Broker:
    """One partition as the broker has it, with the outputs of its tasks."""

    def __init__(self) -> None:
        self.log: list[FakeRecord] = []
        self.end = 0
        self.committed: int | None = None
        self.metadata = ""
        self.map_key: bytes | None = None
        """The key of the record that the metadata refers to; None if the skip map is in the metadata."""
        self.outputs: list[int] = []
        """Offsets of tasks whose outputs are committed, in their order."""


class Part(NamedTuple):
    """The part of a transaction that belongs to one partition."""

    partition: int
    ledger: Ledger
    offset: int
    metadata: str
    map_key: bytes | None
    outputs: list[Staged]


class Transaction:
    """A transaction that is under way."""

    def __init__(self, parts: list[Part], generation: int) -> None:
        self.parts = parts
        self.generation = generation
        self.is_committed = False


def has_output(offset: int) -> bool:
    """Two tasks of three have one."""
    return offset % 3 != 0


class Transacting(RuleBasedStateMachine):
    """Fetch, lend, settle with and without outputs, cut, commit, abort, refuse, revoke, lose, crash and restore.

    And skip maps are written as records, of which a transaction may never refer to some, and compacted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.generation = 0
        self.brokers = {partition: Broker() for partition in PARTITIONS}
        self.progress = ProgressTopic()
        self.assignment: Assignment[int] = Assignment()
        self.fetched: dict[int, int] = {}
        self.loans: list[tuple[int, Loan]] = []
        self.transaction: Transaction | None = None

    @initialize()
    def begin(self) -> None:
        for partition in PARTITIONS:
            self.assign(partition)

    # --- tasks -------------------------------------------------------------------------------------

    @rule(
        partition=st.sampled_from(PARTITIONS), keys=st.lists(st.sampled_from(KEYS), max_size=8), hole=st.integers(0, 1)
    )
    def produce(self, partition: int, keys: list[bytes | None], hole: int) -> None:
        broker = self.brokers[partition]
        for key in keys:
            broker.log.append(FakeRecord(broker.end, key))
            broker.end += 1 + hole

    @rule(partition=st.sampled_from(PARTITIONS), most=st.integers(1, 6))
    def fetch(self, partition: int, most: int) -> None:
        if partition not in self.assignment.ledgers:
            return
        broker, start = self.brokers[partition], self.fetched[partition]
        records = [record for record in broker.log if record.offset() >= start][:most]
        if records:
            self.assignment.admit(partition, records, self.clock)
            self.fetched[partition] = records[-1].offset() + 1
        else:
            self.assignment.ledgers[partition].offsets.reach(broker.end)
            self.fetched[partition] = max(broker.end, start)

    @rule(limit=st.integers(1, 6))
    def lend(self, limit: int) -> None:
        partition_of = {ledger: partition for partition, ledger in self.assignment.ledgers.items()}
        self.loans += [(partition_of[loan.ledger], loan) for loan in self.assignment.lend(limit)]

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        """The loan's next tasks succeed, up to the first one with an output, which ends the loan."""
        _, loan = self.loans.pop(data.draw(st.integers(0, len(self.loans) - 1)))
        self.finish(loan)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.clock += seconds

    # --- transactions ------------------------------------------------------------------------------

    @precondition(lambda self: self.transaction is None)
    @rule(limit=st.sampled_from(LIMITS), records=st.booleans())
    def cut(self, limit: int, records: bool = False) -> None:
        """Begin a transaction. With `records`, the progress topic accepts the maps that do not fit."""
        parts = []
        for partition, ledger in self.assignment.ledgers.items():
            cut = ledger.cut(self.clock)
            if cut is None:
                continue
            point, ranges = cut.progress.commit_point, cut.progress.settled_ranges()
            if records and skipmap.encode(point, ranges, limit)[1] < len(ranges):
                parts.append(self.recorded(partition, ledger, cut))
                continue
            extended = skipmap.extend(point, ranges, self.known(partition), limit)
            if extended is not None:
                metadata, kept = extended
                parts.append(Part(partition, ledger, point, metadata, None, cut.covered(kept)))
        self.transaction = Transaction(parts, self.generation)

    def recorded(self, partition: int, ledger: Ledger, cut: Cut) -> Part:
        """The map is written, and acknowledged before the transaction begins."""
        point, ranges = cut.progress.commit_point, cut.progress.settled_ranges()
        value, kept = skipmap.encode_record(point, ranges)
        assert kept == len(ranges)
        key = next_key(keys_of("g", "t", partition), self.brokers[partition].map_key)
        reference = reference_to("progress", 0, self.progress.write(MapRecord(key, value)), point, value)
        return Part(partition, ledger, point, str(reference), key, cut.covered(ranges))

    @rule()
    def compact_the_progress_topic(self) -> None:
        self.progress.compact()

    @precondition(lambda self: self.transaction is not None and not self.transaction.is_committed)
    @rule()
    def commit(self) -> None:
        """The coordinator refuses the offsets of another generation, and then the whole transaction is aborted."""
        transaction = self.transaction
        assert transaction is not None
        if transaction.generation != self.generation:
            self.transaction = None
            return
        transaction.is_committed = True
        for partition, _, offset, metadata, map_key, outputs in transaction.parts:
            broker = self.brokers[partition]
            broker.committed, broker.metadata, broker.map_key = offset, metadata, map_key
            broker.outputs += [staged.offset for staged in outputs]

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def conclude(self) -> None:
        """The consumer gets the result. A transaction that was not committed is aborted."""
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        for _, ledger, *_, outputs in transaction.parts if transaction.is_committed else ():
            committed = ledger.committed([staged.offset for staged in outputs])
            assert committed == ([] if ledger.state is LedgerState.CLOSED else [s.output for s in outputs])

    @precondition(lambda self: self.transaction is not None and not self.transaction.is_committed)
    @rule(data=st.data(), seconds=st.integers(1, 5))
    def refuse(self, data: st.DataObject, seconds: int) -> None:
        """A topic does not accept one of the outputs."""
        transaction = self.transaction
        assert transaction is not None
        outputs = [(part.ledger, staged) for part in transaction.parts for staged in part.outputs]
        if outputs:
            ledger, staged = data.draw(st.sampled_from(outputs))
            ledger.outbox.refuse(staged.offset, self.clock + seconds)
            self.transaction = None

    # --- the group ---------------------------------------------------------------------------------

    @rule(partition=st.sampled_from(PARTITIONS), commits=st.booleans())
    def revoke(self, partition: int, commits: bool) -> None:
        """Revoke in order: the open transaction ends, then the partition's last cut is committed, or not in time."""
        if partition not in self.assignment.ledgers:
            return
        self.assignment.drain(partition)
        if commits:
            self.end_transaction()
            self.cut(4096)
            self.end_transaction()
        self.assignment.close(partition)
        self.generation += 1

    @rule(partition=st.sampled_from(PARTITIONS))
    def lose(self, partition: int) -> None:
        if partition in self.assignment.ledgers:
            self.assignment.close(partition)
            self.generation += 1

    @rule(partition=st.sampled_from(PARTITIONS))
    def assign(self, partition: int) -> None:
        """The committed offset is requested once no transaction of another generation is open."""
        if partition not in self.assignment.ledgers:
            committed = self.brokers[partition].committed
            self.assignment.assign(partition, committed, self.known(partition))
            self.fetched[partition] = committed or 0

    @rule()
    def crash(self) -> None:
        """Crash: drop everything in memory. The successor ends the transaction."""
        self.assignment, self.loans, self.transaction = Assignment(), [], None
        self.generation += 1
        for partition in PARTITIONS:
            self.assign(partition)

    @rule(
        partition=st.sampled_from(PARTITIONS),
        limits=st.lists(st.sampled_from(LIMITS), min_size=1, max_size=2),
        records=st.booleans(),
        aborts=st.booleans(),
    )
    def restore_behind_a_stuck_task(self, partition: int, limits: list[int], records: bool, aborts: bool) -> None:
        """The oldest task hangs while others are done and committed, twice perhaps; then the process dies.

        By chance alone these seldom meet: what the skip map says has to be what was written, whatever room it had. The
        last transaction may be aborted, and its map is then the newest one of the progress topic.
        """
        for limit in limits:
            self.produce(partition, [b"a", None, b"b", None], 0)
            self.fetch(partition, 8)
            self.lend(8)
            self.loans.sort(key=lambda lent: lent[1].records[0].offset())
            for _, loan in self.loans[1:]:
                self.finish(loan)
            del self.loans[1:]
            self.end_transaction()
            self.cut(limit, records)
            self.end_transaction()
        if aborts:
            self.produce(partition, [None], 0)
            self.fetch(partition, 8)
            self.lend(8)
            for _, loan in self.loans[1:]:
                self.finish(loan)
            del self.loans[1:]
            self.cut(0, records)
            self.compact_the_progress_topic()
        self.crash()

    @rule(partition=st.sampled_from(PARTITIONS), cuts=st.booleans())
    def lose_with_outputs(self, partition: int, cuts: bool) -> None:
        """A partition is lost whose outputs wait, or are in a transaction; then it comes back."""
        self.produce(partition, [b"a", None, b"b", None], 0)
        self.fetch(partition, 8)
        self.lend(8)
        while self.loans:
            self.finish(self.loans.pop()[1])
        if cuts and self.transaction is None:
            self.cut(4096)
        self.lose(partition)
        self.assign(partition)

    # --- what must hold ----------------------------------------------------------------------------

    @invariant()
    def what_is_settled_is_what_transactions_and_the_outbox_hold(self) -> None:
        for partition, ledger in self.assignment.ledgers.items():
            broker, progress = self.brokers[partition], ledger.progress()
            outbox = [staged.offset for staged in ledger.outbox.content(float("inf"))[0]]
            if progress is None:
                assert not outbox
                continue
            offsets = [record.offset() for record in broker.log if has_output(record.offset())]
            settled = {
                offset
                for offset in offsets
                if (offset < progress.position and offset not in progress.unsettled)
                or any(low <= offset < high for low, high in progress.ahead)
            }
            assert settled == {*broker.outputs, *outbox}
            assert ledger.outbox.bytes == len(outbox)

    @invariant()
    def no_output_is_committed_twice_or_before_an_earlier_one_of_its_session(self) -> None:
        for broker in self.brokers.values():
            assert len(set(broker.outputs)) == len(broker.outputs)
            keys = {record.offset(): record.key() for record in broker.log}
            for key in KEYS[:-1]:
                of_session = [offset for offset in broker.outputs if keys[offset] == key]
                assert of_session == sorted(of_session)

    def teardown(self) -> None:
        """Everything comes to an end, whatever happened before."""
        self.end_transaction()
        for partition in PARTITIONS:
            self.assign(partition)
        while self.loans:
            self.finish(self.loans.pop()[1])
        for _ in range(1000):
            self.clock += 10
            for partition in PARTITIONS:
                self.fetch(partition, 100)
            self.lend(100)
            if not self.loans:
                break
            while self.loans:
                self.finish(self.loans.pop()[1])
        self.cut(4096)
        self.end_transaction()
        for partition, broker in self.brokers.items():
            expected = [record.offset() for record in broker.log if has_output(record.offset())]
            assert sorted(broker.outputs) == expected
            self.no_output_is_committed_twice_or_before_an_earlier_one_of_its_session()
            assert not self.assignment.ledgers[partition].outbox

    # -----------------------------------------------------------------------------------------------

    def known(self, partition: int) -> list[Range]:
        """Return what the group has as settled above its offset."""
        broker = self.brokers[partition]
        if broker.committed is None:
            return []
        reference = reference_in(broker.metadata, broker.committed)
        if reference is None:
            return skipmap.decode(broker.metadata, broker.committed)
        assert reference.offset in self.progress.records, "compaction has removed a map that a commit refers to"
        return settled_in(reference, keys_of("g", "t", partition), *self.progress.records[reference.offset])

    def finish(self, loan: Loan) -> None:
        while loan.done < len(loan.records):
            offset = loan.records[loan.done].offset()
            if has_output(offset):
                self.assignment.stage(loan, f"output of {offset}", 1)
                return
            loan.done += 1
        self.assignment.release(loan)

    def end_transaction(self) -> None:
        if self.transaction is not None:
            if not self.transaction.is_committed:
                self.commit()
            if self.transaction is not None:
                self.conclude()


Transacting.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestTransacting: Callable[..., object] = Transacting.TestCase
