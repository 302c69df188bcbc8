"""What tests of several commands need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.lifeline import die_with_parent

Start = Callable[..., subprocess.Popen[str]]
"""Starts the program with these arguments; keywords are environment variables beside those of the test run."""


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and no option in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the program, without options from the environment. What still runs after the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
        running.append(
            subprocess.Popen(
                [sys.executable, "-P", "-m", "processor", *arguments],
                env={**inherited, **variables},
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
