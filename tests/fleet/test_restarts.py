"""What follows the end of a consumer, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from processor.engine.deaths import TaskPlace
from processor.fleet.restarts import AwaitChange, Backoff, Exit, Finish, GiveUp, Replace, combined, what_follows


def follow(
    how: Exit, *, fleet_was_up: bool = True, last_delay: float | None = None, reload: bool = False
) -> Replace | Finish | AwaitChange | GiveUp:
    return what_follows(how, fleet_was_up=fleet_was_up, last_delay=last_delay, backoff=Backoff(), reload=reload)


def exited(exit_code: int, *, lived: float = 5.0, joined: bool = True, **more: Any) -> Exit:
    return Exit(exit_code, lived, joined, **more)


def test_a_consumer_that_reached_the_end_is_not_replaced() -> None:
    assert follow(exited(0, finished=True)) == Finish()


def test_a_consumer_that_reached_the_end_and_then_failed_is_replaced() -> None:
    assert follow(exited(3, finished=True)) == Replace(0.5)


def test_a_recycled_consumer_is_replaced_at_once() -> None:
    assert follow(exited(0, recycling=True), last_delay=8.0) == Replace(0.0)


@pytest.mark.parametrize("exit_code", [2, 5])
@pytest.mark.parametrize("fleet_was_up", [True, False])
def test_a_mistake_in_the_settings_or_the_app_is_final_whenever_it_shows(exit_code: int, fleet_was_up: bool) -> None:
    decision = follow(exited(exit_code, joined=False, failure="wrong"), fleet_was_up=fleet_was_up)
    assert decision == GiveUp("wrong", exit_code)


@pytest.mark.parametrize("fleet_was_up", [True, False])
def test_code_that_cannot_be_loaded_is_waited_for_where_changes_are(fleet_was_up: bool) -> None:
    decision = follow(exited(5, joined=False, failure="wrong"), fleet_was_up=fleet_was_up, reload=True)
    assert decision == AwaitChange("wrong")


def test_code_that_ends_the_process_at_the_start_is_waited_for_as_well() -> None:
    decision = follow(exited(1, joined=False), fleet_was_up=False, reload=True)
    assert decision == AwaitChange("a consumer could not start (exit code 1)")


@pytest.mark.parametrize("exit_code", [2, 4])
def test_a_failure_that_no_change_of_the_code_can_fix_is_final_with_reload_too(exit_code: int) -> None:
    decision = follow(exited(exit_code, joined=False, failure="wrong"), fleet_was_up=False, reload=True)
    assert decision == GiveUp("wrong", exit_code)


@pytest.mark.parametrize("exit_code", [1, 4])
def test_an_unavailable_broker_is_final_only_if_it_was_never_available(exit_code: int) -> None:
    gone = exited(exit_code, joined=False, failure="no broker")
    assert follow(gone, fleet_was_up=False) == GiveUp("no broker", exit_code)
    assert follow(gone, fleet_was_up=True) == Replace(0.5)


@pytest.mark.parametrize("exit_code", [0, 1, 2, 3, 4, 5])
def test_a_consumer_that_was_in_the_group_is_always_replaced(exit_code: int) -> None:
    assert follow(exited(exit_code)) == Replace(0.5)


@pytest.mark.parametrize("exit_code", [-9, -11])
def test_a_consumer_that_was_killed_at_work_is_replaced_at_once_and_then_with_growing_delays(exit_code: int) -> None:
    assert follow(exited(exit_code)) == Replace(0.0)
    assert follow(exited(exit_code), last_delay=0.0) == Replace(0.5)
    assert follow(exited(exit_code), last_delay=0.5) == Replace(1.0)
    assert follow(exited(exit_code, lived=60.0), last_delay=30.0) == Replace(0.0)


@pytest.mark.parametrize("exit_code", [-9, 7])
def test_a_death_whose_cause_is_known_does_not_lengthen_the_delay(exit_code: int) -> None:
    """There are at most `--max-attempts` of them for each task, and the next task is not to wait for minutes."""
    alone = exited(exit_code, died=True, running=[TaskPlace("t", 0, 1)])
    beside = alone._replace(running=[*alone.running, TaskPlace("t", 0, 2)])
    assert follow(alone, last_delay=16.0) == Replace(0.5)
    assert follow(beside, last_delay=16.0) == Replace(30.0)


def test_a_crash_at_the_start_is_tried_again() -> None:
    assert follow(exited(-11, joined=False), fleet_was_up=False) == Replace(0.5)


def test_the_wait_doubles_up_to_its_maximum_and_starts_again_after_a_long_life() -> None:
    delays: list[float] = []
    last: float | None = None
    for _ in range(9):
        last = Backoff().after(last, lived=1.0)
        delays.append(last)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert Backoff().after(30, lived=60.0) == 0.5


@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 0], 0), ([0, 3], 3), ([4, 3, 5], 3), ([1, 4], 4), ([0, -9], 1)]
)
def test_the_fleets_exit_code(codes: list[int], code: int) -> None:
    assert combined(codes) == code


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (exited(-9), "killed by SIGKILL"),
        (exited(-64), "killed by SIGRTMAX"),
        (exited(-99), "killed by signal 99"),
        (exited(7), "exit code 7"),
        (exited(0), "it was stopped by another process"),
        (exited(0, died=True), "exit code 0"),
        (exited(4, failure="no broker responds"), "no broker responds"),
        (exited(0, recycling=True, failure="x"), "a handler could not be interrupted"),
    ],
)
def test_the_reason_of_an_exit_is_a_text(ended: Exit, reason: str) -> None:
    assert ended.reason == reason
