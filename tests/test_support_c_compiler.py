"""The search for a C compiler, with programs that stand in for one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.kafka_jars import PROJECT


@pytest.mark.parametrize(
    ("compiler", "code", "line"),
    [
        ("/nowhere/cc", 1, "no wheel: there is no C compiler '/nowhere/cc'\n"),
        ("false --colour", 1, "no wheel: the C compiler 'false' does not find Python.h and the C library\n"),
        ("true", 0, ""),
    ],
)
def test_a_missing_compiler_is_reported_in_one_line(compiler: str, code: int, line: str) -> None:
    command = [sys.executable, "-m", "tests.support.c_compiler", "no", "wheel"]
    env = {**os.environ, "CC": compiler}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", line)


def test_without_a_compiler_make_test_compiled_is_skipped_in_one_line() -> None:
    command = ["make", "--silent", "--assume-old=.venv/.installed-dev", "test-compiled", f"VENV={sys.prefix}"]
    env = {**os.environ, "CC": "/nowhere/cc"}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "skipped, the compiled engine is not tested: there is no C compiler '/nowhere/cc'\n"
