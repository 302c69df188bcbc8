"""Commands that keep temporary files, where no folder for them can be written to."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.first_process import container
from tests.support.kafka_jars import PROJECT

SENTENCE = "processor: no folder for temporary files can be written to; set TMPDIR to one that can\n"


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """In a container whose root, and so the current folder and /tmp, is read-only. /dev/shm is not."""
    variables = [f"{name}={value}" for name, value in {"TMPDIR": "", "TERM": "dumb", **env}.items()]
    command = [*container(), "env", "--chdir=/", *variables, sys.executable, "-P", "-m", "processor", *arguments]
    return subprocess.run(command, input="{}\n", capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--tasks", "10"),
        ("report",),
        ("schema", "check", "--schemas", str(PROJECT / "schemas"), "--against", "git:HEAD"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_a_folder_for_temporary_files_a_command_reports_it_in_one_line(arguments: tuple[str, ...]) -> None:
    refused = run(*arguments)
    assert (refused.returncode, refused.stderr) == (2, SENTENCE)


def test_the_folder_that_the_sentence_asks_for_is_enough() -> None:
    taken = run("report", TMPDIR="/dev/shm")
    assert "no folder" not in taken.stderr
    assert "Traceback" not in taken.stderr
