"""What docs/HANDLERS.md shows runs as it stands, and its keywords are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processor.handlers.policy import PolicyKeywords

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "HANDLERS.md").read_text()
README = (ROOT / "README.md").read_text()
SECONDS = 100

BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEYWORD = re.compile(r"^\| `(\w+)=`", re.MULTILINE)


def test_the_examples_pass_their_own_tests(tmp_path: Path) -> None:
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == PAGE.count("```python")
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSOR_", "PYTEST"))}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    tests = sum(text.count("\ndef test_") for _, text in blocks)
    assert f"{tests} passed" in ended.stdout


@pytest.mark.parametrize("text", [PAGE, README], ids=["page", "readme"])
def test_every_keyword_of_a_handler_is_in_the_table_and_no_other(text: str) -> None:
    assert KEYWORD.findall(text) == list(PolicyKeywords.__annotations__)
