"""Downloads of other tests, with a command in a registry's place that fails at first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support import downloads
from tests.support.downloads import ATTEMPTS, fetched, only_maven


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)


def failing(times: int) -> list[str]:
    """A command that fails so many times, and counts its runs in the file `runs`."""
    return ["sh", "-c", f'echo run >> runs; echo "the registry is away" >&2; test $(wc -l < runs) -gt {times}']


@pytest.mark.parametrize(("times", "runs", "code"), [(0, 1, 0), (ATTEMPTS - 1, ATTEMPTS, 0), (99, ATTEMPTS, 1)])
def test_a_command_that_fails_is_run_again_a_few_times(tmp_path: Path, times: int, runs: int, code: int) -> None:
    done = fetched(failing(times), tmp_path)
    assert (done.returncode, done.stdout) == (code, "the registry is away\n")
    assert (tmp_path / "runs").read_text().count("run") == runs


def test_attempts_that_take_too_long_together_are_ended(tmp_path: Path) -> None:
    done = fetched(["sleep", "60"], tmp_path, seconds=0.1)
    assert (done.returncode, done.stdout) == (124, "it has not ended within 0.1 s")


def test_two_runs_of_maven_exclude_each_other() -> None:
    entered = threading.Event()

    def enter() -> None:
        with only_maven():
            entered.set()

    other = threading.Thread(target=enter)
    with only_maven():
        other.start()
        assert not entered.wait(0.1)
    other.join()
    assert entered.is_set()
