"""Faults of the machine: a full disk, a stderr without a reader, a clock that jumps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.lifeline import die_with_parent
from tests.support.run import environment
from tests.support.scenario import HANDLERS, MakeScenario, Scenario


def run_with_stderr(work: Scenario, stderr: int | None) -> int:
    """Runs to the topic's end with the given stderr, closed if None, and returns the exit code."""
    folder = work.ledger.path.parent
    (folder / "handlers.py").write_text(HANDLERS)
    tie = die_with_parent()

    def prepare() -> None:
        if tie is not None:
            tie()
        if stderr is None:
            os.close(2)

    options = ("-b", work.servers, "-t", work.topic, "-g", work.group, "--value-format", "bytes", "--stop-at-end")
    return subprocess.run(
        [sys.executable, "-m", "processor", "run", "handlers:note", *options, "--log-level", "debug", "-p", "2"],
        cwd=folder,
        env=environment(folder, {"TEST_LEDGER": str(work.ledger.path)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        preexec_fn=prepare,
        timeout=150,
        check=False,
    ).returncode


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def reader_that_stopped() -> int:
    """Return a pipe whose reader keeps its end open while this process lives, but reads nothing."""
    return os.pipe()[1]


STDERRS = {
    "full disk": full_disk,
    "nobody reads": nobody_reads,
    "its reader has stopped": reader_that_stopped,
    "closed": None,
}


@pytest.mark.parametrize("stderr", STDERRS.values(), ids=STDERRS)
def test_an_unwritable_log_does_not_stop_processing(scenario: MakeScenario, stderr: Callable[[], int] | None) -> None:
    work = scenario()
    work.produce_sessions(500, 20)
    target = stderr() if stderr is not None else None
    try:
        assert run_with_stderr(work, target) == 0
    finally:
        if target is not None:
            os.close(target)
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)  # a commit while another consumer leaves becomes visible a moment later


def test_a_clock_that_steps_by_hours_changes_neither_deadlines_nor_retries_nor_commits(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"twice", b"fails twice"), (b"always", b"fails always")])
    work.produce_sessions(500, 20)
    options = ("-w", "8", "--backoff", "0.05", "--timeout", "30", "--commit-interval", "0.2")
    fleet = work.run("fail", *options, env={"TEST_CLOCK": "steps"}, seconds=0.005)
    work.wait_done(501)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert not fleet.heard("task.timed_out")
    assert work.given_up() == {work.places[1]}
    assert work.faults(work.given_up()) == {}
    assert work.repeated() == []
