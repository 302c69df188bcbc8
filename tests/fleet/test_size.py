"""How many consumers a fleet has: by its load, within bounds, and by signals. Stand-ins are its consumers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from processor.engine.process_scaling import Load
from processor.fleet.size import FleetSize, load_of
from processor.health.heartbeat import FleetHeartbeat, read
from processor.options.bounds import Bounds
from tests.fleet.parent_process import BOUND, Fleet, Parent
from tests.support.processes import children, descendants
from tests.support.stats import consumer_stats, partition_stats
from tests.support.until import until

LOADED = {index: ["loaded"] * 3 for index in range(8)}

BUSY, IDLE = Load(1.0, waits=True, partitions=4), Load(0.0, waits=False, partitions=4)


def load(parent: Parent, load: Load) -> None:
    """Has each consumer report this load from now on."""
    scratch = parent.log.with_suffix(".scratch")
    scratch.write_text(json.dumps(load))
    scratch.replace(f"{parent.log}.load")


def changes(parent: Parent, count: int = 1) -> list[tuple[int, int]]:
    return [(line["processes_before"], line["processes"]) for line in parent.logged("fleet.processes_changed", count)]


# --- by hand ---------------------------------------------------------------------------------------


def test_sigttin_adds_a_consumer_and_sigttou_takes_the_last_one_away_in_order(fleet: Fleet) -> None:
    parent = fleet(processes=2)
    parent.noted("started", 2)
    parent.signal(signal.SIGTTIN)
    *_, third = parent.noted("started", 3)
    assert third["index"] == 2
    parent.signal(signal.SIGTTOU)
    (drained,) = parent.noted("Drain")
    assert drained["pid"] == third["pid"]
    until(lambda: not psutil.pid_exists(third["pid"]), "it has left")
    assert changes(parent, 2) == [(2, 3), (3, 2)]
    assert [line["reason"] for line in parent.logged("fleet.processes_changed", 2)] == ["SIGTTIN", "SIGTTOU"]
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 3
    assert [line["pid"] for line in parent.notes("for good")] == [third["pid"]]  # the others return with the fleet
    assert parent.logged("fleet.stopped")[0]["restarts"] == 0
    assert parent.stderr() == ""


def test_a_fixed_number_has_no_upper_bound_and_the_last_consumer_stays(fleet: Fleet) -> None:
    parent = fleet(processes=1)
    parent.noted("started")
    parent.signal(signal.SIGTTOU)
    (limited,) = parent.logged("fleet.processes_limited")
    assert limited["reason"] == "SIGTTOU: a fleet has at least 1"
    for count in (2, 3):
        parent.signal(signal.SIGTTIN)
        parent.noted("started", count)
    assert changes(parent, 2) == [(1, 2), (2, 3)]
    parent.signal()
    assert parent.ended() == 0


def test_signals_stay_within_the_bounds_of_a_range(fleet: Fleet) -> None:
    parent = fleet(processes="1..2")
    parent.noted("started")
    parent.signal(signal.SIGTTIN)
    parent.noted("started", 2)
    parent.signal(signal.SIGTTIN)
    parent.logged("fleet.processes_limited")
    parent.signal(signal.SIGTTOU)
    parent.noted("Drain")
    parent.signal(signal.SIGTTOU)
    limited = parent.logged("fleet.processes_limited", 2)
    assert [line["reason"] for line in limited] == [
        "SIGTTIN: --processes 1..2 has at most 2",
        "SIGTTOU: --processes 1..2 has at least 1",
    ]
    parent.signal()
    assert parent.ended() == 0


def test_a_place_that_is_taken_away_while_its_process_is_away_gets_no_other(fleet: Fleet) -> None:
    parent = fleet({0: ["crash"]}, processes=2, backoff=600.0)
    parent.logged("fleet.consumer_exited")
    parent.noted("started")
    parent.signal(signal.SIGTTOU)
    assert changes(parent) == [(2, 1)]
    assert not parent.notes("Drain")
    parent.signal(signal.SIGTTIN)
    *_, added = parent.noted("started", 2)
    assert added["index"] == 0
    parent.signal()
    assert parent.ended() == 0


def test_a_consumer_that_was_added_is_replaced_when_it_dies(fleet: Fleet) -> None:
    parent = fleet({1: ["well", "well"]})
    parent.noted("started")
    parent.signal(signal.SIGTTIN)
    *_, added = parent.noted("started", 2)
    os.kill(added["pid"], signal.SIGKILL)
    *_, again = parent.noted("started", 3)
    assert again["index"] == 1
    parent.signal()
    assert parent.ended() == 0


def test_a_consumer_that_is_added_and_cannot_start_does_not_end_the_fleet(fleet: Fleet) -> None:
    parent = fleet({1: ["no-app"]})
    parent.noted("started")
    parent.signal(signal.SIGTTIN)
    (limited,) = parent.logged("fleet.processes_limited")
    assert limited["reason"] == "a consumer that was added cannot start: APP 'a:b': there is no module 'a'"
    assert limited["processes"] == 1
    parent.signal()
    assert parent.ended() == 0
    assert [line["index"] for line in parent.notes("Drain")] == [0]


def test_a_consumer_that_was_added_and_is_the_only_one_left_ends_the_fleet_if_it_cannot_start(fleet: Fleet) -> None:
    """A fleet without a consumer would end as if it had been stopped, with exit code 0."""
    parent = fleet({0: ["crash"], 1: ["well", "no-app"]}, backoff=600.0)
    parent.logged("fleet.consumer_exited")
    parent.signal(signal.SIGTTIN)
    (added,) = parent.noted("started")
    parent.signal(signal.SIGTTOU)
    assert changes(parent, 2) == [(1, 2), (2, 1)]
    os.kill(added["pid"], signal.SIGKILL)
    assert parent.ended() == 5


def test_a_stop_during_a_change_stops_all_consumers(fleet: Fleet) -> None:
    parent = fleet({1: ["slow"]}, processes=2)
    parent.noted("started", 2)
    parent.signal(signal.SIGTTOU)
    parent.noted("Drain")
    parent.signal(signal.SIGTTIN)
    parent.noted("started", 3)
    parent.signal()
    parent.noted("Drain", 3)
    Path(f"{parent.log}.released").touch()
    assert parent.ended() == 0
    assert [line["index"] for line in parent.notes("begin")][-1] == 2  # the place that is being left is not taken yet


def test_a_consumer_that_does_not_leave_in_time_is_killed_and_not_replaced(fleet: Fleet) -> None:
    parent = fleet({1: ["ignores-drain"]}, processes=2, drain_timeout=0.1, kill_after_drain=0.1)
    _, second = sorted(parent.noted("started", 2), key=lambda line: int(line["index"]))
    parent.signal(signal.SIGTTOU)
    (killed,) = parent.logged("fleet.consumer_killed")
    assert killed["consumer_pid"] == second["pid"]
    until(lambda: not psutil.pid_exists(second["pid"]))
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 2
    assert not [line for line in parent.events if line["event"] == "fleet.consumer_exited"]


IN_THE_BACKGROUND = """
import fcntl, os, subprocess, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
modes = termios.tcgetattr(0)
modes[3] |= termios.TOSTOP
termios.tcsetattr(0, termios.TCSANOW, modes)
sys.exit(subprocess.Popen(sys.argv[1:], process_group=0).wait())
"""


def test_a_fleet_in_the_background_of_a_terminal_that_stops_writers_writes_and_stops(tmp_path: Path) -> None:
    """The kernel sends SIGTTOU to those that write, unless they block it."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    shown = b""

    def shows(words: bytes) -> bool:
        nonlocal shown
        with contextlib.suppress(OSError):  # nothing yet, or nothing any more
            shown += os.read(ours, 65536)
        return words in shown

    app = json.dumps({"log": str(tmp_path / "log"), "lives": {}})
    parent = Path(__file__).with_name("parent.py")
    shell = subprocess.Popen(
        [sys.executable, "-c", IN_THE_BACKGROUND, sys.executable, str(parent), app, json.dumps({"processes": 2})],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        until(lambda: shows(b"fleet.started"), "the fleet writes to the terminal", BOUND)
        (fleet,) = children(shell.pid)
        fleet.terminate()
        assert shell.wait(BOUND) == 0
        until(lambda: shows(b"fleet.stopped"), "the last line", BOUND)
        assert b"fleet.processes_" not in shown
    finally:
        for process in [*descendants(shell.pid), shell] if shell.poll() is None else []:
            process.kill()
        os.close(ours)


# --- by load -----------------------------------------------------------------------------------------


def test_a_busy_fleet_grows_to_its_bound_and_an_idle_one_shrinks_again(fleet: Fleet) -> None:
    parent = fleet(LOADED, processes="1..3")
    parent.noted("started")
    load(parent, BUSY)
    parent.noted("started", 3)
    load(parent, IDLE)
    parent.logged("fleet.processes_changed", 3)
    assert changes(parent, 4) == [(1, 2), (2, 3), (3, 2), (2, 1)]
    reasons = [line["reason"] for line in parent.logged("fleet.processes_changed")]
    assert reasons[:2] == ["tasks wait and the consumer is busy", "tasks wait and all 2 consumers are busy"]
    assert reasons[3] == "there was work for 0.0 of 2 consumers on average, and no task waited for long"
    until(lambda: len(children(parent.process.pid)) == 1, "two consumers have left")
    assert {line["index"] for line in parent.notes("Drain")} == {1, 2}
    assert {line["index"] for line in parent.notes("for good")} == {1, 2}
    parent.signal()
    assert parent.ended() == 0
    started = parent.logged("fleet.started")[0]
    assert (started["processes"], started["processes_most"]) == (1, 3)
    assert parent.logged("fleet.stopped")[0]["restarts"] == 0


def test_a_fleet_does_not_grow_beyond_its_partitions(fleet: Fleet) -> None:
    parent = fleet(LOADED, processes="1..8")
    parent.noted("started")
    load(parent, BUSY._replace(partitions=1))
    parent.noted("reported twenty times")
    assert not [line for line in parent.events if line["event"] == "fleet.processes_changed"]
    load(parent, BUSY._replace(partitions=2))
    assert changes(parent) == [(1, 2)]
    parent.signal()
    assert parent.ended() == 0


def test_a_fleet_that_may_not_grow_although_tasks_wait_reports_it_once_each_time(fleet: Fleet) -> None:
    parent = fleet(LOADED, processes="1..2", stats_interval=0.1)
    parent.noted("started")
    load(parent, BUSY)
    (limited,) = parent.logged("fleet.processes_limited")
    assert limited["reason"] == "tasks wait and all 2 consumers are busy, but --processes allows no more"
    assert limited["processes"] == 2
    until(lambda: parent.logged("fleet.stats")[-1]["scaling_at_limit"], "it is at its limit", BOUND)
    load(parent, BUSY._replace(waits=False))
    until(lambda: not parent.logged("fleet.stats")[-1]["scaling_at_limit"], "no task waits", BOUND)
    assert len(parent.logged("fleet.processes_limited")) == 1
    load(parent, BUSY)
    parent.logged("fleet.processes_limited", 2)
    parent.signal()
    assert parent.ended() == 0


def test_a_fixed_fleet_with_automatic_workers_reports_when_its_consumers_are_not_enough(fleet: Fleet) -> None:
    parent = fleet(LOADED, workers="8..16")
    parent.noted("started")
    load(parent, BUSY)
    (limited,) = parent.logged("fleet.processes_limited")
    assert limited["reason"] == "tasks wait and the consumer is busy, but --processes allows no more"
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 1


def test_a_fixed_number_ignores_the_load(fleet: Fleet) -> None:
    parent = fleet(LOADED, processes=1)
    parent.noted("started")
    load(parent, BUSY)
    parent.noted("reported twenty times")
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 1


# --- heartbeats -----------------------------------------------------------------------------------------


def test_a_heartbeat_lists_added_places_as_extra_and_leaves_out_those_that_are_taken_away(
    fleet: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "beat"

    def places() -> list[tuple[int, bool]]:
        beat = read(file)
        assert isinstance(beat, FleetHeartbeat)
        return [(place.consumer, place.extra) for place in beat.places]

    parent = fleet({0: ["slow"], 1: ["slow"]}, heartbeat_file=str(file))
    parent.noted("started")
    until(lambda: file.exists() and places() == [(0, False)], "the first heartbeat")
    parent.signal(signal.SIGTTIN)
    until(lambda: places() == [(0, False), (1, True)], "the second place")
    parent.noted("started", 2)
    (tmp_path / "beat.1").touch()  # as from a process that is killed
    parent.signal(signal.SIGTTOU)
    until(lambda: places() == [(0, False)], "the second place is taken away")
    Path(f"{parent.log}.released").touch()
    until(lambda: not (tmp_path / "beat.1").exists(), "its heartbeat is removed")
    parent.signal()
    assert parent.ended() == 0
    assert not file.exists()


# --- what is reported ----------------------------------------------------------------------------------


def test_the_load_is_the_share_of_busy_workers_or_of_a_core() -> None:
    idle = consumer_stats(running=0, workers=8, ready_sessions=0, used_cores=0.01, assigned_partitions=3)
    assert load_of(idle, [partition_stats(fetched_ahead=0)]) == Load(0.01, waits=False, partitions=3)
    half = consumer_stats(running=4, workers=8, ready_sessions=2, used_cores=0.1, assigned_partitions=3)
    assert load_of(half, []) == Load(0.5, waits=True, partitions=3)
    full = consumer_stats(running=99, workers=8, ready_sessions=0, used_cores=0.1, assigned_partitions=3)
    assert load_of(full, [partition_stats(fetched_ahead=5)]) == Load(1.0, waits=True, partitions=3)
    computing = consumer_stats(running=0, workers=8, ready_sessions=0, used_cores=0.7)
    assert load_of(computing, []).use == 0.7


def test_a_round_is_over_when_each_consumer_has_reported() -> None:
    size = FleetSize(Bounds(1, 4))
    assert [size.observe([BUSY, None]) for _ in range(9)] == [None] * 9
    assert [size.observe([BUSY, BUSY]) for _ in range(2)] == [None, None]
    assert size.observe(None) is None  # one of them is being replaced
    assert [size.observe([BUSY, BUSY]) for _ in range(2)] == [None, None]
    step = size.observe([BUSY, BUSY])
    assert step is not None
    assert step.processes == 3
    size.fail()
    assert [size.observe([BUSY, BUSY]) for _ in range(9)] == [None] * 9
    assert size.limit == "tasks wait and all 2 consumers are busy, but a consumer that was added could not start"
    assert size.observe(None) is None
    assert size.limit is None


def test_a_fixed_number_is_not_changed_by_the_load_that_its_workers_follow() -> None:
    size = FleetSize(1, Bounds(8, 64))
    assert (size.is_scaled, size.follows_load) == (False, True)
    assert [size.observe([IDLE, IDLE]) for _ in range(99)] == [None] * 99  # the second one was added by hand
    assert [size.observe([BUSY]) for _ in range(9)] == [None] * 9
    assert size.limit is not None
    assert not FleetSize(4, 32).follows_load
