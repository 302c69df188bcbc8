"""`Deaths` and `Isolation`: running suspects alone finds the task that has killed its process."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine.assignment import Assignment
from processor.engine.deaths import LEAST_DEATHS, MOST_SUSPECTS, Deaths, Suspect, TaskPlace
from processor.engine.isolation import ALONE, AWAITING, NONE, Isolation
from processor.engine.ledger import Loan
from processor.engine.retry import Setback
from tests.engine.record import FakeRecord

PARTITIONS = (0, 1)
WORKERS = 3


def place(offset: int, partition: int = 0) -> TaskPlace:
    return TaskPlace("t", partition, offset)


def test_tasks_that_run_beside_each_other_are_suspects_without_a_death() -> None:
    deaths = Deaths()
    assert deaths.record([place(1), place(2)]) is None
    assert deaths.suspects == [Suspect(place(1), 0), Suspect(place(2), 0)]


def test_a_death_alone_proves_the_task_and_the_deaths_before_count() -> None:
    deaths = Deaths()
    deaths.record([place(1), place(2)])
    assert deaths.record([place(2)]) == place(2)
    assert deaths.suspects == [Suspect(place(2), 2), Suspect(place(1), 0)]
    deaths.record([place(2), place(3)])
    assert deaths.deaths_of(place(2)) == 3
    assert deaths.deaths_of(place(3)) == 0


def test_a_death_of_which_nothing_is_recorded_suspects_nothing() -> None:
    deaths = Deaths()
    assert deaths.record([]) is None
    assert deaths.suspects == []


def test_a_settled_task_is_forgotten_and_counting_begins_again() -> None:
    deaths = Deaths()
    deaths.record([place(1)])
    deaths.forget([place(1), place(9)])
    assert deaths.suspects == []
    deaths.record([place(1), place(2)])
    assert deaths.deaths_of(place(1)) == 0


def test_of_very_many_suspects_those_are_named_that_most_dead_processes_ran() -> None:
    deaths = Deaths()
    deaths.record([place(n) for n in range(2 * MOST_SUSPECTS)])
    deaths.record([place(n) for n in range(MOST_SUSPECTS, 3 * MOST_SUSPECTS)])
    named = {suspect.place for suspect in deaths.suspects}
    assert named == {place(n) for n in range(MOST_SUSPECTS, 2 * MOST_SUSPECTS)}
    assert deaths.has_more
    deaths.forget([*named, *(place(n) for n in range(MOST_SUSPECTS))])
    named = {suspect.place for suspect in deaths.suspects}
    assert named == {place(n) for n in range(2 * MOST_SUSPECTS, 3 * MOST_SUSPECTS)}


def test_the_last_suspects_are_all_that_there_are() -> None:
    deaths = Deaths()
    deaths.record([place(n) for n in range(MOST_SUSPECTS)])
    assert not deaths.has_more


def test_a_place_is_written_as_the_default_id_of_its_task() -> None:
    assert str(TaskPlace("orders", 3, 17)) == "orders-3-17"


class Process:
    """A process of the fleet as `Deaths` sees it: it begins at the commit point, and runs until it dies."""

    def __init__(self, tasks: int, settled: set[int], deaths: Deaths, limit: int, *, watches: bool) -> None:
        self.settled = settled
        self.isolation: Isolation[int] = Isolation()
        self.isolation.suspect([(each.partition, each.offset, counted) for (each, counted) in deaths.suspects])
        self.assignment: Assignment[int] = Assignment()
        self.assignment.assign(0, 0)
        waiting = [FakeRecord(n, b"%d" % n) for n in range(tasks) if n not in settled]
        if waiting:
            self.assignment.admit(0, waiting, 0.0)
        self.limit = limit
        self.watches = watches
        self.dead_letters: dict[int, int] = {}

    def run(self, deadly: set[int]) -> list[int] | None:
        """Run up to `WORKERS` tasks at once, until a deadly one has begun. Return what ran then, None at the end."""
        running: list[Loan] = []
        while True:
            running += self._lent(running)
            if not running:
                return None
            offsets = [loan.records[0].offset() for loan in running]
            for loan, offset in list(zip(running, offsets, strict=True)):
                deaths = self.isolation.deaths_of(0, offset)
                if deaths >= self.limit and loan.attempt > deaths:
                    self.dead_letters[offset] = deaths
                elif offset in deadly:
                    return offsets if self.watches else []
            for loan, offset in zip(running, offsets, strict=True):
                loan.done = 1
                self.assignment.release(loan)
                self.settled.add(offset)
            running.clear()

    def _lent(self, running: list[Loan]) -> list[Loan]:
        if self.isolation.stage is ALONE:
            self.isolation.end()
        loans = self.isolation.filter(self.assignment, self.assignment.lend(WORKERS - len(running)))
        return [self.isolation.begin()] if self.isolation.stage is AWAITING else loans


@given(
    deadly=st.sets(st.integers(0, 19), max_size=4),
    max_attempts=st.integers(1, 4),
    kills=st.lists(st.sets(st.integers(0, 19), min_size=2, max_size=WORKERS), max_size=2),
)
def test_a_fleet_finds_every_deadly_task_and_no_other_in_a_bounded_number_of_deaths(
    deadly: set[int], max_attempts: int, kills: list[set[int]]
) -> None:
    """Meanwhile an operator also kills processes that run several tasks."""
    deaths, settled, dead_letters = Deaths(), set[int](), dict[int, int]()
    limit = max(max_attempts, LEAST_DEATHS)
    for running in kills:
        deaths.record([place(offset) for offset in running])
    processes = 0
    while True:
        process = Process(20, settled, deaths, limit, watches=processes > 0)
        killers = process.run(deadly)
        dead_letters.update(process.dead_letters)
        deaths.forget([place(offset) for offset in settled])
        if killers is None:
            break
        processes += 1
        deaths.record([place(offset) for offset in killers])
        assert processes <= 1 + (limit + 1) * len(deadly)
    assert set(dead_letters) == deadly
    assert all(count >= limit for count in dead_letters.values())
    assert settled == set(range(20))
    assert deaths.suspects == []


class Isolating(RuleBasedStateMachine):
    """Admit, suspect, lend, end, fail, commit, revoke: a suspect that runs is alone, and no task is stranded."""

    def __init__(self) -> None:
        super().__init__()
        self.assignment: Assignment[int] = Assignment()
        self.isolation: Isolation[int] = Isolation()
        self.running: list[Loan] = []
        self.suspects: dict[tuple[int, int], int] = {}
        self.ends = dict.fromkeys(PARTITIONS, 0)
        self.settled: set[tuple[int, int]] = set()
        self.parkings = 0

    @initialize()
    def assign_all(self) -> None:
        for partition in PARTITIONS:
            self.assignment.assign(partition, 0)

    @rule(partition=st.sampled_from(PARTITIONS), keys=st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=6))
    def admit(self, partition: int, keys: list[bytes | None]) -> None:
        end = self.ends[partition]
        if keys:
            self.assignment.admit(partition, [FakeRecord(end + n, key) for n, key in enumerate(keys)], 0.0)
            self.ends[partition] += len(keys)

    @rule(
        found=st.dictionaries(
            st.tuples(st.sampled_from(PARTITIONS), st.integers(0, 12)), st.sampled_from([0, 0, 2]), max_size=5
        )
    )
    def suspect(self, found: dict[tuple[int, int], int]) -> None:
        self.suspects = {place: deaths for place, deaths in found.items() if place not in self.settled}
        self.isolation.suspect([(*place, deaths) for place, deaths in self.suspects.items()])

    @rule(limit=st.integers(1, 5))
    def lend(self, limit: int) -> None:
        """Lends as the desk does."""
        isolation = self.isolation
        if isolation.loan is not None:
            if self.running:
                return
            if isolation.stage is AWAITING:
                self.running.append(isolation.begin())
                return
            isolation.end()
        loans = self.assignment.lend(limit)
        if isolation.is_active:
            loans = isolation.filter(self.assignment, loans)
        for loan in loans:
            partition = self.assignment.partition_of(loan.ledger)
            assert not {(partition, record.offset()) for record in loan.records} & set(self.suspects)
        self.running += loans

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9), done=st.integers(0, 5), fails=st.booleans())
    def end(self, which: int, done: int, fails: bool) -> None:
        loan = self.running.pop(which % len(self.running))
        loan.done = min(done, len(loan.records) - fails)
        self._note_settled(loan)
        if fails:
            self.parkings += 1
            self.assignment.park(loan, Setback("E", "", 0.0, float(self.parkings)))
        else:
            self.assignment.release(loan)

    @rule()
    def wake(self) -> None:
        self.assignment.wake(float(self.parkings))

    @rule(partition=st.sampled_from(PARTITIONS))
    def commit(self, partition: int) -> None:
        point = self.assignment.ledgers[partition].offsets.commit_point
        assert point is not None
        passed = self.isolation.acquit(partition, point)
        assert set(passed) == {offset for where, offset in self.suspects if where == partition and offset < point}
        for offset in passed:
            del self.suspects[partition, offset]

    @precondition(lambda self: self.isolation.stage is AWAITING)
    @rule()
    def give_back(self) -> None:
        self.isolation.give_back(self.assignment)

    @invariant()
    def a_suspect_runs_alone_and_with_its_number(self) -> None:
        isolation = self.isolation
        assert (isolation.loan is None) is (isolation.stage is NONE)
        if isolation.loan is not None:
            assert len(isolation.loan.records) == 1
            assert isolation.is_active
        if isolation.stage is ALONE:
            assert self.running in ([], [isolation.loan])
        if isolation.stage is AWAITING:
            assert isolation.loan not in self.running
        for place, deaths in self.suspects.items():
            assert isolation.deaths_of(*place) == deaths
        assert sorted(isolation.suspects) == sorted(self.suspects)

    def teardown(self) -> None:
        if not self.assignment.ledgers:
            return
        while self.assignment.in_flight:
            self.wake()
            self.lend(2)
            self.lend(2)  # the first one may have found a suspect
            assert self.running
            while self.running:
                self.end(0, 5, fails=False)
        for partition in PARTITIONS:
            self.commit(partition)
        assert self.assignment.waiting == 0
        assert len(self.settled) == sum(self.ends.values())

    def _note_settled(self, loan: Loan) -> None:
        partition = self.assignment.partition_of(loan.ledger)
        self.settled |= {(partition, record.offset()) for record in loan.records[: loan.done]}


IsolatingTest = Isolating.TestCase
IsolatingTest.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def test_the_attempt_of_a_suspect_follows_the_deaths_that_count_against_it() -> None:
    assignment, isolation = Assignment[int](), Isolation[int]()
    assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(n, b"%d" % n) for n in range(3)], 0.0)
    isolation.suspect([(0, 1, 2)])
    loans = isolation.filter(assignment, assignment.lend(3))
    assert (loans, isolation.stage) == ([], AWAITING)
    assert isolation.begin().attempt == 3
    assert isolation.acquit(0, 1) == []
    assert isolation.acquit(0, 2) == [1]
    assert isolation.is_active
    isolation.end()
    assert not isolation.is_active


def test_loans_without_a_suspect_begin_as_they_are() -> None:
    assignment, isolation = Assignment[int](), Isolation[int]()
    for partition in (0, 1):
        assignment.assign(partition, 0)
        assignment.admit(partition, [FakeRecord(n, b"%d" % n) for n in range(2)], 0.0)
    isolation.suspect([(0, 5, 1)])
    loans = assignment.lend(4)
    assert len(loans) == 4
    assert (isolation.filter(assignment, loans), isolation.stage) == (loans, NONE)


def test_a_suspect_that_may_not_begin_goes_back_to_its_lane_and_is_found_again() -> None:
    assignment, isolation = Assignment[int](), Isolation[int]()
    assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(n, b"%d" % n) for n in range(3)], 0.0)
    isolation.suspect([(0, 0, 1)])
    assert isolation.suspects == [(0, 0)]
    assert isolation.filter(assignment, assignment.lend(3)) == []
    isolation.give_back(assignment)
    assert (isolation.stage, assignment.lent_loans) == (NONE, 0)
    assert isolation.filter(assignment, assignment.lend(3)) == []
    assert isolation.begin().records[0].offset() == 0


def test_a_loan_grows_by_what_is_before_its_lanes_first_suspect() -> None:
    assignment, isolation = Assignment[int](), Isolation[int]()
    for partition in (0, 1):
        assignment.assign(partition, 0)
        assignment.admit(partition, [FakeRecord(n, b"s") for n in range(4)], 0.0)
    isolation.suspect([(0, 2, 1)])
    ledgers = assignment.ledgers
    behind = [FakeRecord(n, b"s") for n in (1, 2, 3)]
    assert isolation.may_join(assignment, ledgers[0], behind) == 1
    assert isolation.may_join(assignment, ledgers[0], behind[1:]) == 0
    assert isolation.may_join(assignment, ledgers[1], behind) == 3
