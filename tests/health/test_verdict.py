"""Health is judged by the content and the age of heartbeats."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from processor.health import heartbeat
from processor.health.heartbeat import ConsumerHeartbeat, FleetHeartbeat, Place
from processor.health.verdict import Check, Health, judge_consumer, judge_fleet, judge_place

NOW = 1000.0
MAX_AGE = 10.0


def beat(**fields: Any) -> ConsumerHeartbeat:
    usual: dict[str, Any] = {
        "pid": 7, "consumer": 0, "state": "assigned", "written_at": NOW - 1, "polled_at": NOW - 1.5, "partitions": 2,
    }  # fmt: skip
    return ConsumerHeartbeat(**(usual | fields))


def verdict(**fields: Any) -> tuple[bool, bool, bool]:
    health = judge_consumer(beat(**fields), NOW, MAX_AGE)
    assert (health.reason is None) == (health.alive and health.ready and health.progressing)
    return health.alive, health.ready, health.progressing


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (True, True, True)),
        ({"state": "idle", "partitions": 0}, (True, True, True)),
        ({"suspended": ["store"]}, (True, True, True)),
        ({"state": "joining"}, (True, False, True)),
        ({"state": "draining"}, (True, False, True)),
        ({"state": "starting", "polled_at": None}, (True, False, True)),
        ({"state": "starting", "polled_at": None, "written_at": NOW - 11}, (False, False, False)),
        ({"polled_at": NOW - 11}, (False, False, False)),
        ({"written_at": NOW - 11}, (False, False, False)),
        ({"stuck_at": NOW + 5}, (True, True, True)),
        ({"stuck_at": NOW - 0.5}, (True, True, True)),  # it may have ended since the heartbeat was written
        ({"stuck_at": NOW - 2}, (True, True, False)),
        ({"written_at": NOW + 500, "polled_at": NOW + 500}, (False, False, False)),  # from before the machine's restart
    ],
)
def test_a_consumer_is_judged_by_its_heartbeat(fields: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    assert verdict(**fields) == expected


@pytest.mark.parametrize(
    ("extra", "state", "ready"),
    [(True, "joining", True), (True, "starting", True), (False, "joining", False), (True, "assigned", True)],
)
def test_a_fleet_is_ready_without_a_consumer_that_was_added_and_not_alive_without_it(
    tmp_path: Path, extra: bool, state: Any, ready: bool
) -> None:
    file, now = tmp_path / "beat", monotonic()

    def write(written_at: float) -> None:
        places = [Place(consumer=0, pid=7, since=now, done=False, extra=extra)]
        fleet = FleetHeartbeat(pid=6, written_at=now, last_loop_at=now, stopping=False, places=places)
        heartbeat.write(file, fleet)
        one = ConsumerHeartbeat(pid=7, consumer=0, state=state, written_at=written_at, workers=4)
        heartbeat.write(heartbeat.consumer_file(file, 0), one)

    write(now)
    health = judge_fleet(file, MAX_AGE)
    assert (health.alive, health.ready, health.reason is None) == (True, ready, ready)
    assert (health.consumers[0].state, health.consumers[0].workers) == (state, 4)
    write(now - 2 * MAX_AGE)
    assert not judge_fleet(file, MAX_AGE).alive


def test_suspended_handlers_are_named_and_are_no_fault() -> None:
    assert judge_consumer(beat(suspended=["store"]), NOW, MAX_AGE).suspended == ["store"]
    assert judge_consumer(beat(), NOW, MAX_AGE).suspended == []


def test_pauses_are_counted_and_are_no_fault() -> None:
    assert verdict(pauses=2, paused_since=1234) == (True, True, True)
    paused = judge_consumer(beat(pauses=2, paused_since=1234), NOW, MAX_AGE)
    assert (paused.pauses, paused.paused_since) == (2, 1234)
    assert judge_consumer(beat(), NOW, MAX_AGE).paused_since is None


def test_a_consumer_that_is_about_to_be_replaced_is_alive_and_not_ready() -> None:
    health = judge_place(Place(0, None, NOW, done=False), beat(), NOW, MAX_AGE)
    assert (health.state, health.alive, health.ready, health.progressing) == ("restarting", True, False, True)


def test_the_heartbeat_of_a_dead_consumer_does_not_count_for_its_successor() -> None:
    young = judge_place(Place(0, 8, NOW - 2, done=False), beat(), NOW, MAX_AGE)
    assert (young.state, young.alive, young.ready) == ("starting", True, False)
    old = judge_place(Place(0, 8, NOW - 11, done=False), beat(), NOW, MAX_AGE)
    assert (old.alive, old.reason) == (False, "its heartbeat is that of another process")


def test_a_consumer_whose_work_is_done_is_healthy() -> None:
    health = judge_place(Place(0, None, NOW, done=True), beat(), NOW, MAX_AGE)
    assert (health.state, health.alive, health.ready, health.progressing) == ("done", True, True, True)


def fleet_of(folder: Path, *states: str, turned: float = 0.0, stopping: bool = False) -> Health:
    now = monotonic()
    path = folder / "heartbeat"
    for index, state in enumerate(states):
        one: Any = beat(consumer=index, pid=index + 1, state=state, written_at=now, polled_at=now)
        heartbeat.write(heartbeat.consumer_file(path, index), one)
    places = [Place(index, index + 1, now, done=False) for index in range(len(states))]
    heartbeat.write(
        path, FleetHeartbeat(pid=99, written_at=now, last_loop_at=now - turned, stopping=stopping, places=places)
    )
    return judge_fleet(path, MAX_AGE)


def test_a_fleet_is_ready_when_every_consumer_is(tmp_path: Path) -> None:
    assert fleet_of(tmp_path, "assigned", "idle").holds(list(Check))
    health = fleet_of(tmp_path, "assigned", "joining")
    assert (health.alive, health.ready, health.reason) == (True, False, "consumer 1: it is joining")


def test_a_fleet_whose_parent_does_not_complete_loops_is_not_alive(tmp_path: Path) -> None:
    health = fleet_of(tmp_path, "assigned", turned=11)
    assert (health.alive, health.reason) == (False, "the fleet's parent last completed a loop 11 s ago")


def test_a_fleet_that_stops_is_alive_and_not_ready(tmp_path: Path) -> None:
    health = fleet_of(tmp_path, "assigned", stopping=True)
    assert (health.alive, health.ready, health.reason) == (True, False, "the fleet is stopping")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"", "does not hold a heartbeat"),
        (b"\xff{", "does not hold a heartbeat"),
        (b"{}", "does not hold a heartbeat"),
        (b"[" * 100_000, "does not hold a heartbeat"),
    ],
)
def test_a_file_without_a_heartbeat_is_not_alive_for_a_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "heartbeat"
    if content is not None:
        path.write_bytes(content)
    health = judge_fleet(path, MAX_AGE)
    assert not health.alive
    assert reason in (health.reason or "")


def test_a_consumer_without_a_parent_is_judged_alone(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    now = monotonic()
    heartbeat.write(path, beat(written_at=now, polled_at=now))
    assert judge_fleet(path, MAX_AGE).holds(list(Check))
