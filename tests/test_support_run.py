"""The command line as a child of the test: read, waited for, and ended afterwards. A stand-in takes its place."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.support.run import Fleet
from tests.support.until import until

# Two consumers that do nothing; SIGTERM ends the supervisor, and its consumers with it, with exit code 7.
STAND_IN = """
import json, os, signal, subprocess, sys
say = lambda **event: print(json.dumps(event), file=sys.stderr, flush=True)
members = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2)]
def stop(*_):
    for member in members:
        member.kill()
        member.wait()
    say(event="fleet.stopped", exit_code=7)
    os._exit(7)
signal.signal(signal.SIGTERM, stop)
print(" ".join(sys.argv[1:]), flush=True)
print("no event", file=sys.stderr, flush=True)
say(event="fleet.started", secret=os.environ.get("PROCESSOR_TOPIC"), given=os.environ.get("GIVEN"))
say(event="consumer.started", consumer=0)
say(event="consumer.started", consumer=1)
if "--talkative" in sys.argv:
    for number in range(3000):
        say(event="task.retried", error="x" * 100)
    print("all is logged", flush=True)
signal.pause()
"""


class StandIn(Fleet):
    """What the stand-in says is no log of ours."""

    def check_log(self) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder in which `python -m processor` is the stand-in."""
    (tmp_path / "processor").mkdir()
    (tmp_path / "processor" / "__init__.py").touch()
    (tmp_path / "processor" / "__main__.py").write_text(STAND_IN)
    return tmp_path


def test_events_are_waited_for_by_name_fields_and_count(folder: Path) -> None:
    with StandIn("app:run", "--topic", "t", folder=folder) as fleet:
        assert fleet.wait_for("consumer.started", consumer=1)["consumer"] == 1
        assert fleet.wait_for("consumer.started", count=2)["consumer"] == 1
        assert len(fleet.heard("consumer.started")) == 2
        assert fleet.lines == ["no event"]
        assert fleet.stdout == "run app:run --topic t\n"


def test_a_wait_for_an_absent_event_fails_with_the_lines_that_were_logged(folder: Path) -> None:
    with StandIn("app:run", folder=folder) as fleet:
        fleet.wait_for("consumer.started", count=2)
        with pytest.raises(
            AssertionError, match=r"consumer.started \{'consumer': 2\} was logged 0 times.*\n.*no event"
        ):
            fleet.wait_for("consumer.started", 0.05, consumer=2)


def test_a_fleet_that_logs_much_is_not_held_up_by_a_test_that_does_not_read_for_a_while(folder: Path) -> None:
    with StandIn("app:run", "--talkative", folder=folder) as fleet:
        with fleet._heard:
            until(lambda: "all is logged" in fleet.stdout, "the fleet has written its log")
        fleet.wait_for("task.retried", count=3000)


def test_a_wait_ends_when_the_fleet_does(folder: Path) -> None:
    with StandIn("app:run", folder=folder) as fleet:
        fleet.wait_for("consumer.started", count=2)
        assert fleet.stop() == 7
        started = time.monotonic()
        with pytest.raises(AssertionError, match="before the fleet ended"):
            fleet.wait_for("never.logged", 60)
        assert time.monotonic() - started < 30
        assert fleet.heard("fleet.stopped", exit_code=7)


def test_kill_leaves_neither_the_supervisor_nor_its_consumers(folder: Path) -> None:
    with StandIn("app:run", folder=folder) as fleet:
        fleet.wait_for("consumer.started", count=2)
        family = [fleet.pid, *fleet.consumers()]
        assert len(family) == 3
        assert sorted(fleet.kill()) == sorted(family)
        assert fleet.wait() == -signal.SIGKILL
    assert not any(_lives(pid) for pid in family)


def test_leaving_the_context_kills_what_still_runs(folder: Path) -> None:
    with StandIn("app:run", folder=folder) as fleet:
        fleet.wait_for("consumer.started", count=2)
        family = [fleet.pid, *fleet.consumers()]
    assert not any(_lives(pid) for pid in family)


def test_options_in_the_environment_of_the_test_run_do_not_reach_the_fleet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCESSOR_TOPIC", "somebody's own")
    with StandIn("app:run", folder=folder, env={"GIVEN": "yes"}) as fleet:
        started = fleet.wait_for("fleet.started")
        assert (started["secret"], started["given"]) == (None, "yes")


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
