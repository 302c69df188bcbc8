"""`processor demo`, as a newcomer runs it; and that its checks would tell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import psutil
import pytest

from processor.cli.demo.app import Entry
from processor.cli.demo.checks import check, figures
from processor.cli.demo.load import TOPIC, UNDECODABLE, Planned, plan
from processor.engine.record import Headers
from tests.support.lifeline import die_with_parent

SECONDS = 90.0


class Letter:
    """A record of the dead-letter topic."""

    def __init__(self, key: bytes, value: bytes, headers: Headers) -> None:
        self._key = key
        self._value = value
        self._headers = headers

    def topic(self) -> str:
        return f"{TOPIC}.dlq"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def headers(self) -> Headers:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def error(self) -> None:
        return None


def letter(task: Planned, value: bytes = UNDECODABLE) -> Letter:
    attempts = str(task.attempts).encode()
    return Letter(task.session.encode(), value, [("demo-id", task.id.encode()), ("dlq-attempts", attempts)])


def entries_of(planned: Sequence[Planned]) -> list[Entry]:
    """The ledger of a run that did all things right, one task after the other."""
    entries: list[Entry] = []
    for task in planned:
        for attempt in range(1, task.attempts + 1):
            last = attempt == task.attempts
            outcome = ("refused" if task.fate == "refused" else "failed") if task.is_dead_letter or not last else "done"
            at = float(len(entries))
            entries.append(Entry(task.session, task.number, attempt, 0, 1, "worker-0", at, at + 1, outcome))  # type: ignore[arg-type]
    return entries


PLANNED = plan(400, 10)
ENTRIES = entries_of(PLANNED)
LETTERS = [letter(task) for task in PLANNED if task.is_dead_letter]
LAG = {"demo[0]": 0}
PLAIN = next(n for n, entry in enumerate(ENTRIES) if entry.outcome == "done" and entry.attempt == 1)
FAILED = next(n for n, entry in enumerate(ENTRIES) if entry.outcome == "failed")


def broken_claims(entries: Sequence[Entry] = ENTRIES, letters: Sequence[Letter] = LETTERS, lag: int = 0) -> set[str]:
    return {fact.claim for fact in check(PLANNED, entries, letters, {"demo[0]": lag}) if not fact.holds}


def moved(position: int, **fields: object) -> list[Entry]:
    return [msgspec.structs.replace(e, **fields) if n == position else e for n, e in enumerate(ENTRIES)]


def test_the_load_is_the_same_each_time_and_has_every_fate() -> None:
    assert plan(400, 10) == PLANNED
    assert len(PLANNED) == 400
    assert {task.fate for task in PLANNED} == {"plain", "retried", "exhausted", "refused", "undecodable"}
    assert len({task.id for task in PLANNED}) == 400


def test_a_right_run_passes_every_check() -> None:
    assert broken_claims() == set()


@pytest.mark.parametrize(
    ("entries", "claim"),
    [
        (lambda: ENTRIES[:PLAIN] + ENTRIES[PLAIN + 1 :], "every task done, none twice"),
        (
            lambda: [*ENTRIES, msgspec.structs.replace(ENTRIES[PLAIN], began=1e6, ended=1e6)],
            "every task done, none twice",
        ),
        (lambda: ENTRIES[:FAILED] + ENTRIES[FAILED + 1 :], "failed tasks tried again"),
        (lambda: moved(PLAIN, began=1e6, ended=1e6), "order kept in every session"),
        (lambda: moved(PLAIN, ended=1e6), "no overlap in any session"),
    ],
)
def test_a_wrong_ledger_is_told(entries: Callable[[], list[Entry]], claim: str) -> None:
    assert claim in broken_claims(entries())


@pytest.mark.parametrize(
    "letters",
    [
        LETTERS[1:],
        [*LETTERS, LETTERS[0]],
        [*LETTERS, letter(PLANNED[0])],
        [letter(task, b"changed") for task in PLANNED if task.is_dead_letter],
    ],
)
def test_wrong_dead_letters_are_told(letters: list[Letter]) -> None:
    assert broken_claims(letters=letters) == {"dead letters as expected"}


def test_what_is_not_committed_is_told() -> None:
    assert broken_claims(lag=1) == {"everything committed"}


def test_a_worker_that_did_nothing_counts_in_the_balance() -> None:
    told = {figure.name: figure.value for figure in figures(ENTRIES, partitions=4, workers=2)}
    assert told["tasks on a worker"].startswith("0–")
    assert "outside ±30%" in told["tasks on a worker"]
    assert "p50 1.00 s" in told["run"]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "processor", "demo", *options],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent(),
            )
        )
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_demo_passes_its_own_checks_off_a_terminal(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--tasks", "800", "--sessions", "40", "--workers", "8")
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out + err
    assert err == ""
    assert len(re.findall(r"^ok ", out, re.MULTILINE)) == 6
    assert "\x1b" not in out
    assert "throughput" in out
    ledger = re.search(r"the ledger (\S+)", out)
    assert ledger is not None
    assert Path(ledger[1]).read_text().count("\n") > 790


def test_an_interrupted_demo_leaves_no_process_behind(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--tasks", "20000")
    assert process.stdout is not None
    for line in process.stdout:
        if "working" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, out + err
    assert "stopped before the end" in out
    deadline = time.monotonic() + 10
    while any(child.is_running() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_demo_with_a_wrong_option_says_so(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--processes", "9")
    _out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "--processes" in err
