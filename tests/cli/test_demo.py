"""`processor demo`, as a newcomer runs it; its checks, against results that are wrong."""

from __future__ import annotations

import io
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from processor.cli.demo import command
from processor.cli.demo.app import Entry
from processor.cli.demo.batches import plan_batches
from processor.cli.demo.checks import check, figures
from processor.cli.demo.load import TOPIC, UNDECODABLE, Planned, plan
from processor.cli.demo.shows import SHOWS, plan_delays, plan_priorities
from processor.cli.demo.view import Progress, Size, screen
from processor.engine.record import Headers
from tests.cli.conftest import Start
from tests.observe.building import consumer, line, partition, watching
from tests.support.processes import descendants, lives
from tests.support.until import until

SECONDS = 180.0


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
def test_a_check_finds_a_wrong_ledger(entries: Callable[[], list[Entry]], claim: str) -> None:
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
def test_a_check_finds_wrong_dead_letters(letters: list[Letter]) -> None:
    assert broken_claims(letters=letters) == {"dead letters as expected"}


def test_a_check_finds_what_is_not_committed() -> None:
    assert broken_claims(lag=1) == {"everything committed"}


def test_a_worker_that_did_nothing_counts_in_the_balance() -> None:
    values = {figure.name: figure.value for figure in figures(ENTRIES, partitions=4, workers=2)}
    assert values["tasks on a worker"].startswith("0–")
    assert "outside ±30%" in values["tasks on a worker"]
    assert "p50 1.00 s" in values["run"]


def entry_of(task: Planned, **fields: Any) -> Entry:
    values: dict[str, Any] = {"waited": 1.0, "began": 1.0, "ended": 2.0} | fields
    return Entry(task.session, task.number, 1, 0, 1, "worker-0", outcome="done", **values)


def test_urgent_tasks_are_the_same_each_time_and_stand_behind_half_of_the_others() -> None:
    planned = plan_priorities(400, 10)
    assert planned == plan_priorities(400, 10)
    places = [place for place, task in enumerate(planned) if task.priority]
    assert (len(planned), len(places), {task.priority for task in planned}) == (400, 4, {0, 9})
    assert min(places) >= 198


@pytest.mark.parametrize(
    ("seconds", "shown", "holds"), [(0.1, "100 ms", True), (0.9, "900 ms", True), (1.1, "1.10 s", False)]
)
def test_urgent_tasks_must_wait_less_than_others(seconds: float, shown: str, holds: bool) -> None:
    planned = plan_priorities(400, 10)
    entries = [entry_of(task, waited=seconds if task.priority else 1.0) for task in planned]
    (fact,) = SHOWS["priorities"].check(planned, entries, [])
    assert (fact.claim, fact.holds) == ("urgent tasks come first", holds)
    assert "1.00 s" in fact.found
    assert SHOWS["priorities"].figures(planned, entries)[0].value.startswith(f"p50 {shown}")


def test_without_an_urgent_attempt_there_is_nothing_to_compare() -> None:
    planned = plan_priorities(400, 10)
    (fact,) = SHOWS["priorities"].check(planned, [entry_of(task) for task in planned if not task.priority], [])
    assert not fact.holds


DELAYED = plan_delays(400, 10)
EXPIRED = [task for task in DELAYED if task.fate == "expired"]


def broken_by(
    overdue: float = 0.001, others_began: float = 0.5, expired: int = len(EXPIRED), fleet_began: float = 0.0
) -> set[str]:
    """Seconds are counted from when the tasks were sent, but for `overdue`: from when a task might begin."""
    entries = [
        entry_of(task, overdue=max(overdue, fleet_began - task.delay), began=max(task.delay + overdue, fleet_began))
        if task.delay
        else entry_of(task, began=4.0 if "delayed" in task.session else max(others_began, fleet_began))
        for task in DELAYED
        if task.fate != "expired"
    ]
    letters = [Letter(b"", b"", [("dlq-error-type", b"processor.Expired")])] * expired
    return {fact.claim for fact in SHOWS["delays"].check(DELAYED, entries, letters) if not fact.holds}


def test_delayed_tasks_come_first_each_with_one_behind_it() -> None:
    assert plan_delays(400, 10) == DELAYED
    first = DELAYED[:80]
    assert [task.number for task in first] == [0, 1] * 40
    assert all(1.0 <= (task.delay or 0) <= 3.0 for task in first[::2])
    assert (len(DELAYED), len(EXPIRED)) == (400, 10)


def test_a_check_finds_what_is_wrong_with_delays() -> None:
    assert broken_by() == set()
    assert broken_by(overdue=-0.1) == {"no task before its time"}
    assert broken_by(others_began=3.5) == {"no other session waits for them"}
    assert broken_by(expired=len(EXPIRED) - 1) == {"expired tasks are not begun"}


def test_a_fleet_that_begins_when_all_delayed_tasks_are_due_shows_nothing_wrong() -> None:
    assert broken_by(fleet_began=3.2) == set()


BATCHED = plan_batches(1000, 10)


def test_tasks_for_batches_are_the_same_each_time_each_session_in_order_and_some_fail() -> None:
    assert plan_batches(1000, 10) == BATCHED
    batched = [task for task in BATCHED if task.batched]
    assert (len(BATCHED), len(batched), sum(task.fate != "plain" for task in batched)) == (1000, 900, 10)
    for session in {task.session for task in BATCHED}:
        numbers = [task.number for task in BATCHED if task.session == session]
        assert numbers == list(range(len(numbers)))


def batched_entries(size: int, alone: int = 1) -> list[Entry]:
    """A ledger with batches of `size`, whose later attempts come in batches of `alone`."""
    first = [entry_of(task, batch=size) for task in BATCHED if task.batched]
    again = [
        msgspec.structs.replace(entry_of(task), attempt=attempt, batch=alone)
        for task in BATCHED
        if task.batched
        for attempt in range(2, task.attempts + 1)
    ]
    return first + again


@pytest.mark.parametrize(
    ("entries", "broken"),
    [
        (lambda: batched_entries(50), []),
        (lambda: batched_entries(2), ["tasks come in batches"]),
        (lambda: batched_entries(50, alone=2), ["failed tasks run alone"]),
        (lambda: batched_entries(50)[:-1], ["failed tasks run alone"]),
        (list, ["tasks come in batches", "failed tasks run alone"]),
    ],
)
def test_a_check_finds_what_is_wrong_with_batches(entries: Callable[[], list[Entry]], broken: list[str]) -> None:
    facts = SHOWS["batches"].check(BATCHED, entries(), [])
    assert [fact.claim for fact in facts if not fact.holds] == broken


def test_the_figures_of_batches_are_their_sizes() -> None:
    sizes, waits = SHOWS["batches"].figures(BATCHED, batched_entries(50))
    assert sizes.value == "p50 50 · max 50 · 18 full of 18"
    assert waits.value.startswith("p50 1.00 s")


SIZE = Size(tasks=100, consumers=2, partitions=2)


def progress(*lines: bytes) -> Progress:
    return Progress(SIZE, watching(*lines))


def assigned(consumer: int, *partitions: int, pid: int = 7) -> bytes:
    names = [f"demo[{number}]@0" for number in partitions]
    return line("consumer.assigned", consumer=consumer, pid=pid, partitions=names)


def started(consumer: int, pid: int = 7) -> bytes:
    return line("consumer.started", consumer=consumer, pid=pid)


def test_the_fleet_has_joined_when_each_consumer_has_partitions() -> None:
    assert not progress().have_joined
    assert not progress(started(0), assigned(0, 0, 1)).have_joined
    assert not progress(started(0), assigned(0, 0, 1), started(1)).have_joined
    assert progress(started(0), assigned(0, 0), started(1), assigned(1, 1)).have_joined


def test_the_demo_is_done_when_every_task_is_committed_not_when_it_is_counted() -> None:
    settled = [consumer(succeeded=95, dead_lettered=5)]
    assert not progress(*settled, partition(number=0, committed=60), partition(number=1, committed=39)).is_done
    assert progress(partition(number=0, committed=60), partition(number=1, committed=40)).is_done


def test_what_a_consumer_did_counts_on_after_another_has_taken_its_place() -> None:
    lines = [
        started(0),
        consumer(1, consumer=0, succeeded=30, dead_lettered=2),
        line("fleet.consumer_exited", 2, consumer=0, consumer_pid=7, exit_code=-9, pid=1),
        line("consumer.started", 3, consumer=0, pid=8),
        consumer(4, consumer=0, pid=8, succeeded=10, dead_lettered=0),
    ]
    state = progress(*lines)
    assert state.settled == 42
    [now, missing] = state.consumers
    assert now is not None
    assert (now.pid, now.state) == (8, "working")
    assert missing is None


def shown(state: Progress) -> list[str]:
    """The screen's lines, the blanks in each made one."""
    console = Console(width=100, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(screen(state, seconds=12.3))
    return [" ".join(row.split()) for row in capture.get().splitlines()]


def test_the_screen_shows_consumers_partitions_and_their_sums() -> None:
    figures = {
        "tasks_per_second": 40.0,
        "in_flight": 6,
        "running": 4,
        "active_sessions": 3,
        "succeeded": 20,
        "retried": 2,
    }
    state = progress(
        started(0),
        started(1),
        consumer(1, consumer=0, dead_lettered=1, **figures),
        consumer(1, consumer=1, dead_lettered=0, **figures),
        partition(1, number=0, consumer=0, active_sessions=3, lag=30, commit_point=10, committed=10, gap=4),
    )
    rows = shown(state)
    assert any(row.startswith("41/100 settled") and row.endswith("12 s") for row in rows)
    assert any(row.startswith("80 tasks/s") for row in rows)
    assert {"0 working 40 6 4 3 20 2 1", "1 working 40 6 4 3 20 2 0", "all 80 12 8 6 40 4 1"} <= set(rows)
    assert {"0 0 3 30 10 4", "1 – – – – –", "all 3 30 4 at most"} <= set(rows)


def test_the_screen_names_consumers_before_they_have_logged_anything() -> None:
    assert {"0 starting 0 0 0 0 0 0 0", "1 starting 0 0 0 0 0 0 0"} <= set(shown(progress()))


def test_the_demo_passes_its_own_checks_off_a_terminal(start: Start) -> None:
    process = start("demo", "--tasks", "800", "--sessions", "40", "--workers", "8")
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out + err
    assert err == ""
    assert len(re.findall(r"^ok ", out, re.MULTILINE)) == 6
    assert "\x1b" not in out
    assert "throughput" in out
    ledger = ledger_of(out)
    assert ledger.read_text().count("\n") > 790
    assert revoked_before_the_stop(ledger.with_name("fleet.log")) == []


def ledger_of(out: str) -> Path:
    """The file of which the demo has printed the name."""
    ledger = re.search(r"the ledger (\S+)", out)
    assert ledger is not None
    return Path(ledger[1])


@pytest.mark.parametrize(
    ("show", "tasks", "facts"), [("priorities", 1500, 7), ("delays", 300, 9), ("batches", 3000, 8)]
)
def test_the_demo_shows_urgent_tasks_delayed_ones_and_batches(start: Start, show: str, tasks: int, facts: int) -> None:
    process = start("demo", "--show", show, "--tasks", str(tasks))
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out + err
    assert err == ""
    assert len(re.findall(r"^ok ", out, re.MULTILINE)) == facts


def test_the_demo_ends_when_nothing_reads_it(start: Start) -> None:
    process = start("demo", "--tasks", "20000")
    assert process.stdout is not None
    assert any("settled" in line for line in process.stdout)
    process.stdout.close()
    assert process.wait(SECONDS) == 1


def revoked_before_the_stop(log: Path) -> list[str]:
    """Partitions that moved after the first task had been taken: their tasks' attempts would begin at 1 again."""
    moved: list[str] = []
    has_begun = False
    for written in log.read_text().splitlines():
        event = msgspec.json.decode(written)
        has_begun |= event["event"] == "consumer.stats" and event["in_flight"] > 0
        if event["event"] == "consumer.stopping":
            break
        if has_begun and event["event"] in ("consumer.revoked", "consumer.lost"):
            moved += event["partitions"]
    return moved


def last_start(log: Path) -> float:
    """When the last consumer had started, in seconds since the epoch."""
    events = [msgspec.json.decode(written) for written in log.read_text().splitlines()]
    started = [event["timestamp"] for event in events if event["event"] == "consumer.started"]
    assert len(started) == 2
    return datetime.fromisoformat(started[-1]).timestamp()


def test_a_consumer_that_starts_late_holds_the_demo_up_for_no_longer_than_it_is_late(
    start: Start, tmp_path: Path
) -> None:
    """In a classic group of the embedded broker it would hold two partitions up for 88 seconds."""
    seen = tmp_path / "seen"
    (tmp_path / "sitecustomize.py").write_text(LATE.format(mark=str(tmp_path / "second"), seen=str(seen)))
    process = start("demo", "--tasks", "800", PYTHONPATH=str(tmp_path))
    assert process.stdout is not None
    late = re.compile(r"\((starting|joining), working\)|\(working, (starting|joining)\)")
    assert any(late.search(shown_line) for shown_line in process.stdout), "no consumer was late"
    seen.touch()
    out, err = process.communicate(timeout=SECONDS)
    ended = time.time()
    assert process.returncode == 0, out + err
    assert (tmp_path / "second").exists()
    assert ended - last_start(ledger_of(out).with_name("fleet.log")) < 60


LATE = """
import os, sys, time
if "processor.fleet" in sys.orig_argv:
    try:
        os.mkdir({mark!r})
    except FileExistsError:
        bound = time.monotonic() + 100
        while not os.path.exists({seen!r}) and time.monotonic() < bound:
            time.sleep(0.02)
"""
"""Python runs it at the start of each process: all consumers but the first one wait until the test has seen it work."""


def test_an_interrupted_demo_leaves_no_process_behind(start: Start) -> None:
    process = start("demo", "--tasks", "20000")
    assert process.stdout is not None
    for shown_line in process.stdout:
        if "working" in shown_line:
            break
    below = descendants(process.pid)
    assert len(below) == 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, out + err
    assert "stopped before the end" in out
    until(lambda: not any(map(lives, below)), "its processes end", SECONDS)


def test_a_demo_with_a_wrong_option_is_rejected_in_one_line(start: Start) -> None:
    process = start("demo", "--processes", "9")
    _out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "--processes" in err


@pytest.mark.parametrize(
    ("on_path", "program", "shown"),
    [
        (True, "/venv/bin/processor", "processor"),
        (False, ".venv/bin/processor", ".venv/bin/processor"),
        (False, "/site/processor/__main__.py", f"{sys.executable} -m processor"),
    ],
)
def test_the_command_that_the_demo_recommends_can_be_copied(
    on_path: bool, program: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if on_path else None)
    monkeypatch.setattr(sys, "argv", [program, "demo"])
    assert command._own_command() == shown
