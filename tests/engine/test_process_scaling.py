"""The number of consumers that a fleet chooses, under simulated loads: it converges, and does not oscillate."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.process_scaling import (
    FAILED_ROUNDS,
    GROW_ROUNDS,
    SHRINK_ROUNDS,
    Load,
    ProcessScaling,
    Step,
)

BUSY = Load(1.0, waits=True, partitions=4)
IDLE = Load(0.0, waits=False, partitions=4)


class Fleet:
    """A simulated fleet. Work is measured in what one consumer does in a round; a round is that of its reports."""

    def __init__(self, least: int, most: int, partitions: int = 64, seed: int = 1) -> None:
        self._scaling = ProcessScaling(least, most)
        self._partitions = partitions
        self._chance = random.Random(seed)
        self.count = least
        self.backlog = 0.0
        self.counts: list[int] = []
        self.changes: list[tuple[int, Step]] = []

    def run(self, rounds: int, work: Callable[[int], float]) -> None:
        for _ in range(rounds):
            self.backlog += work(len(self.counts)) * self._chance.uniform(0.8, 1.2)
            done = min(self.backlog, self._usable)
            self.backlog -= done
            use = done / self.count
            loads = [Load(use, self.backlog > 0, self._share(place)) for place in range(self.count)]
            step = self._scaling.observe(loads)
            self.counts.append(self.count)
            if step is not None:
                self.count = step.processes
                self.changes.append((len(self.counts), step))

    @property
    def _usable(self) -> int:
        return min(self.count, self._partitions)

    def _share(self, place: int) -> int:
        return self._partitions // self.count + (place < self._partitions % self.count)

    def changes_since(self, at: int) -> int:
        return sum(round_ >= at for round_, _ in self.changes)


def test_a_step_of_work_has_the_consumers_that_it_needs_and_none_when_it_is_over() -> None:
    fleet = Fleet(1, 8)
    fleet.run(200, lambda now: 3.5)
    assert 4 <= fleet.count <= 6
    assert fleet.backlog < 1
    assert fleet.changes_since(100) == 0
    fleet.run(400, lambda now: 0.1)
    assert fleet.count == 1


def test_a_ramp_is_followed_up_and_down_by_one_at_a_time() -> None:
    fleet = Fleet(1, 8)
    fleet.run(800, lambda now: 6 * min(now, 800 - now) / 400)
    assert 6 <= max(fleet.counts) <= 8
    fleet.run(400, lambda now: 0.0)
    assert fleet.count == 1
    assert len(fleet.changes) <= 16
    assert all(abs(after - before) <= 1 for before, after in zip(fleet.counts, fleet.counts[1:], strict=False))


def test_bursts_do_not_move_partitions_each_time() -> None:
    fleet = Fleet(1, 8)
    fleet.run(4000, lambda now: 4.0 if now % 100 < 20 else 0.1)
    assert len(fleet.changes) <= 40  # in 40 bursts, most of them in the first ones
    assert fleet.changes_since(2000) <= 12


def test_a_constant_load_near_a_boundary_does_not_make_the_number_oscillate() -> None:
    for work in (0.5, 1.0, 1.5, 1.9, 2.1, 3.0):
        fleet = Fleet(1, 8)
        fleet.run(2000, lambda now, work=work: work)  # type: ignore[misc]
        assert fleet.changes_since(500) <= 2, work
        assert fleet.backlog < 10, work


def test_a_load_without_end_has_the_most_and_keeps_them() -> None:
    fleet = Fleet(1, 8)
    fleet.run(1000, lambda now: 100.0)
    assert fleet.count == 8
    assert len(fleet.changes) == 7


def test_there_are_never_more_consumers_than_partitions() -> None:
    fleet = Fleet(1, 8, partitions=3)
    fleet.run(300, lambda now: 100.0)
    assert max(fleet.counts) == 3


def test_it_takes_several_rounds_in_a_row_and_all_consumers() -> None:
    scaling = ProcessScaling(1, 8)
    assert [scaling.observe([BUSY, BUSY]) for _ in range(GROW_ROUNDS - 1)] == [None] * (GROW_ROUNDS - 1)
    assert scaling.observe([BUSY, BUSY._replace(use=0.5)]) is None
    assert [scaling.observe([BUSY, BUSY]) for _ in range(GROW_ROUNDS - 1)] == [None] * (GROW_ROUNDS - 1)
    scaling.restart()
    assert [scaling.observe([BUSY, BUSY]) for _ in range(GROW_ROUNDS - 1)] == [None] * (GROW_ROUNDS - 1)
    assert scaling.observe([BUSY, BUSY]) == Step(3, "tasks wait and all 2 consumers are busy")
    one = ProcessScaling(1, 8)
    assert [one.observe([BUSY]) for _ in range(GROW_ROUNDS)][-1] == Step(2, "tasks wait and the consumer is busy")


@pytest.mark.parametrize(
    ("most", "partitions", "fails", "limit"),
    [
        (2, 4, False, "--processes allows no more"),
        (8, 1, False, "the fleet has no more partitions"),
        (8, 4, True, "a consumer that was added could not start"),
        (8, 4, False, None),
    ],
)
def test_the_limit_on_growth_has_a_reason_while_tasks_wait(
    most: int, partitions: int, limit: str | None, *, fails: bool
) -> None:
    scaling, busy = ProcessScaling(1, most), BUSY._replace(partitions=partitions)
    if fails:
        scaling.fail()
    for _ in range(GROW_ROUNDS):
        assert scaling.limit is None
        scaling.observe([busy, busy])
    assert scaling.limit == (limit and f"tasks wait and all 2 consumers are busy, but {limit}")
    scaling.observe([busy, busy])
    assert (scaling.limit is None) is (limit is None)
    scaling.observe([busy, IDLE])
    assert scaling.limit is None


def test_no_consumer_is_added_while_one_has_no_partition() -> None:
    scaling = ProcessScaling(1, 8)
    assert not any(scaling.observe([BUSY, BUSY._replace(partitions=0)]) for _ in range(10))


def test_a_consumer_that_could_not_start_is_not_retried_for_long() -> None:
    scaling = ProcessScaling(1, 8)
    scaling.fail()
    steps = [scaling.observe([BUSY]) for _ in range(FAILED_ROUNDS + 1)]
    assert steps.index(Step(2, "tasks wait and the consumer is busy")) == FAILED_ROUNDS - 1


def test_tasks_that_wait_for_a_moment_keep_no_consumer_and_a_busy_one_does() -> None:
    moment, busy = Load(0.2, waits=True, partitions=4), Load(0.9, waits=True, partitions=4)
    scaling = ProcessScaling(1, 8)
    assert [scaling.observe([moment, IDLE]) for _ in range(SHRINK_ROUNDS)][-1] == Step(
        1, "there was work for 0.2 of 2 consumers on average, and no task waited for long"
    )
    assert not any(scaling.observe([busy if n % 20 == 0 else IDLE, IDLE]) for n in range(10 * SHRINK_ROUNDS))
    used = Load(0.9, waits=False, partitions=4)
    assert not any(scaling.observe([used, used]) for _ in range(10 * SHRINK_ROUNDS))


def test_idle_consumers_go_one_by_one_and_not_below_the_least() -> None:
    scaling = ProcessScaling(2, 8)
    steps = [scaling.observe([IDLE] * 3) for _ in range(SHRINK_ROUNDS)]
    assert steps == [None] * (SHRINK_ROUNDS - 1) + [
        Step(2, "there was work for 0.0 of 3 consumers on average, and no task waited for long")
    ]
    assert not any(scaling.observe([IDLE] * 2) for _ in range(3 * SHRINK_ROUNDS))


LOADS = st.builds(Load, st.floats(0, 1), st.booleans(), st.integers(0, 4))


@given(st.integers(1, 5), st.integers(0, 5), st.lists(st.lists(LOADS, min_size=10, max_size=10), max_size=200))
def test_the_number_of_consumers_stays_within_its_bounds_for_any_reports(
    least: int, room: int, rounds: list[list[Load]]
) -> None:
    scaling, count, unchanged = ProcessScaling(least, least + room), least, 0
    for reports in rounds:
        loads = reports[:count]
        step, unchanged = scaling.observe(loads), unchanged + 1
        if step is not None:
            assert abs(step.processes - count) == 1
            assert least <= step.processes <= least + room
            assert step.processes < count or step.processes <= sum(load.partitions for load in loads)
            assert unchanged >= GROW_ROUNDS
            count, unchanged = step.processes, 0
