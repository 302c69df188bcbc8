"""`processor health` beside a fleet that works, waits, is frozen, or has lost its broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from processor.health.verdict import Check, Health, judge_fleet
from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario
from tests.support.until import until

BOUND = 60.0


class Probe:
    """What `processor health` would say, asked in this process: it has to be asked often."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, *, max_age: float = 60) -> Health:
        return judge_fleet(self.file, max_age)

    def until(self, condition: Callable[[Health], bool], *, max_age: float = 60) -> Health:
        def fitting() -> Health | None:
            health = self(max_age=max_age)
            return health if condition(health) else None

        return until(fitting, lambda: self(max_age=max_age), BOUND, 0.05)


def is_well(health: Health) -> bool:
    return health.holds(list(Check))


def command_line(file: Path) -> dict[str, Any]:
    """The command's own answer."""
    command = [sys.executable, "-m", "processor", "health", "--heartbeat-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["healthy"] is (done.returncode == 0)
    return answer


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    return Probe(tmp_path / "heartbeat")


def test_a_fleet_is_ready_once_it_has_joined_the_group_with_or_without_partitions(
    scenario: MakeScenario, probe: Probe
) -> None:
    fleet = scenario(1).run("nothing", "-p", "2", "--heartbeat-file", str(probe.file))
    probe.until(is_well)
    told = command_line(probe.file)
    assert (told["healthy"], told["alive"], told["ready"], told["progressing"]) == (True, True, True, True)
    assert sorted(consumer["state"] for consumer in told["consumers"]) == ["assigned", "idle"]
    assert {consumer["pid"] for consumer in told["consumers"]} == set(fleet.consumers())
    assert fleet.stop() == 0
    assert list(probe.file.parent.glob("heartbeat*")) == []
    told = command_line(probe.file)
    assert not told["healthy"]
    assert "it has not started yet, or has ended" in told["reason"]


def test_a_frozen_consumer_or_parent_is_not_alive(scenario: MakeScenario, probe: Probe) -> None:
    fleet = scenario(2).run("nothing", "--heartbeat-file", str(probe.file))
    probe.until(is_well)
    for pid in (fleet.consumers()[0], fleet.pid):
        os.kill(pid, signal.SIGSTOP)
        probe.until(lambda health: not health.alive, max_age=3)
        os.kill(pid, signal.SIGCONT)
        probe.until(lambda health: health.alive, max_age=3)
    assert fleet.stop() == 0


def test_a_consumer_that_died_does_not_make_its_fleet_unhealthy(scenario: MakeScenario, probe: Probe) -> None:
    fleet = scenario(2).run("nothing", "--heartbeat-file", str(probe.file))
    probe.until(is_well)
    (first,) = fleet.consumers()

    def is_another(health: Health) -> bool:
        (consumer,) = health.consumers
        return consumer.pid not in (None, first) and consumer.state in ("joining", "assigned")

    psutil.Process(first).kill()
    health = probe.until(lambda health: not health.alive or is_another(health))
    assert is_another(health)
    assert fleet.stop() == 0


def test_a_fleet_that_waits_for_its_broker_is_alive(
    own_broker: MakeBroker, start_fleet: Callable[..., Fleet], probe: Probe
) -> None:
    broker = own_broker()
    cluster.create_topic(broker.bootstrap_servers, "t", 2)
    start_fleet(
        "app:handle",
        *("-b", broker.bootstrap_servers, "-t", "t", "-g", "g", "--heartbeat-file", str(probe.file)),
        modules={"app": "def handle(task): pass\n"},
    )
    probe.until(is_well)
    broker.kill()
    ended = time.monotonic() + 10  # time is tested: longer than the age, so that no poll is an old one
    while time.monotonic() < ended:
        assert probe(max_age=8).holds([Check.ALIVE, Check.PROGRESSING])
        time.sleep(0.05)


def test_an_unwritable_heartbeat_file_is_one_error_line_and_exit_code_5(scenario: MakeScenario, tmp_path: Path) -> None:
    fleet = scenario(1).run("nothing", "--heartbeat-file", str(tmp_path / "none" / "heartbeat"))
    assert fleet.wait() == 5
    (line,) = fleet.lines
    assert "cannot be written: No such file or directory" in line


def test_a_disk_lost_at_run_time_is_reported_and_processing_continues(scenario: MakeScenario, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    work = scenario(1)
    fleet = work.run("nothing", "--heartbeat-file", str(folder / "heartbeat"))
    fleet.wait_for("consumer.assigned")
    folder.rename(tmp_path / "gone")
    fleet.wait_for("heartbeat.failed", count=2)  # the parent and the consumer
    assert fleet.stop() == 0
