"""What the README shows of handlers runs as it stands: in a fresh clone, with nothing but Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lifeline import die_with_parent
from tests.support.processes import descendants

ROOT = Path(__file__).parents[1]
SECONDS = 200

SECTION = (ROOT / "README.md").read_text().split("\n## A handler\n", 1)[1].split("\n## ", 1)[0]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git has of the project, as it is now, with the environment that `make demo` would have made."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "clone"
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def shell(clone: Path) -> Iterator[subprocess.Popen[str]]:
    """A shell in the clone; whatever it has started ends with the test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSOR_", "PYTHON"))}
    process = subprocess.Popen(
        ["bash", "-s"],
        cwd=clone,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    yield process
    for child in descendants(process.pid) if process.poll() is None else []:
        child.kill()
    process.kill()
    process.communicate()


def test_the_blocks_about_handlers_run_one_after_the_other(clone: Path, shell: subprocess.Popen[str]) -> None:
    blocks = BLOCK.findall(SECTION)
    assert [language for language, _ in blocks] == ["python", "sh", "sh"]
    (clone / "shop.py").write_text(blocks[0][1])
    script = "\n".join(["set -e", *(text for language, text in blocks if language == "sh"), "wait $! && echo stopped"])
    out, err = shell.communicate(script, timeout=SECONDS)
    assert shell.returncode == 0, out + err
    sent, _, worked = out.partition("order       each session's order as sent: kept\n")
    assert "sent        2 tasks to tasks" in sent
    # Two threads print them: a line's end may come after the other's text.
    assert "anna pays 1200 cents, 10 s left" in worked
    assert "ben pays 80 cents, 10 s left" in worked
    assert worked.endswith("stopped\n")
    assert "consumer.topic_missing" not in err
