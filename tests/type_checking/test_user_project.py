"""A user's project under `mypy --strict` and pyright's strict mode: what is right passes, and each mistake is found."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.kafka_jars import PROJECT

SECONDS = 300
"""For a check on a busy machine without a cache; half a minute otherwise."""

SOURCES = Path(__file__).parent / "project"

Found = Mapping[tuple[str, int], set[str]]
"""The codes of the errors by file and line."""

MISTAKE = re.compile(r"  # (?P<mypy>[a-z-]+) (?P<pyright>report\w+)$")
LINE = re.compile(r"(?P<file>\w+\.py):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]")


class Mistake(NamedTuple):
    """What is wrong with a line, as each checker calls it."""

    mypy: str
    pyright: str


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outside of this project, so that `processor` is what is installed, with the types that it ships."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(SOURCES / "shop.py", folder)
    shutil.copy(SOURCES / "mistakes.txt", folder / "mistakes.py")
    page = (PROJECT / "docs" / "DEVELOPMENT.md").read_text().partition("## Type checking\n")[2]
    (folder / "page.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    return folder


@pytest.fixture(scope="module")
def mistakes() -> Mapping[int, Mistake]:
    """The marked lines."""
    lines = enumerate((SOURCES / "mistakes.txt").read_text().splitlines(), 1)
    return {number: Mistake(*found.groups()) for number, line in lines if (found := MISTAKE.search(line)) is not None}


def checked(folder: Path, *command: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr  # mistakes, and not a failure of the checker
    return ended.stdout


def errors_of_mypy(folder: Path) -> Found:
    cache = PROJECT / ".mypy_cache" / "user-project"
    found = defaultdict(set)
    for line in checked(folder, "mypy", "--strict", f"--cache-dir={cache}", ".").splitlines():
        if (match := LINE.match(line)) is not None:
            found[match["file"], int(match["line"])].add(match["code"])
    return found


def errors_of_pyright(folder: Path) -> Found:
    output = json.loads(checked(folder, "basedpyright", "--pythonpath", sys.executable, "--outputjson"))
    assert output["summary"]["filesAnalyzed"] == 3
    found = defaultdict(set)
    for each in output["generalDiagnostics"]:
        found[Path(each["file"]).name, each["range"]["start"]["line"] + 1].add(each["rule"])
    return found


@pytest.mark.timeout(SECONDS + 30)
def test_mypy_in_strict_mode_accepts_the_project_and_finds_each_mistake(
    project: Path, mistakes: Mapping[int, Mistake]
) -> None:
    expected = {("mistakes.py", number): {mistake.mypy} for number, mistake in mistakes.items()}
    assert len(expected) > 15
    assert errors_of_mypy(project) == expected


@pytest.mark.timeout(SECONDS + 30)
def test_pyright_in_strict_mode_accepts_the_project_and_finds_each_mistake(
    project: Path, mistakes: Mapping[int, Mistake]
) -> None:
    found = errors_of_pyright(project)
    assert found.keys() == {("mistakes.py", number) for number in mistakes}
    for number, mistake in mistakes.items():
        assert mistake.pyright in found["mistakes.py", number]
