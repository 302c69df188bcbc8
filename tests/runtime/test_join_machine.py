"""Joins through every order of crashes and commits that hypothesis finds, with the real desk and the real markers.

Branches are in partitions of other consumers, which crash before or after they commit; the partition of the joins has a
consumer of its own, which crashes as well. Each run ends by letting everything finish: what follows each group was sent
when all of its branches had run, and nothing is left waiting.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from processor.engine import skipmap
from processor.engine.joins import Due
from processor.engine.lease import Lease
from processor.engine.ledger import Loan
from processor.handlers.joins import Path
from processor.runtime.desk import Desk
from processor.runtime.join_markers import JoinMarkers
from processor.runtime.ports import Commit, Partition, Survey
from processor.runtime.surveys import Surveys
from processor.runtime.timers import Timers
from processor.testing.memory.cluster import MemoryRecord

GROUPS, BRANCHES = 2, 2
JOINS = Partition("t", 0)
OTHERS = tuple(Partition("t", number) for number in (1, 2))
HEADERS: list[tuple[str, bytes | None]] = [("task-arrival", b"{}")]


class Worker:
    """A borrower that takes one loan at a time."""

    def __init__(self) -> None:
        self.batch: deque[Loan] = deque()
        self.finished: deque[Loan] = deque()
        self.slow: list[float] = []
        self.ended = 0
        self.seconds = self.borrowed_at = self.batch_seconds = 0.0

    def current(self) -> Iterable[Loan]:
        return ()

    def invite(self) -> None: ...


class Commits:
    """Replaces a committer: the machine commits when it likes."""

    def commit_soon(self) -> None: ...


class Source:
    """Answers surveys when the machine lets it."""

    def __init__(self) -> None:
        self.asked = 0

    def survey(self, topics: Sequence[str]) -> None:
        self.asked += 1


class BranchConsumer:
    """The consumer of a partition with branches: each has run, or is to run."""

    def __init__(self, partition: Partition, branches: Sequence[tuple[int, int]]) -> None:
        self.partition = partition
        self.branches = branches
        self.ran: set[int] = set()
        self.committed: set[int] = set()

    def commit_of(self) -> Commit:
        """Return its commit, with a skip map of the tasks that are settled above the commit point."""
        point = next((at for at in range(len(self.branches)) if at not in self.committed), len(self.branches))
        ranges = [(at, at + 1) for at in sorted(self.committed) if at > point]
        return Commit(self.partition, point, skipmap.encode(point, ranges)[0])


class JoiningMachine(RuleBasedStateMachine):
    """Run a branch, commit it, crash; take, work off, commit, survey, crash of the partition of the joins."""

    @initialize(spread=st.lists(st.sampled_from((0, 1)), min_size=GROUPS * BRANCHES, max_size=GROUPS * BRANCHES))
    def begin(self, spread: list[int]) -> None:
        places = [(group, branch) for group in range(GROUPS) for branch in range(BRANCHES)]
        self.branches = [
            BranchConsumer(partition, [place for place, which in zip(places, spread, strict=True) if which == number])
            for number, partition in enumerate(OTHERS)
        ]
        self.log: list[tuple[str, int, int, Path]] = []
        """Arrivals (`arrival`, group, branch, path) and markers (`marker`, group, 0, path) of the joins' partition."""
        self.committed: Commit | None = None
        self.followed: dict[int, int] = defaultdict(int)
        """How often what follows each group was sent."""
        self.assign()

    def assign(self) -> None:
        """The partition of the joins has a new owner, which knows what is committed."""
        timers = Timers()
        lease = Lease(1e9)
        self.desk = Desk(lease, timers)
        self.worker = Worker()
        self.desk.lending.enter_invited(self.worker)
        lease.renew(float("inf"))
        self.source = Source()
        self.surveys = Surveys(self.source, lambda _: None)  # type: ignore[arg-type]  # of the port only what is asked
        self.markers = JoinMarkers(["t"], self.desk, Commits(), self.surveys)  # type: ignore[arg-type]  # the same
        self.clock = 0.0
        commit = self.committed
        settled = skipmap.decode(commit.metadata, commit.offset) if commit is not None else []
        self.desk.partitions.assign(JOINS, commit.offset if commit is not None else 0, settled)
        self.position = commit.offset if commit is not None else 0

    # --- the branches -----------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), at=st.integers(0, GROUPS * BRANCHES))
    def run_branch(self, which: int, at: int) -> None:
        consumer = self.branches[which]
        if at >= len(consumer.branches) or at in consumer.ran:
            return
        group, branch = consumer.branches[at]
        self.log.append(("arrival", group, branch, {"t": {consumer.partition.number: [at]}}))
        consumer.ran.add(at)

    @rule(which=st.integers(0, 1))
    def commit_branches(self, which: int) -> None:
        self.branches[which].committed = set(self.branches[which].ran)

    @rule(which=st.integers(0, 1))
    def crash_branches(self, which: int) -> None:
        """What is not committed runs again."""
        self.branches[which].ran = set(self.branches[which].committed)

    @rule(which=st.integers(0, 1), at=st.integers(0, GROUPS * BRANCHES))
    def crash_after_sending(self, which: int, at: int) -> None:
        """The arrival is in the log, but its branch's consumer crashes before it commits."""
        self.run_branch(which, at)
        self.branches[which].ran = set(self.branches[which].committed)

    # --- the joins --------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 5))
    def fetch(self, most: int) -> None:
        run = [self.record(at) for at in range(self.position, min(len(self.log), self.position + most))]
        if run:
            self.desk.inflow.admit([(JOINS, run)])
            self.position += len(run)

    @rule(sends=st.booleans())
    def work_off(self, sends: bool) -> None:
        """Work off one record. With `sends`, what follows is acknowledged; else a crash comes before that."""
        self.desk.lending.exchange(self.worker, 1)
        if not self.worker.batch:
            return
        loan = self.worker.batch.popleft()
        kind, group, branch, path = self.log[loan.records[0].offset()]
        if kind == "marker":
            self.desk.arrivals.mark(loan, self.identity(group), path)
            return
        others = self.desk.arrivals.arrive(loan, Due(self.identity(group), BRANCHES, branch))
        if others is None:
            return
        assert sorted([*others, branch]) == list(range(BRANCHES))
        self.followed[group] += 1
        if not sends:
            self.crash_joins()
            return
        paths = [self.log[kept.offset()][3] for kept in others.values()]
        self.log.append(("marker", group, 0, self.merged([path, *paths])))
        self.desk.outcomes.settle_next(loan)

    @rule()
    def commit_joins(self) -> None:
        for partition, _, progress in self.desk.commits.progress(None, {}):
            text, _ = skipmap.encode(progress.commit_point, progress.settled_ranges())
            self.committed = Commit(partition, progress.commit_point, text)

    @rule()
    def crash_joins(self) -> None:
        self.assign()

    @rule()
    def ask(self) -> None:
        self.clock += 1.0
        self.markers.tick(self.clock)

    @rule()
    def answer(self) -> None:
        """Answers the survey with the present state."""
        if self.source.asked:
            self.source.asked = 0
            commits = [consumer.commit_of() for consumer in self.branches]
            bounds = {each.partition: (0, len(each.branches)) for each in self.branches}
            committed = {
                commit.partition: commit for commit in [*commits, *([self.committed] if self.committed else [])]
            }
            self.surveys.on_survey(Survey({JOINS: (0, len(self.log)), **bounds}, committed), None)

    @rule()
    def fail_to_answer(self) -> None:
        if self.source.asked:
            self.source.asked = 0
            self.surveys.on_survey(None, "no broker answers")

    @rule(surveys=st.integers(0, 3), late=st.integers(0, 3), crashes=st.booleans())
    def go_on(self, surveys: int, late: int, crashes: bool) -> None:
        """The consumer of the joins works for a while, and may then crash."""
        self.run_to(len(self.log) - late)
        for _ in range(surveys):
            self.ask()
            self.answer()
        self.commit_joins()
        if crashes:
            self.crash_joins()

    def run_to(self, end: int) -> None:
        """Reads up to this offset, and works off what was read."""
        while self.position < end:
            self.fetch(1)
        while self.desk.waiting:
            self.work_off(sends=True)

    # --- the end ----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Lets everything finish."""
        if not hasattr(self, "branches"):
            return
        for which, consumer in enumerate(self.branches):
            for at in range(len(consumer.branches)):
                self.run_branch(which, at)
            self.commit_branches(which)
        for _ in range(4):
            while self.position < len(self.log) or self.desk.waiting:
                self.run_to(len(self.log))
            self.ask()
            self.answer()
            self.commit_joins()
        assert set(self.followed) == set(range(GROUPS))
        assert self.committed is not None
        assert self.committed.offset == len(self.log), "an arrival or a marker is left waiting"

    def record(self, at: int) -> MemoryRecord:
        kind, group, *_ = self.log[at]
        return MemoryRecord(JOINS, at, b"group %d" % group, kind.encode(), HEADERS)

    def identity(self, group: int) -> tuple[str, str]:
        return f"{group}/then", ""

    def merged(self, paths: Sequence[Path]) -> Path:
        found: Path = {"t": defaultdict(list)}
        for path in paths:
            for number, offsets in path["t"].items():
                found["t"][number] += offsets
        return found


TestJoins = JoiningMachine.TestCase
TestJoins.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


def a_complete_join() -> JoiningMachine:
    """The first group is complete, and only one of its two branches is committed."""
    machine = JoiningMachine()
    machine.begin([0, 1, 0, 1])
    machine.run_branch(0, 0)
    machine.run_branch(1, 0)
    machine.commit_branches(0)
    machine.go_on(surveys=0, late=0, crashes=False)
    assert machine.followed == {0: 1}
    return machine


def test_a_marker_outlasts_surveys_and_owners_until_all_branches_are_committed() -> None:
    machine = a_complete_join()
    for _ in range(3):
        machine.go_on(surveys=4, late=0, crashes=True)
    machine.crash_branches(1)
    machine.run_branch(1, 0)
    machine.teardown()
    assert machine.followed == {0: 1, 1: 1}


def test_a_marker_waits_for_what_was_sent_before_its_branches_were_committed() -> None:
    machine = a_complete_join()
    machine.go_on(surveys=0, late=0, crashes=False)  # the marker is kept
    machine.crash_branches(1)
    machine.run_branch(1, 0)
    machine.commit_branches(1)
    machine.go_on(surveys=4, late=1, crashes=True)  # the second arrival is not read yet
    machine.teardown()
    assert machine.followed == {0: 1, 1: 1}
