"""The image: its Dockerfile and build stage, as far as they can be tested without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import processor
from processor.version import DISTRIBUTION
from tests.deploy.dockerfile import DOCKERFILE, PROJECT, arguments_of, pairs, stages

BUILD, FINAL = stages()

COMPILES = "HATCH_BUILD_HOOK_ENABLE_MYPYC"

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

pytestmark = pytest.mark.timeout(300)
"""Time limit for the build stage, which may have to download packages."""


def test_hadolint_passes() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint has no wheel for this platform")
    checked = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_both_stages_use_the_same_exact_python_and_only_the_build_stage_has_a_compiler() -> None:
    (base,) = arguments_of(FINAL, "FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert arguments_of(BUILD, "FROM") == [f"{base.replace('-slim', '')} AS build"]
    assert pairs(FINAL, "LABEL")["org.opencontainers.image.base.name"] == f"docker.io/library/{base}"


def test_the_image_runs_as_a_numeric_non_root_user_and_stops_on_sigterm() -> None:
    assert arguments_of(FINAL, "USER") == ["10001:10001"]
    assert arguments_of(FINAL, "STOPSIGNAL") == ["SIGTERM"]


def test_the_supervisor_is_the_first_process() -> None:
    """The exec form is required: a shell would be the first process and forward no signals. env(1) replaces itself."""
    entry = ["env", "--block-signal=TERM,INT", "processor"]
    assert [json.loads(arguments) for arguments in arguments_of(FINAL, "ENTRYPOINT")] == [entry]
    _, health = arguments_of(FINAL, "HEALTHCHECK")[0].split(" CMD ")
    assert json.loads(health) == ["processor", "health", "--check", "alive"]


def test_the_labels_state_the_projects_version_and_license() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    labels = pairs(FINAL, "LABEL")
    assert pairs(FINAL, "ARG")["VERSION"] == project["version"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]
    assert labels["org.opencontainers.image.description"] == project["description"]


def test_every_copied_path_is_in_the_build_context() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    copied = [source for arguments in arguments_of(BUILD, "COPY") for source in arguments.split()[:-1]]
    assert [source for source in copied if f"!{source}" not in ignored or not (PROJECT / source).exists()] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the build stage's own instructions, run with this interpreter in temporary folders.

    Nothing is compiled, since there may be no compiler here: `make test-image` and `make test-compiled` do that.
    """
    folder = tmp_path_factory.mktemp("image")
    source, root = folder / "src", folder / "opt" / "processor"
    source.mkdir()
    root.parent.mkdir()
    for arguments in arguments_of(BUILD, "COPY"):
        *names, _ = arguments.split()
        for name in names:
            _copy(PROJECT / name, source / name)
    (folder / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    places = {"/opt/processor": str(root), "/tmp": str(folder)}
    assert pairs(BUILD, "ARG") == {COMPILES: "1"}
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **pairs(BUILD, "ENV"), COMPILES: "0"}
    del environment["PIP_NO_CACHE_DIR"]  # a container engine caches layers instead
    for command in arguments_of(BUILD, "RUN"):
        moved = re.sub(r"/opt/processor|/tmp(?=/)", lambda found: places[found[0]], command)
        done = subprocess.run(
            moved, shell=True, cwd=source, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    return root


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def program(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / "bin" / "processor", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_built_package_runs_without_the_source(installed: Path, tmp_path: Path) -> None:
    told = program(installed, "--version", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"processor {processor.__version__} ")
    assert told.stdout.endswith(" engine pure)\n")
    assert list(installed.glob("lib/*/site-packages/processor/schemas/*.avsc"))
    assert (installed / "constraints.txt").read_text() == (PROJECT / "constraints.txt").read_text()


def test_the_built_package_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    shown = program(installed, "demo", "--tasks", "300", "--sessions", "20", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr


def test_the_built_package_has_exactly_the_pinned_versions(installed: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        [*PIP, "--python", installed / "bin" / "python", "freeze", "--all", "--exclude", DISTRIBUTION],
        capture_output=True,
        text=True,
        check=True,
    )
    pinned = {line.lower() for line in (PROJECT / "constraints.txt").read_text().splitlines()}
    assert [line for line in listed.stdout.lower().splitlines() if line not in pinned] == []
