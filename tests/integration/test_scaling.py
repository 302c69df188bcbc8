"""Fleets that scale themselves, on a real broker."""

from __future__ import annotations

from tests.support.scenario import MakeScenario

TASKS, SESSIONS = 2000, 40


def test_workers_that_find_their_number_lose_and_repeat_no_task(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce_sessions(TASKS, SESSIONS)
    fleet = work.run("note", "-w", "2..16", "--commit-interval", "0.2", seconds=0.004)
    started = fleet.wait_for("consumer.started")
    assert (started["workers"], started["workers_most"]) == (2, 16)
    changed = fleet.wait_for("consumer.workers_changed")
    assert (changed["workers_before"], changed["workers"]) == (2, 4)
    assert changed["reason"].startswith("tasks wait and all 2 workers are busy: ")
    work.wait_done(TASKS)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
