"""`--reload`: what the fleet's parent does when the code changes, with stand-ins for consumers."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from processor.fleet.supervisor import Supervisor
from processor.settings import Settings
from tests.fleet.parent_process import Parent
from tests.support.until import until

NO_APP = "processor: APP 'a:b': there is no module 'a'; waiting for a Python file to change\n"

Fleet = Callable[..., Parent]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:

        def start(lives: dict[int, list[str]] | None = None, **options: Any) -> Parent:
            return stack.enter_context(Parent(tmp_path / "log", lives or {}, reload=True, **options))

        yield start


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., None]:
    """Saves a module in the fleet's folder."""
    return lambda name="shop.py": (tmp_path / name).touch()


def printed(parent: Parent, line: str, count: int = 1) -> None:
    until(lambda: parent.stderr().count(line) >= count, f"{count} × {line!r}")


def test_the_end_of_the_watch_is_printed_with_sigttou_blocked() -> None:
    """A terminal that stops background writers would send SIGTTOU, which would take a consumer away."""
    printed: list[tuple[str, bool]] = []

    def say(line: str) -> None:
        printed.append((line, signal.SIGTTOU in signal.pthread_sigmask(signal.SIG_BLOCK, ())))

    def watch(*_: object, **__: object) -> Iterator[set[object]]:
        yield set()
        raise ValueError("a fault")

    settings = Settings(topics=("t",), group="g", reload=True)
    changes = Supervisor(settings, "tasks:handle", lambda event: None, say=say)._changes
    assert changes is not None
    changes._run(watch)
    assert printed == [("--reload does not see changes any more: a fault", True)]


def test_a_change_has_each_consumer_drain_and_another_take_its_place(fleet: Fleet, save: Callable[..., None]) -> None:
    parent = fleet(processes=2)
    parent.noted("started", 2)
    save()
    parent.noted("started", 4)
    assert len(parent.notes("Drain")) == 2
    [event] = parent.logged("fleet.reloading")
    assert event["files"] == ["shop.py"]
    parent.signal()
    assert parent.ended() == 0
    assert not parent.notes("for good")
    [stopped] = parent.logged("fleet.stopped")
    assert stopped["restarts"] == 0
    assert len(parent.logged("fleet.started")) == 1
    assert parent.stderr() == ""


def test_the_next_consumer_loads_a_change_that_was_made_during_a_drain(
    fleet: Fleet, save: Callable[..., None], tmp_path: Path
) -> None:
    parent = fleet({0: ["slow"]})
    parent.noted("started")
    save()
    parent.noted("Drain")
    save("other.py")
    parent.logged("fleet.reloading", 2)
    (tmp_path / "log.released").touch()
    parent.noted("started", 2)
    assert len(parent.notes("Drain")) == 1
    parent.signal()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 2


def test_code_that_does_not_load_is_one_line_and_the_next_change_is_tried(
    fleet: Fleet, save: Callable[..., None]
) -> None:
    parent = fleet({0: ["no-app", "no-app"], 1: ["no-app", "no-app"]}, processes=2)
    printed(parent, NO_APP)
    parent.noted("begin", 2)
    save()
    printed(parent, NO_APP, 2)
    parent.noted("begin", 4)
    save()
    parent.noted("started", 2)
    assert parent.stderr() == NO_APP * 2
    parent.signal()
    assert parent.ended() == 0


def test_a_fleet_at_work_survives_code_that_does_not_load(fleet: Fleet, save: Callable[..., None]) -> None:
    parent = fleet({0: ["well", "no-app"]})
    parent.noted("started")
    save()
    printed(parent, NO_APP)
    save()
    parent.noted("started", 2)
    parent.signal()
    assert parent.ended() == 0
    assert parent.stderr() == NO_APP


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_code_does_not_load_is_a_clean_one(fleet: Fleet, number: signal.Signals) -> None:
    parent = fleet({0: ["no-app"]})
    printed(parent, NO_APP)
    parent.signal(number)
    assert parent.ended() == 0


def test_a_stop_during_a_reload_ends_the_fleet(fleet: Fleet, save: Callable[..., None], tmp_path: Path) -> None:
    parent = fleet({0: ["slow"]})
    parent.noted("started")
    save()
    parent.noted("Drain")
    parent.signal()
    parent.logged("fleet.stopping")
    (tmp_path / "log.released").touch()
    assert parent.ended() == 0
    assert len(parent.notes("begin")) == 1


def test_a_consumer_that_does_not_end_its_drain_is_killed_and_replaced(fleet: Fleet, save: Callable[..., None]) -> None:
    parent = fleet({0: ["stubborn"]}, drain_timeout=0.0, kill_after_drain=0.2)
    parent.noted("started")
    save()
    parent.logged("fleet.consumer_killed")
    parent.noted("started", 2)
    parent.signal()
    assert parent.ended() == 0


def test_a_change_ends_the_wait_after_a_crash(fleet: Fleet, save: Callable[..., None]) -> None:
    parent = fleet({0: ["crash"]}, backoff=1000.0)
    parent.logged("fleet.consumer_exited")
    save()
    parent.noted("started")
    parent.signal()
    assert parent.ended() == 0


def test_a_consumer_that_has_finished_is_not_started_again(fleet: Fleet, save: Callable[..., None]) -> None:
    parent = fleet({0: ["finish"]}, processes=2)
    [finished] = [note["pid"] for note in parent.noted("begin", 2) if note["index"] == 0]
    until(lambda: not Path(f"/proc/{finished}").exists(), "the end of the consumer that has finished")
    parent.noted("started")
    save()
    parent.noted("started", 2)
    parent.signal()
    assert parent.ended() == 0
    assert [note["index"] for note in parent.notes("begin")].count(0) == 1


def test_no_broker_at_the_start_ends_the_fleet_with_reload_too(fleet: Fleet) -> None:
    parent = fleet({0: ["no-broker"]})
    assert parent.ended() == 4
