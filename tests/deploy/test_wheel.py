"""The pure wheel, `make wheel PURE=1`, installed into an environment that has nothing else.

The compiled one is tested by `make test-compiled`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from processor.version import DISTRIBUTION
from tests.support.kafka_jars import PROJECT

pytestmark = pytest.mark.timeout(300)
"""What is installed may have to be downloaded first."""

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = ("--quiet", "--disable-pip-version-check", "--constraint", PROJECT / "constraints.txt")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the Makefile, with the interpreter that runs the tests."""
    folder = tmp_path_factory.mktemp("dist")
    command = ["make", "--silent", "wheel", "PURE=1", f"DIST={folder}", f"VENV={sys.prefix}"]
    made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (file,) = folder.iterdir()
    assert made.stdout == f"{file}\n"
    return file


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment that the wheel alone is installed into."""
    return installed(wheel, sys.executable, tmp_path_factory.mktemp("bare"))


def installed(wheel: Path, python: str, folder: Path) -> Path:
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([folder / "venv" / "bin" / "pip", "install", *CONSTRAINTS, wheel], check=True)
    return folder / "venv" / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Without the variables of the tests' own environment, PYTHONPATH among them."""
    return subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_is_named_after_the_distribution_and_declares_its_extras(wheel: Path) -> None:
    assert wheel.name == f"session_processor-{DECLARED['version']}-py3-none-any.whl"
    declared = metadata(wheel)
    assert (declared["Name"], DECLARED["name"], DISTRIBUTION) == ("session-processor",) * 3
    assert {"registry", "metrics", "web"} <= set(declared.get_all("Provides-Extra", []))


def test_the_wheel_has_every_file_of_the_package_the_schemas_and_nothing_else(wheel: Path) -> None:
    package = {path.relative_to(PROJECT) for path in (PROJECT / "processor").rglob("*") if path.is_file()}
    package = {path for path in package if not path.name.endswith((".pyc", "ruff.toml")) and not hidden(path)}
    schemas = {Path("processor", path.relative_to(PROJECT)) for path in (PROJECT / "schemas").rglob("*.avsc")}
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    assert {name for name in names if not name.parts[0].endswith(".dist-info")} == package | schemas
    assert Path("processor/py.typed") in names
    assert schemas


def hidden(path: Path) -> bool:
    """Return whether it is a tool's cache."""
    return any(part.startswith(".") for part in path.parts)


def test_git_ignores_the_folder_that_wheels_are_built_into() -> None:
    assert "dist/" in (PROJECT / ".gitignore").read_text().splitlines()


def test_the_installed_command_reports_the_version_of_the_distribution(bare: Path, tmp_path: Path) -> None:
    shown = run(bare / "processor", "--version", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"processor {DECLARED['version']} ")
    assert shown.stdout.endswith(" engine pure)\n")


def test_the_installed_package_finds_its_schemas_and_runs_handlers(bare: Path, tmp_path: Path) -> None:
    listed = run(bare / "processor", "schema", "list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "processor.Task" in listed.stdout
    code = (
        "from processor.testing import run\n"
        "report = run(lambda task: task.payload * 2, [('anna', 21)])\n"
        "print(report.results)\n"
    )
    used = run(bare / "python", "-c", code, cwd=tmp_path)
    assert (used.returncode, used.stdout) == (0, "[42]\n"), used.stderr


def test_every_command_loads_with_the_newest_python_that_is_declared(wheel: Path, tmp_path: Path) -> None:
    newest = max((line.rsplit(" ", 1)[1] for line in DECLARED["classifiers"] if ":: 3." in line), key=minor)
    python = interpreter(newest)
    if python is None:
        pytest.skip(f"there is no python{newest} here")
    shown = run(installed(wheel, python, tmp_path) / "processor", "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Usage: processor" in shown.stdout


def interpreter(version: str) -> str | None:
    """One that runs; a version manager's stand-in for one that is not chosen does not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python"))]
    return next((path for path in found if path is not None and runs(path)), None)


def runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def minor(version: str) -> int:
    return int(version.split(".")[1])


def test_a_missing_extra_is_named_with_a_command_that_installs_it(bare: Path, tmp_path: Path) -> None:
    """The distribution is on no index: the command has to work beside an installed wheel."""
    (tmp_path / "app.py").write_text("def handle(task): ...\n")
    options = ("run", "app:handle", "-t", "t", "-g", "g", "-b", "127.0.0.1:1", "--metrics-port", "1")
    refused = run(bare / "processor", *options, cwd=tmp_path)
    assert refused.returncode == 5
    named = re.fullmatch(
        r"processor: --metrics-port needs .*: pip install '(session-processor\[metrics\])'\n", refused.stderr
    )
    assert named is not None, refused.stderr
    subprocess.run([bare / "pip", "install", *CONSTRAINTS, named[1]], check=True)
    code = "import importlib.metadata as m, prometheus_client; print(m.version('session-processor'))"
    assert run(bare / "python", "-c", code, cwd=tmp_path).stdout == f"{DECLARED['version']}\n"
