"""Gates: which attempts of a handler may begin, and that no lane waits forever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine.gate import Change, Ending, Gate, GateSnapshot, Limits
from processor.engine.rate import Rate
from processor.engine.suspension import SUSPEND_AFTER, Suspension


def suspending(first: float = 1.0, most: float = 8.0) -> Gate[str, int]:
    return Gate("h", Limits(suspension=Suspension(first, most)))


def states(gate: Gate[str, int]) -> tuple[bool, bool]:
    return gate.is_open, gate.is_calm


def fail(gate: Gate[str, int], times: int, now: float = 0.0) -> list[Change | None]:
    """Let this many attempts, which began before the suspension, end in an outage. Their lanes wait."""
    changes = []
    for lane in range(times):
        changes.append(gate.end(lane, Ending.OUTAGE, now, 0.5))
        if gate.is_suspended:
            gate.wait("g", lane)
    return changes


def test_a_handler_without_failures_has_an_open_gate_and_no_probe() -> None:
    gate = suspending()
    assert states(gate) == (True, True)
    assert gate.invite(0.0) == []
    assert gate.due() is None


def test_a_handler_without_a_limit_always_has_an_open_gate() -> None:
    gate: Gate[str, int] = Gate("h", Limits())
    assert states(gate) == (True, True)
    assert gate.end(0, Ending.OUTAGE, 0.0, 0.5) is None
    assert gate.snapshot(0.0) == GateSnapshot("h", 0, None, None, None)


def test_ten_outages_in_a_row_suspend_a_handler_and_no_fewer() -> None:
    gate = suspending()
    assert fail(gate, SUSPEND_AFTER - 1) == [None] * (SUSPEND_AFTER - 1)
    assert states(gate) == (True, False)
    assert gate.end(0, Ending.SUCCEEDED, 0.0, 0.5) is None
    assert states(gate) == (True, True)
    fail(gate, SUSPEND_AFTER - 1)
    gate.end(0, Ending.OTHER, 0.0, 0.5)
    assert fail(gate, SUSPEND_AFTER)[-1] is Change.SUSPENDED
    assert states(gate) == (False, False)


def test_a_suspension_records_its_start_and_its_reason() -> None:
    gate = suspending()
    assert gate.suspension is not None
    gate.suspension.error_type, gate.suspension.error = "E", "away"
    fail(gate, 1, now=1.0)
    assert gate.snapshot(1.0) == GateSnapshot("h", 0, None, None, None)
    fail(gate, SUSPEND_AFTER, now=3.0)
    assert (gate.suspension.since, gate.suspension.suspended_at) == (1.0, 3.0)
    assert gate.snapshot(5.0) == GateSnapshot("h", 2, 2.0, "E", "away")


def test_a_suspended_handler_has_one_probe_after_a_delay_that_doubles_up_to_its_maximum() -> None:
    gate, now, delays = suspending(), 0.0, list[float]()
    fail(gate, SUSPEND_AFTER + 2)
    for _ in range(6):
        due = gate.due()
        assert due is not None
        assert gate.invite(due - 0.01) == []
        ((group, lane),) = gate.invite(due)
        assert gate.invite(due + 100.0) == []
        assert gate.due() is None
        assert gate.begin(group, lane, due)
        delays.append(due - now)
        now = due
        gate.end(lane, Ending.OUTAGE, now, 0.5)
        gate.wait(group, lane)
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_each_probe_is_another_lane_so_that_one_bad_task_suspends_no_other() -> None:
    gate = suspending()
    fail(gate, SUSPEND_AFTER + 2)
    lanes = []
    for n in range(3):
        ((group, lane),) = gate.invite(100.0 * (n + 1))
        gate.begin(group, lane, 100.0 * (n + 1))
        gate.end(lane, Ending.OUTAGE, 100.0 * (n + 1), 0.5)
        gate.wait(group, lane)
        lanes.append(lane)
    assert lanes == [9, 10, 11]


def test_a_probe_that_fails_for_a_reason_of_its_own_is_followed_by_another_at_once() -> None:
    gate = suspending()
    fail(gate, SUSPEND_AFTER + 2)
    ((group, lane),) = gate.invite(10.0)
    gate.begin(group, lane, 10.0)
    assert gate.end(lane, Ending.OTHER, 10.0, 0.5) is None
    assert gate.is_suspended
    assert len(gate.invite(10.0)) == 1


def test_only_an_attempt_that_began_since_then_resumes_a_handler() -> None:
    gate = suspending()
    fail(gate, SUSPEND_AFTER)
    assert gate.end(77, Ending.SUCCEEDED, 1.0, 0.5) is None
    assert gate.is_suspended
    ((group, lane),) = gate.invite(10.0)
    gate.begin(group, lane, 10.0)
    assert gate.end(lane, Ending.SUCCEEDED, 11.0, 0.5) is Change.RESUMED
    assert gate.suspension is not None
    assert gate.suspension.probes == 1
    assert gate.is_open, "no lane waits, and yet it is asked before each attempt"


def test_after_a_resume_the_number_of_attempts_grows_with_their_successes() -> None:
    gate = suspending()
    fail(gate, SUSPEND_AFTER + 30)
    ((group, lane),) = gate.invite(10.0)
    gate.begin(group, lane, 10.0)
    gate.end(lane, Ending.SUCCEEDED, 10.0, 0.5)
    sizes = []
    while guests := gate.invite(11.0):
        sizes.append(len(guests))
        assert not gate.waiting or not gate.begin("g", 1000, 11.0), "a newcomer overtakes those that wait"
        for group, lane in guests:
            assert gate.begin(group, lane, 11.0)
        for _, lane in guests:
            gate.end(lane, Ending.SUCCEEDED, 11.0, 0.5)
    assert sizes == [1, 2, 4, 8, 15]
    assert gate.is_open


def test_a_relapse_revokes_pending_invitations() -> None:
    gate = suspending()
    fail(gate, SUSPEND_AFTER + 30)
    ((group, lane),) = gate.invite(10.0)
    gate.begin(group, lane, 10.0)
    gate.end(lane, Ending.SUCCEEDED, 10.0, 0.5)
    ((group, guest),) = gate.invite(10.0)
    assert fail(gate, SUSPEND_AFTER, now=10.0)[-1] is Change.SUSPENDED
    assert not gate.begin(group, guest, 10.0)
    assert gate.running == 0


def test_a_probe_that_is_lost_with_its_group_gives_its_place_to_another() -> None:
    gate = suspending()
    for lane in range(SUSPEND_AFTER):
        gate.end(lane, Ending.OUTAGE, 0.0, 0.5)
    gate.wait("a", 1)
    gate.wait("b", 2)
    assert gate.invite(10.0) == [("a", 1)]
    gate.forget("a")
    assert gate.invite(10.0) == [("b", 2)]
    gate.drop(2)
    assert gate.begin("c", 3, 10.0), "nothing waits, and the first to come may try"


def recover(gate: Gate[str, int], now: float) -> None:
    """Let all lanes that wait begin as early as the gate allows, and succeed in the order in which they began.

    A success is reported only if the gate is not calm, as workers do.
    """
    running = deque[int]()
    while gate.waiting or running:
        for group, lane in gate.invite(now):
            assert gate.begin(group, lane, now)
            running.append(lane)
        assert running, "lanes wait, and nothing runs"
        lane = running.popleft()
        if not gate.is_calm:
            gate.end(lane, Ending.SUCCEEDED, now, 0.5)


def test_attempts_of_one_recovery_take_no_place_in_the_next_one() -> None:
    gate = suspending()
    for now in (0.0, 100.0):
        fail(gate, SUSPEND_AFTER, now)
        for lane in (10, 11, 12):
            gate.wait("g", lane)
        recover(gate, now + 10.0)
        assert states(gate) == (True, True)
        assert gate.running == 0


def test_an_attempt_that_begins_while_the_gate_opens_is_reported() -> None:
    gate = suspending()
    fail(gate, SUSPEND_AFTER)
    ((group, probe),) = gate.invite(10.0)
    assert gate.begin(group, probe, 10.0)
    gate.forget("g")
    assert not gate.is_open, "a worker sees it closed, and is about to call `begin`"
    gate.end(probe, Ending.SUCCEEDED, 10.0, 0.5)
    assert states(gate) == (True, True)
    assert gate.begin("g", 11, 10.0)
    assert states(gate) == (True, False)
    gate.end(11, Ending.SUCCEEDED, 10.0, 0.5)
    assert (gate.running, gate.is_calm) == (0, True)


def test_a_limit_of_attempts_is_handed_on_in_the_order_of_arrival() -> None:
    gate: Gate[str, int] = Gate("h", Limits(concurrency=2))
    assert not gate.is_open
    assert [gate.begin("g", lane, 0.0) for lane in range(4)] == [True, True, False, False]
    assert gate.begin("g", 0, 0.0), "one that runs already may go on"
    gate.wait("g", 2)
    gate.wait("g", 3)
    assert gate.due() is None
    assert gate.invite(0.0) == []
    gate.end(1, Ending.OTHER, 0.0, 0.5)
    assert gate.invite(0.0) == [("g", 2)]
    assert not gate.begin("g", 1, 0.0), "it comes again, and overtakes one that waits"
    assert gate.begin("g", 2, 0.0)


def test_a_rate_names_the_time_of_the_next_attempt() -> None:
    gate: Gate[str, int] = Gate("h", Limits(rate=Rate(2, 10.0)))
    assert gate.begin("g", 0, 0.0)
    gate.end(0, Ending.SUCCEEDED, 0.1, 0.5)
    assert not gate.begin("g", 1, 0.1)
    gate.wait("g", 1)
    gate.wait("g", 2)
    assert gate.due() == 5.0
    assert gate.invite(4.9) == []
    assert gate.invite(5.0) == [("g", 1)]
    assert gate.due() is None, "only one may begin at once, and it is invited"
    assert gate.begin("g", 1, 6.0)
    assert gate.due() == 11.0


class Passing(RuleBasedStateMachine):
    """A gate against a model: lanes arrive, begin, end, are lost and wait; it ends by letting all of them through."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.lane = 0
        self.ready: list[tuple[str, int]] = []
        """In the queue for a worker: arrived, or invited."""
        self.waiting: deque[tuple[str, int]] = deque()
        self.running: list[tuple[str, int]] = []
        """Attempts that the gate was asked for."""
        self.unasked: list[tuple[str, int]] = []
        """Attempts that began while it was open."""
        self.begun: list[float] = []
        self.passed: set[int] = set()
        self.lost: set[int] = set()

    @initialize(
        concurrency=st.none() | st.integers(1, 4),
        rate=st.none() | st.tuples(st.integers(1, 30), st.sampled_from([1.0, 10.0])),
        suspends=st.booleans(),
    )
    def begin(self, concurrency: int | None, rate: tuple[int, float] | None, suspends: bool) -> None:
        self.concurrency, self.rate = concurrency, rate
        suspension = Suspension(1.0, 8.0) if suspends else None
        self.gate: Gate[str, int] = Gate("h", Limits(concurrency, Rate(*rate) if rate else None, suspension))

    @rule(group=st.sampled_from("ab"), count=st.integers(1, 12))
    def arrive(self, group: str, count: int) -> None:
        for _ in range(count):
            self.lane += 1
            self.ready.append((group, self.lane))

    @precondition(lambda self: self.ready)
    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        """Workers take lanes in about the order in which they became ready."""
        self.attempt_one(data.draw(st.integers(0, min(3, len(self.ready) - 1))))

    @rule()
    def attempt_all(self) -> None:
        while self.ready:
            self.attempt_one(0)

    @precondition(lambda self: self.running or self.unasked)
    @rule(data=st.data(), ending=st.sampled_from(Ending), comes_back=st.booleans())
    def end(self, data: st.DataObject, ending: Ending, comes_back: bool) -> None:
        attempt = data.draw(st.sampled_from([*self.running, *self.unasked]))
        self.end_one(attempt, ending, comes_back)

    @precondition(lambda self: self.running or self.unasked)
    @rule(ending=st.sampled_from([Ending.OUTAGE, Ending.SUCCEEDED]))
    def end_all(self, ending: Ending) -> None:
        for attempt in [*self.running, *self.unasked]:
            self.end_one(attempt, ending, comes_back=False)

    @rule(seconds=st.floats(0.01, 5))
    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.invite()

    @rule(group=st.sampled_from("ab"))
    def lose(self, group: str) -> None:
        self.gate.forget(group)
        self.lost |= {lane for of, lane in [*self.ready, *self.waiting] if of == group}
        self.ready = [each for each in self.ready if each[0] != group]
        self.waiting = deque(each for each in self.waiting if each[0] != group)

    @invariant()
    def limits_hold(self) -> None:
        if self.concurrency is not None:
            assert len(self.running) <= self.concurrency
        if self.rate is not None:
            count, seconds = self.rate
            lately = [at for at in self.begun if at > self.clock - seconds]
            assert len(lately) <= count

    @invariant()
    def those_that_wait_are_those_that_were_refused(self) -> None:
        assert list(self.gate.waiting) == list(self.waiting)
        assert self.gate.snapshot(self.clock).waiting == len(self.waiting)

    @invariant()
    def what_is_due_lies_ahead(self) -> None:
        """Otherwise a thread that waits until then would loop without a pause."""
        self.invite()
        due = self.gate.due()
        assert due is None or due > self.clock - 1e-9

    @invariant()
    def an_open_gate_holds_nobody_up(self) -> None:
        if self.gate.is_open:
            assert not self.waiting
        if self.gate.is_calm:
            assert self.gate.is_open

    def teardown(self) -> None:
        """All attempts succeed from now on: each lane that is not lost gets through, without a call in between."""
        for _ in range(20 * (self.lane + 1)):
            for attempt in [*self.running, *self.unasked]:
                self.end_one(attempt, Ending.SUCCEEDED, comes_back=False)
            while self.ready:
                self.attempt_one(0)
            if not (self.running or self.unasked):
                if not self.waiting:
                    break
                due = self.gate.due()
                assert due is not None, "lanes wait, nothing runs, and no time is named"
                self.clock = max(self.clock, due) + 1e-9
                self.invite()
                assert self.ready, "the time that was named has come, and no lane is invited"
        assert not self.waiting
        assert self.passed | self.lost >= set(range(1, self.lane + 1))
        assert self.gate.running == 0

    # -----------------------------------------------------------------------------------------------

    def invite(self) -> None:
        guests = self.gate.invite(self.clock)
        assert guests == [self.waiting.popleft() for _ in guests], "they are not invited in the order of their arrival"
        self.ready += guests

    def attempt_one(self, index: int) -> None:
        group, lane = self.ready.pop(index)
        if self.gate.is_open:
            self.unasked.append((group, lane))
            return
        was_suspended = self.gate.is_suspended
        if not self.gate.begin(group, lane, self.clock):
            self.hold(group, lane)
            return
        self.running.append((group, lane))
        self.begun.append(self.clock)
        if was_suspended:
            assert self.clock >= (self.gate.suspension.due if self.gate.suspension else 0.0)

    def end_one(self, attempt: tuple[str, int], ending: Ending, comes_back: bool) -> None:
        (self.running if attempt in self.running else self.unasked).remove(attempt)
        if ending is not Ending.SUCCEEDED or not self.gate.is_calm:
            self.gate.end(attempt[1], ending, self.clock, 0.5)
        if ending is Ending.OUTAGE and self.gate.is_suspended:
            self.hold(*attempt)
        elif ending is not Ending.SUCCEEDED or comes_back:
            self.ready.append(attempt)
        else:
            self.passed.add(attempt[1])
        self.invite()

    def hold(self, group: str, lane: int) -> None:
        self.gate.wait(group, lane)
        self.waiting.append((group, lane))
        self.invite()


Passing.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestPassing: Callable[..., object] = Passing.TestCase
