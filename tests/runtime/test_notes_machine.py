"""Notes of settled tasks in commits, against a model of the broker, over every order of events that hypothesis finds.

Joins wait, so that the commit point stays where it is, and skip maps have room for some of what is done behind it. What
a commit notes as settled never runs again, since a partition that was added to the topic may have begun for it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from processor.engine import skipmap
from processor.engine.assignment import Assignment
from processor.engine.joins import Due, Standing
from processor.engine.ledger import Ledger, Loan
from processor.engine.outbox import is_covered
from processor.engine.progress_record import noted_until
from processor.handlers.links import ARRIVAL
from processor.handlers.terms import terms_of
from processor.runtime.commits.metadata import Metadata
from processor.runtime.ports import Commit, Partition, Start
from tests.engine.record import FakeRecord

PLACE = Partition("t", 0)
LIMITS = (30, 40, 64, 4096)
"""Characters of metadata: too few for a note, few, all."""


class Noting(RuleBasedStateMachine):
    """Produce tasks and arrivals, fetch, work, commit, refuse, crash and restore, with either delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.patch = pytest.MonkeyPatch()
        self.is_exactly_once = False
        self.log: list[FakeRecord] = []
        self.branches: dict[int, tuple[int, int]] = {}
        """The join and the branch of each arrival, by its offset."""
        self.half: list[int] = []
        """Joins of which one of two branches has been produced."""
        self.joins = count()
        self.committed: Commit | None = None
        self.outputs: list[int] = []
        """Committed ones, by the offset of their task; a join has the negative number below its own."""
        self.promised: set[int] = set()
        """Offsets of tasks that may never run again."""
        self.ran: set[int] = set()
        self.fetched = 0
        self.loans: list[Loan] = []
        self.start()

    @initialize(limit=st.sampled_from(LIMITS), is_exactly_once=st.booleans())
    def begin(self, limit: int, is_exactly_once: bool) -> None:
        self.patch.setattr(skipmap, "MAX_CHARACTERS", limit)
        self.is_exactly_once = is_exactly_once

    def start(self) -> None:
        """A consumer gets the partition."""
        self.assignment: Assignment[Partition] = Assignment(terms_of)
        self.metadata = Metadata(lambda _: None)
        self.loans = []
        if self.committed is None:
            self.assignment.assign(PLACE, 0)
            self.fetched = 0
        else:
            _, offset, metadata = self.committed
            restored = self.metadata.restore(Start(PLACE, offset, metadata, len(self.log)), offset)
            assert restored is not None
            self.assignment.assign(PLACE, offset, *restored)
            self.fetched = offset

    @property
    def ledger(self) -> Ledger:
        return self.assignment.ledgers[PLACE]

    # --- the log ---------------------------------------------------------------------------------------

    @rule(keys=st.lists(st.sampled_from([b"a", b"b", None]), min_size=1, max_size=4))
    def produce(self, keys: list[bytes | None]) -> None:
        self.log += [FakeRecord(len(self.log) + n, key) for n, key in enumerate(keys)]

    @rule(opens=st.lists(st.tuples(st.booleans(), st.integers(1, 3)), min_size=1, max_size=4))
    def arrive(self, opens: list[tuple[bool, int]]) -> None:
        """Arrivals with tasks behind each: the first one of a join, or the last one of the oldest that waits."""
        for is_first, tasks in opens:
            if is_first or not self.half:
                self.half.append(next(self.joins))
                self.append_arrival(self.half[-1], 0)
            else:
                self.append_arrival(self.half.pop(0), 1)
            self.produce([None] * tasks)

    def append_arrival(self, join: int, branch: int) -> None:
        self.branches[len(self.log)] = join, branch
        self.log.append(FakeRecord(len(self.log), b"%d/then" % join, b"", [(ARRIVAL, b"")]))

    # --- work ------------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 9))
    def fetch(self, most: int) -> None:
        records = self.log[self.fetched : self.fetched + most]
        if records:
            self.assignment.admit(PLACE, records, self.clock)
            self.fetched = records[-1].offset() + 1
            self.loans += self.assignment.lend(most)

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        self.finish(self.loans.pop(data.draw(st.integers(0, len(self.loans) - 1))))

    def finish(self, loan: Loan) -> None:
        """The loan's tasks succeed, up to the first one with an output, which ends it."""
        while loan.done < len(loan.records):
            offset = loan.records[loan.done].offset()
            if offset in self.branches:
                join, branch = self.branches[offset]
                standing, _ = self.assignment.arrive(loan, Due((f"{join}/then", ""), 2, branch), self.clock)
                if standing is Standing.LAST:
                    self.end(loan, -1 - join)
                return
            assert offset not in self.promised, "what was noted as settled runs again"
            self.ran.add(offset)
            if offset % 3:
                self.end(loan, offset)
                return
            loan.done += 1
        self.assignment.release(loan)

    def end(self, loan: Loan, output: int) -> None:
        if self.is_exactly_once:
            self.assignment.stage(loan, output, 1)
        else:
            self.outputs.append(output)
            loan.done += 1
            self.assignment.release(loan)

    # --- commits ---------------------------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        if self.is_exactly_once:
            self.commit_cut()
        elif (progress := self.ledger.progress()) is not None:
            commit, _ = self.metadata.of_progress(PLACE, progress)
            self.accept(commit)

    def commit_cut(self) -> None:
        cut = self.ledger.cut(self.clock)
        encoded = self.metadata.of_cut(PLACE, cut, self.committed) if cut is not None else None
        if encoded is not None:
            commit, made, whole = encoded
            outputs = whole.outputs if made.is_whole else whole.covered(made.kept)
            self.accept(commit)
            offsets = [staged.offset for staged in outputs]
            self.outputs += [staged.output for staged in outputs]
            self.ledger.committed(offsets)
            settled = skipmap.decode(commit.metadata, commit.offset)
            self.promised.update(n for n in range(len(self.log)) if is_covered(n, commit.offset, settled))

    def accept(self, commit: Commit) -> None:
        """The group accepts the commit. It must still cover all that earlier commits have noted."""
        assert len(commit.metadata) <= skipmap.MAX_CHARACTERS
        before, self.committed = self.committed, commit
        reached = self.reached(commit)
        assert before is None or self.reached(before) <= reached
        self.promised.update(range(reached))
        self.promised -= self.branches.keys()

    @staticmethod
    def reached(commit: Commit) -> int:
        return noted_until(commit.metadata, commit.offset) or commit.offset

    @precondition(lambda self: self.ledger.outbox)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """A topic does not accept one of the outputs."""
        outputs, _ = self.ledger.outbox.content(self.clock)
        if outputs:
            self.ledger.outbox.refuse(data.draw(st.sampled_from(outputs)).offset, self.clock + 2)

    @rule()
    def wait(self) -> None:
        self.clock += 1

    @rule()
    def crash(self) -> None:
        self.start()

    @rule(gaps=st.lists(st.integers(1, 5), min_size=8, max_size=16), is_reversed=st.booleans())
    def restore_behind_joins_that_wait(self, gaps: list[int], is_reversed: bool) -> None:
        """Many tasks settle behind joins, so that a map has no room for all of them; then the process dies."""
        self.arrive([(True, gap) for gap in gaps])
        self.fetch(100)
        self.loans += self.assignment.lend(100)
        for loan in sorted(self.loans, key=lambda each: each.records[0].offset(), reverse=is_reversed):
            self.finish(loan)
        self.commit()
        self.crash()

    # ---------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Everything comes to an end: all joins complete, and everything is committed."""
        self.arrive([(False, 1)] * len(self.half))
        for _ in range(1000):
            while self.loans:
                self.finish(self.loans.pop())
            self.fetch(100)
            self.loans += self.assignment.lend(100)
            if not self.loans and self.fetched == len(self.log):
                break
        self.clock += 10
        self.commit()
        self.patch.undo()
        tasks = set(range(len(self.log))) - self.branches.keys()
        joined = {-1 - join for join, _ in self.branches.values()}
        assert self.ran == tasks
        assert {offset for offset in tasks if offset % 3} | joined == set(self.outputs)
        if self.is_exactly_once:
            assert len(set(self.outputs)) == len(self.outputs)


Noting.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestNoting: Callable[..., object] = Noting.TestCase
