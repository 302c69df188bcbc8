"""A stop while `processor run` and its consumers are still starting, under the real parent and command line.

A module in place of one that the program imports holds the start up at a known point, or sends the signal there.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.first_process import container, writable_folder
from tests.support.lifeline import die_with_parent
from tests.support.processes import children
from tests.support.until import until

BOUND = 60.0
SOON = 60.0
"""Seconds for a start and a stop on a busy machine, far from the ten minutes that a held-up start would take."""

PROGRAM = (sys.executable, "-P", "-m", "processor")
RUN = (*PROGRAM, "run", "tasks:handle", "-t", "orders", "-g", "shop", "-b", "127.0.0.1:1")
BLOCKED = ("env", "--block-signal=TERM,INT,CHLD")

STOP = "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\n"
HELD_UP = "import os, pathlib, time\npathlib.Path('held-up').write_text(f'{os.getpid()}.')\ntime.sleep(600)\n"
IN_CONSUMERS = "import sys\nif 'processor.fleet' in sys.orig_argv:\n    "

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="containers, and signals that env(1) blocks")


@pytest.fixture(params=["a process of many", "the first of a container"])
def inside(request: pytest.FixtureRequest) -> list[str]:
    return container() if request.param == "the first of a container" else []


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with writable_folder() as folder:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        Path("tasks.py").write_text("import pathlib, signal\npathlib.Path('loading').touch()\nsignal.pause()\n")
        yield
        monkeypatch.undo()  # it leaves the folder before that is gone


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=SOON)
    return process.returncode, errors


def held_up() -> int:
    """The process that is held up."""
    until(lambda: Path("held-up").exists() and Path("held-up").read_text().endswith("."), "the start is held up", BOUND)
    return int(Path("held-up").read_text().rstrip("."))


def test_a_stop_before_the_import_of_the_command_line_is_clean(inside: list[str]) -> None:
    Path("typer.py").write_text(STOP + "time.sleep(600)\n")
    with started(*inside, *RUN) as fleet:
        assert ended(fleet) == (0, "")
    assert not Path("loading").exists()


def test_a_stop_before_the_first_instruction_waits_where_the_caller_blocked_it(inside: list[str]) -> None:
    """As the image's entry point does: Python's own start is over before the program can do anything about signals."""
    Path("sitecustomize.py").write_text(STOP)
    with started(*inside, *BLOCKED, *RUN) as fleet:
        assert ended(fleet) == (0, "")
    assert not Path("loading").exists()


def test_a_stop_while_consumers_import_the_kafka_client_does_not_wait_for_that(inside: list[str]) -> None:
    Path("confluent_kafka.py").write_text(HELD_UP)
    with started(*inside, *RUN) as fleet:
        held_up()
        (children(fleet.pid)[0] if inside else fleet).send_signal(signal.SIGTERM)
        assert ended(fleet) == (0, "")
    assert not Path("loading").exists()


@pytest.mark.parametrize("module", ["sitecustomize", "msgspec", "confluent_kafka"])
def test_a_consumer_that_is_stopped_while_it_starts_ends_with_0(module: str) -> None:
    """As when a service manager signals every process of a fleet."""
    Path(f"{module}.py").write_text(IN_CONSUMERS + STOP.replace("\n", "\n    "))
    if module == "msgspec":  # which the parent needs
        Path("msgspec.py").write_text(Path("msgspec.py").read_text() + real("msgspec"))
    with started(*RUN, "--log-format", "json") as fleet:
        assert fleet.stderr is not None
        assert first_end(fleet)["exit_code"] == 0
        fleet.terminate()
        assert ended(fleet)[0] == 0


def real(module: str) -> str:
    """What makes a stand-in pass on to the module that it stands for."""
    return (
        f"\nimport importlib, os, sys\nsys.path.remove(os.environ['PYTHONPATH'])\ndel sys.modules['{module}']\n"
        f"sys.modules['{module}'] = importlib.import_module('{module}')\nsys.path.insert(0, os.environ['PYTHONPATH'])\n"
    )


def first_end(fleet: subprocess.Popen[str]) -> dict[str, Any]:
    assert fleet.stderr is not None
    for line in fleet.stderr:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "fleet.consumer_exited":
            return event
    raise AssertionError("the fleet ended without an event about its consumer")


def test_signals_that_the_caller_blocked_stop_a_fleet_that_runs() -> None:
    with started(*BLOCKED, *RUN) as fleet:
        until(Path("loading").exists, "the import of the application has begun", BOUND)
        fleet.terminate()
        assert ended(fleet) == (0, "")


def test_a_process_that_an_application_starts_inherits_no_blocked_or_ignored_signal() -> None:
    Path("tasks.py").write_text(
        "import subprocess, threading\n"
        "def look():\n"
        "    masks = subprocess.run(['grep', '-E', 'Sig(Blk|Ign|Cgt)', '/proc/self/status'], capture_output=True)\n"
        "    seen.append({line.split()[0]: int(line.split()[1], 16) for line in masks.stdout.splitlines()})\n"
        "seen = []\n"
        "thread = threading.Thread(target=look)\n"
        "thread.start(), thread.join(), look()\n"
        "raise RuntimeError([mask & (1 << 14 | 1 << 1) for masks in seen for mask in masks.values()])\n"
    )
    with started(*BLOCKED, *RUN) as fleet:
        code, errors = ended(fleet)
    assert code == 5
    assert "RuntimeError: [0, 0, 0, 0, 0, 0]" in errors


def test_a_command_without_handlers_dies_of_the_signal_as_any_program_does() -> None:
    Path("typer.py").write_text(STOP + "time.sleep(600)\n")
    with started(*BLOCKED, *PROGRAM, "schema", "list") as command:
        assert ended(command) == (-signal.SIGTERM, "")


def test_a_command_without_handlers_ends_at_sigterm_as_the_first_process_too() -> None:
    Path("typer.py").write_text(STOP + "time.sleep(600)\n")
    with started(*container(), *PROGRAM, "schema", "list") as command:
        assert ended(command) == (128 + signal.SIGTERM, "")
