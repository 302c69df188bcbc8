"""Signals that arrive while a command is still being imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "processor.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.{before})
sys.meta_path.insert(0, Interrupt())
sys.argv = ["processor", "--version"]
from processor.__main__ import main
code = main()
assert signal.getsignal(signal.SIGINT) is signal.{before}
sys.exit(code)
"""


@pytest.mark.parametrize(("before", "code", "out"), [("default_int_handler", 130, ""), ("SIG_IGN", 0, "processor ")])
def test_ctrl_c_during_the_imports_of_a_command_is_no_traceback(before: str, code: int, out: str) -> None:
    """An ignored one, as in a background job of a script, stays ignored."""
    command = [sys.executable, "-c", INTERRUPTED_IMPORT.format(before=before)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout[:10], ended.stderr) == (code, out, "")
