"""The fleet's parent, over real processes: the parent is a child of the test, its consumers are stand-ins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from processor.fleet.supervisor import ONE_SIGNAL
from tests.fleet.parent_process import Fleet, Parent
from tests.support.processes import lives
from tests.support.until import until


@contextmanager
def suspended(parent: Parent) -> Iterator[None]:
    """Suspends the parent, so that it receives at one moment what it is sent meanwhile."""
    parent.signal(signal.SIGSTOP)
    until(lambda: psutil.Process(parent.process.pid).status() == psutil.STATUS_STOPPED, "the parent is suspended")
    yield
    parent.signal(signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_every_consumer_and_the_fleet_ends_clean(fleet: Fleet, number: signal.Signals) -> None:
    parent = fleet(processes=3, stats_interval=600.0)
    parent.noted("started", 3)
    parent.signal(number)
    assert parent.ended() == 0
    assert len(parent.notes("Drain")) == 3
    assert not parent.notes("SIGINT")
    assert not parent.notes("SIGTERM")
    started, idle, stopping, total, stopped = parent.events
    assert (idle["event"], total["event"]) == ("fleet.stats", "fleet.stats")
    assert (idle["consumers"], total["consumers"]) == (3, 0)
    assert (started["event"], started["processes"]) == ("fleet.started", 3)
    assert (stopping["event"], stopping["reason"]) == ("fleet.stopping", number.name)
    assert (stopped["event"], stopped["exit_code"], stopped["restarts"]) == ("fleet.stopped", 0, 0)
    assert parent.stderr() == ""


def test_the_second_signal_ends_the_fleet_at_once(fleet: Fleet) -> None:
    parent = fleet({0: ["ignores-drain"], 1: ["ignores-drain"]}, processes=2)
    parent.noted("started", 2)
    parent.signal()
    parent.noted("Drain", 2)
    time.sleep(ONE_SIGNAL)  # signals that come closer than this count as one: no wait for a condition
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("StopNow")) == 2


def test_a_signal_that_a_runner_sends_twice_is_one(fleet: Fleet) -> None:
    parent = fleet({0: ["ignores-drain"]}, drain_timeout=0.0, kill_after_drain=1.0)
    parent.noted("started")
    with suspended(parent):  # a busy machine may take its time between the two
        parent.signal(signal.SIGTERM)
        parent.signal(signal.SIGINT)
    assert parent.ended() == 3
    assert not parent.notes("StopNow")


def test_a_consumer_that_does_not_end_is_killed_at_the_bound(fleet: Fleet) -> None:
    parent = fleet({0: ["ignores-drain"]}, drain_timeout=0.1, kill_after_drain=0.1)
    (life,) = parent.noted("started")
    parent.signal()
    assert parent.ended() == 3
    (killed,) = parent.logged("fleet.consumer_killed")
    assert (killed["consumer"], killed["consumer_pid"]) == (0, life["pid"])


def test_a_consumer_that_is_stopped_by_the_kernel_is_killed_at_the_bound(fleet: Fleet) -> None:
    parent = fleet(drain_timeout=0.1, kill_after_drain=0.1)
    (life,) = parent.noted("started")
    os.kill(life["pid"], signal.SIGSTOP)
    until(lambda: psutil.Process(life["pid"]).status() == psutil.STATUS_STOPPED)  # until then it would obey
    parent.signal()
    assert parent.ended() == 3
    assert not psutil.pid_exists(life["pid"])


def test_a_consumer_that_ignores_the_second_signal_is_killed(fleet: Fleet) -> None:
    parent = fleet({0: ["deaf"]}, kill_after_stop_now=0.1)
    parent.noted("started")
    parent.signal()
    parent.noted("Drain")
    time.sleep(ONE_SIGNAL)  # as above
    parent.signal()
    assert parent.ended() == 3


def test_a_consumer_that_dies_is_replaced_each_time_after_a_longer_wait(fleet: Fleet) -> None:
    parent = fleet({0: ["crash", "crash", "crash", "crash", "well"]})
    parent.noted("started")
    ended = parent.logged("fleet.consumer_exited", 4)
    assert [line["restart_in_seconds"] for line in ended] == [0.02, 0.04, 0.08, 0.1]
    assert {line["exit_code"] for line in ended} == {1}
    parent.signal()
    assert parent.ended() == 0
    assert parent.logged("fleet.stopped")[0]["restarts"] == 4


def test_a_consumer_that_is_killed_is_replaced_and_the_others_continue(fleet: Fleet) -> None:
    parent = fleet(processes=2)
    first, second = parent.noted("started", 2)
    os.kill(first["pid"], signal.SIGKILL)
    *_, third = parent.noted("started", 3)
    assert third["index"] == first["index"]
    assert psutil.pid_exists(second["pid"])
    (ended,) = parent.logged("fleet.consumer_exited")
    assert (ended["exit_code"], ended["reason"]) == (-9, "killed by SIGKILL")


def test_tasks_that_ran_when_processes_died_are_suspects_and_the_one_that_ran_alone_has_its_deaths(
    fleet: Fleet,
) -> None:
    parent = fleet({0: ["dies", "dies 5 6", "dies 6", "well"]}, processes=2, stats_interval=0.1)
    parent.noted("started", 2)
    died = parent.logged("process.died", 3)
    assert [line["suspects"] for line in died] == [[], ["t-0-5", "t-0-6"], ["t-0-6"]]
    assert {(line["consumer"], line["exit_code"], line["reason"]) for line in died} == {(0, 7, "exit code 7")}
    (suspected,) = parent.logged("task.suspected")
    assert (suspected["topic"], suspected["partition"], suspected["offset"], suspected["deaths"]) == ("t", 0, 6, 2)
    last = parent.noted("Watch t-0-6:2 t-0-5:0", 2)  # its successor, and the consumer beside it
    assert {line["index"] for line in last} == {0, 1}
    until(lambda: parent.logged("fleet.stats")[-1]["process_deaths"] == 3, "the deaths are counted")
    assert len([line for line in parent.notes("begin") if line["index"] == 1]) == 1


def test_the_replacement_of_a_dead_consumer_watches_even_without_recorded_suspects(fleet: Fleet) -> None:
    parent = fleet({0: ["dies", "crash-at-start", "well"]})
    (order,) = parent.noted("Watch")
    assert order["pid"] == parent.noted("started")[0]["pid"]
    parent.signal()
    assert parent.ended() == 0


def test_a_consumer_that_has_reported_its_end_has_not_died(fleet: Fleet) -> None:
    parent = fleet({0: ["no-broker-any-more", "recycle", "well"]})
    (life,) = parent.noted("started")
    os.kill(life["pid"], signal.SIGTERM)
    parent.noted("started", 2)
    assert len(parent.logged("fleet.consumer_exited", 3)) == 3
    parent.signal()
    assert parent.ended() == 0
    assert not [line for line in parent.events if line["event"] == "process.died"]
    assert not [line for line in parent.notes() if line["what"].startswith("Watch")]


def test_a_consumer_that_receives_a_signal_of_its_own_is_replaced(fleet: Fleet) -> None:
    parent = fleet()
    (life,) = parent.noted("started")
    os.kill(life["pid"], signal.SIGTERM)
    parent.noted("started", 2)
    (ended,) = parent.logged("fleet.consumer_exited")
    assert ended["exit_code"] == 0


def test_a_consumer_that_recycles_is_replaced_without_a_wait(fleet: Fleet) -> None:
    parent = fleet({0: ["recycle"]}, backoff=600.0)
    parent.noted("started")
    (ended,) = parent.logged("fleet.consumer_exited")
    assert (ended["restart_in_seconds"], ended["reason"]) == (0.0, "a handler could not be interrupted")


def test_no_consumer_is_replaced_once_the_fleet_stops(fleet: Fleet) -> None:
    parent = fleet({0: ["crash"]}, processes=2, backoff=600.0)
    parent.logged("fleet.consumer_exited")
    parent.noted("started")
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 2


def test_the_fleet_ends_when_every_consumer_has_finished(fleet: Fleet) -> None:
    parent = fleet({0: ["finish"], 1: ["crash", "finish"]}, processes=2)
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 3


def test_a_failure_at_start_stops_the_fleet_and_is_one_line(fleet: Fleet) -> None:
    parent = fleet({index: ["no-app"] for index in range(3)}, processes=3)
    assert parent.ended() == 5
    assert parent.stderr() == "processor: APP 'a:b': there is no module 'a'\n"
    assert parent.events == []


def test_without_a_broker_at_the_start_the_fleet_ends(fleet: Fleet) -> None:
    parent = fleet({0: ["no-broker"]})
    assert parent.ended() == 4
    assert parent.stderr() == "processor: no broker responds at nowhere:1\n"


def test_a_group_that_admits_no_consumer_ends_the_fleet(fleet: Fleet) -> None:
    """The broker answers, so the consumer has started; that it is not allowed into the group comes after."""
    parent = fleet({0: ["not-let-in"]}, stats_interval=600.0)
    assert parent.ended() == 4
    assert parent.stderr() == "processor: access denied by the broker\n"
    assert [line["event"] for line in parent.events] == [
        "fleet.started",
        "fleet.stats",
        "fleet.stopping",
        "fleet.stats",
        "fleet.stopped",
    ]


def test_a_broker_that_is_lost_later_does_not_end_the_fleet(fleet: Fleet) -> None:
    parent = fleet({0: ["no-broker-any-more", "no-broker", "no-broker"]})
    parent.noted("started")
    assert len(parent.logged("fleet.consumer_exited", 3)) == 3
    parent.signal()
    assert parent.ended() == 0


def test_an_app_that_cannot_be_loaded_any_more_stops_a_fleet_that_ran(fleet: Fleet) -> None:
    parent = fleet({0: ["crash", "no-app"]}, processes=2)
    assert parent.ended() == 5
    assert parent.logged("fleet.stopping")[0]["reason"] == "APP 'a:b': there is no module 'a'"


def test_the_first_signal_to_a_fleet_that_has_given_up_does_not_end_its_drain(fleet: Fleet) -> None:
    parent = fleet({0: ["crash", "no-app"], 1: ["ignores-drain"]}, processes=2, stats_interval=0.1)
    parent.noted("Drain")
    parent.signal()
    parent.logged("fleet.stats", len(parent.logged("fleet.stats")) + 4)  # it has handled the signal
    assert not parent.notes("StopNow")
    parent.signal()
    parent.noted("StopNow")
    assert parent.ended() == 5


def test_a_consumer_that_crashes_before_its_first_report_is_started_again(fleet: Fleet) -> None:
    parent = fleet({0: ["crash-at-start"]})
    parent.noted("started")


@pytest.mark.parametrize(
    ("drains", "code"),
    [
        (["well", "well"], 0),
        (["well", "drain-timeout"], 3),
        (["drain-failure", "drain-timeout"], 3),
        (["drain-failure", "well"], 4),
    ],
)
def test_the_exit_code_is_that_of_the_worst_drain(fleet: Fleet, drains: list[str], code: int) -> None:
    parent = fleet({index: [how] for index, how in enumerate(drains)}, processes=2)
    parent.noted("started", 2)
    parent.signal()
    assert parent.ended() == code


def test_consumers_leave_when_their_parent_is_killed(fleet: Fleet) -> None:
    parent = fleet(processes=2)
    consumers = [psutil.Process(life["pid"]) for life in parent.noted("started", 2)]
    parent.signal(signal.SIGKILL)
    parent.noted("orphaned", 2)
    until(lambda: not any(map(lives, consumers)), "the consumers have left")


def test_an_interrupt_from_the_terminal_reaches_only_the_parent(fleet: Fleet) -> None:
    """Each consumer has a session of its own, so a signal to the parent's group does not include it."""
    parent = fleet()
    (life,) = parent.noted("started")
    assert os.getsid(life["pid"]) == life["pid"]
    assert os.getsid(parent.process.pid) != life["pid"]


def test_settings_do_not_appear_in_any_command_line(fleet: Fleet) -> None:
    parent = fleet()
    (life,) = parent.noted("started")
    *_, last = psutil.Process(life["pid"]).cmdline()
    assert last.isdigit()


def test_the_fleets_statistics_are_the_sum_of_its_consumers(fleet: Fleet) -> None:
    parent = fleet(processes=2, stats_interval=0.1)
    parent.noted("started", 2)
    until(lambda: [line for line in parent.events if line.get("succeeded") == 10], "the statistics of both")
    total = parent.logged("fleet.stats")[-1]
    assert (total["consumers"], total["in_flight"], total["lag"], total["restarts"]) == (2, 6, 8, 0)


def test_a_consumer_that_does_not_report_is_counted_as_silent(fleet: Fleet) -> None:
    """Whether it has nothing new to log or hangs, its log alone does not say; its parent has every report."""
    parent = fleet({0: ["reporting"]}, processes=2, stats_interval=1.0)
    parent.noted("started", 2)
    until(lambda: [line for line in parent.events if line.get("silent_consumers") == 1], "one of the two is silent")


def test_a_consumer_that_was_ordered_to_end_is_not_silent(fleet: Fleet) -> None:
    parent = fleet({0: ["slow"]}, stats_interval=0.1)
    until(lambda: [line for line in parent.events if line.get("silent_consumers") == 1], "it has reported once only")
    parent.signal()
    parent.noted("Drain")
    until(lambda: parent.logged("fleet.stats")[-1]["silent_consumers"] == 0, "it drains")
    Path(f"{parent.log}.released").touch()
    assert parent.ended() == 0


def test_a_consumer_starts_with_settings_that_its_socket_does_not_accept_at_once(fleet: Fleet) -> None:
    parent = fleet(certificates=1_000_000)
    parent.noted("started")
    parent.signal()
    assert parent.ended() == 0


def test_a_suspended_consumer_does_not_block_the_parent(fleet: Fleet) -> None:
    """Orders to a process that does not read are kept, and the others receive theirs."""
    parent = fleet(processes=2, drain_timeout=0.1, kill_after_drain=12.0)  # in which the other one drains
    first, second = parent.noted("started", 2)
    stopped = psutil.Process(first["pid"])
    stopped.suspend()
    until(lambda: stopped.status() == psutil.STATUS_STOPPED, "its last thread is stopped")
    parent.signal()
    drained = parent.noted("Drain")
    assert {order["index"] for order in drained} == {second["index"]}
    assert parent.ended() == 3
