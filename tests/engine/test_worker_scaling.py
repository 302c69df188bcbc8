"""The number of workers that a consumer chooses, under simulated loads: it converges, and does not oscillate."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from processor.engine.worker_scaling import LONGEST_SECONDS, SHORTEST_SECONDS, Resize, Sample, WorkerScaling
from tests.engine.workload import Workload


def constant(value: float) -> Callable[[float], float]:
    return lambda _: value


def load(least: int, most: int, arrivals: float, seconds: Callable[[float, int], float]) -> Workload:
    return Workload(WorkerScaling(least, most), constant(arrivals), seconds)


def test_a_step_of_work_has_the_workers_that_it_needs_within_seconds_and_no_more_after_a_while() -> None:
    work = load(8, 64, 200.0, lambda now, busy: 0.1)
    work.run(60)
    assert work.backlog < 100
    work.run(840)
    assert 20 <= work.mean_workers(600) <= 40
    assert len(work.changes_since(300)) <= 2
    assert work.backlog < 100


def test_a_ramp_is_followed_up_and_down() -> None:
    def arrivals(now: float) -> float:
        return 200 * min(now, 1200 - now) / 600 if now < 1200 else 1.0

    work = Workload(WorkerScaling(4, 64), arrivals, lambda now, busy: 0.2)
    work.run(600)
    assert 40 <= work.workers[-1][1] <= 64
    work.run(900)
    assert work.workers[-1][1] <= 8
    assert len(work.changes) <= 16
    assert work.backlog < 50


def test_bursts_do_not_move_the_number_each_time() -> None:
    work = Workload(WorkerScaling(8, 64), lambda now: 600.0 if now % 120 < 10 else 5.0, lambda now, busy: 0.1)
    work.run(3600)
    assert len(work.changes) <= 15  # of 30 bursts
    assert len(work.changes_since(1800)) <= 4
    assert work.mean_workers(1800) >= 48


def test_handlers_that_get_slower_with_concurrency_have_about_as_many_workers_as_end_the_most() -> None:
    def seconds(now: float, busy: int) -> float:
        return 0.05 * (1 + (busy / 16) ** 2)  # the rate is highest with 16

    work = load(2, 64, 2000.0, seconds)
    work.run(1200)
    ended = work.run(1200)
    assert 9 <= work.mean_workers(1200) <= 20
    assert ended / 1200 >= 0.85 * 16 / seconds(0.0, 16)
    assert len(work.changes_since(1200)) <= 8


def test_a_downstream_that_saturates_has_as_many_workers_as_saturate_it() -> None:
    work = load(2, 64, 2000.0, lambda now, busy: max(0.1, busy / 100))  # 100 a second, by 10 workers
    work.run(1200)
    assert work.run(1200) / 1200 >= 90
    assert 9 <= work.mean_workers(1200) <= 14
    assert len(work.changes_since(1200)) <= 8


def test_a_downstream_that_gets_slower_and_recovers_is_followed() -> None:
    def seconds(now: float, busy: int) -> float:
        return max(0.1, busy / (50 if 900 <= now < 2700 else 300))

    work = load(2, 64, 2000.0, seconds)
    work.run(900)
    assert 24 <= work.mean_workers(600) <= 48
    work.run(1800)
    assert work.mean_workers(2100) <= 12
    work.run(1800)
    assert 20 <= work.mean_workers(3900) <= 48


def test_handlers_that_compute_keep_the_least_number() -> None:
    work = load(4, 64, 2000.0, lambda now, busy: busy / 300)
    work.run(1800)
    assert 4 <= work.mean_workers(300) <= 5
    assert len(work.changes_since(300)) <= 6


def test_handlers_that_wait_have_the_largest_number_and_keep_it() -> None:
    work = load(8, 64, 3000.0, lambda now, busy: 0.1)
    work.run(30)
    assert work.workers[-1][1] == 64
    work.run(1770)
    assert work.mean_workers(300) >= 62
    assert len(work.changes_since(300)) <= 6


def test_attempts_of_many_seconds_have_more_workers_without_proof() -> None:
    work = load(2, 32, 10.0, lambda now, busy: 60.0)
    work.run(300)
    assert work.workers[-1][1] >= 16


def test_constantly_changing_conditions_do_not_make_the_number_oscillate() -> None:
    work = load(2, 64, 3000.0, lambda now, busy: 0.1 if now % 60 < 30 else 0.4)
    work.run(3600)
    assert len(work.changes_since(1800)) <= 12


def test_a_fixed_number_never_changes() -> None:
    work = load(8, 8, 2000.0, lambda now, busy: 0.1)
    work.run(300)
    assert work.changes == []


def test_the_first_number_is_within_the_bounds() -> None:
    assert [WorkerScaling(4, 16, workers).workers for workers in (1, 7, 90)] == [4, 7, 16]


def test_each_change_has_its_reason() -> None:
    scaling = WorkerScaling(2, 64)
    assert scaling.observe(Sample(2.0, 1000, 2, 9)) == Resize(
        4, "tasks wait and all 2 workers are busy: 500 attempts a second"
    )
    assert scaling.observe(Sample(2.0, 1000, 4, 9)) is None  # attempts that began before are left out
    assert scaling.observe(Sample(2.0, 1000, 4, 9)) == Resize(
        2, "more workers did not end more attempts: 500 a second, before 500"
    )
    assert [scaling.observe(Sample(10.0, 5000, 2, 9)) for _ in range(2)] == [None, None]
    assert scaling.observe(Sample(10.0, 5000, 2, 9)) is None  # fewer than the least: the other way, later
    idle = WorkerScaling(2, 64, 64)
    assert idle.observe(Sample(30.0, 5, 1, 0)) is None
    assert idle.observe(Sample(30.0, 5, 3, 0)) == Resize(
        4, "at most 3 of 64 workers were busy for 60 s, and no task waited"
    )
    unused = WorkerScaling(2, 64, 64)
    assert unused.observe(Sample(30.0, 0, 0, 0)) is None
    assert unused.observe(Sample(30.0, 0, 0, 0)) == Resize(
        2, "none of 64 workers were busy for 60 s, and no task waited"
    )
    many = WorkerScaling(2, 64, 64)
    assert many.observe(Sample(1.0, 1000, 64, 9)) is None
    trials = [many.observe(Sample(1.0, 1000, 64, 9)) for _ in range(20)]
    assert trials[-1] == Resize(32, "fewer may do as well: 1e+03 attempts a second")
    assert many.observe(Sample(1.0, 500, 32, 9)) is None
    assert many.observe(Sample(1.0, 500, 32, 9)) == Resize(
        64, "fewer workers ended fewer attempts: 500 a second, before 1e+03"
    )


SAMPLES = st.builds(
    Sample,
    st.sampled_from([0.25, 1.0, 7.0]),
    st.integers(0, 5000),
    st.integers(0, 70),
    st.integers(0, 3),
)


@given(st.integers(1, 20), st.integers(0, 50), st.lists(SAMPLES, max_size=300))
def test_the_number_of_workers_stays_within_its_bounds_and_rests_after_a_change_for_any_measurement(
    least: int, room: int, samples: list[Sample]
) -> None:
    scaling = WorkerScaling(least, least + room)
    now, changed_at = 0.0, -LONGEST_SECONDS
    for sample in samples:
        before = scaling.workers
        now += sample.seconds
        resize = scaling.observe(sample)
        assert least <= scaling.workers <= least + room
        if resize is None:
            assert scaling.workers == before
        else:
            assert resize.workers == scaling.workers != before
            assert now - changed_at > SHORTEST_SECONDS
            changed_at = now
