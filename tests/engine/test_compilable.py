"""mypyc accepts the engine's source; checked up to the generated C source, for machines without a C compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.c_compiler import obstacle
from tests.support.compiled_engine import HOOK
from tests.support.kafka_jars import PROJECT

GENERATE = """
import sys
from mypyc.build import mypycify
mypycify(sys.argv[2:], target_dir=sys.argv[1])
"""


def test_mypyc_refuses_nothing_in_the_engine(tmp_path: Path) -> None:
    """mypyc rejects what it cannot compile, such as a nested class or a msgspec.Struct."""
    if obstacle() is None:
        pytest.skip("make test-compiled compiles it")
    command = [sys.executable, "-c", GENERATE, str(tmp_path), *HOOK["mypy-args"], *HOOK["include"]]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert list(tmp_path.glob("__native*.c"))
