"""Tools that are written in Go, built once from their released modules into a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.kafka_jars import PROJECT


class BuildError(Exception):
    """Go could not build it; the message holds what it said."""


def available() -> bool:
    """Whether this machine has Go."""
    return shutil.which("go") is not None


def built(package: str, version: str) -> Path:
    """The program that `go install PACKAGE@VERSION` makes; built when it is not in the cache.

    Two test runs may do it at once: each builds in a folder of its own, and the first rename wins.

    Raises:
        BuildError: Go is missing or failed.
    """
    cache = os.environ.get("PROCESSOR_TEST_CACHE")
    tools = (Path(cache) if cache else PROJECT / ".cache") / "tools"
    program = tools / f"{package.replace('/', '_')}@{version}"
    if not program.exists():
        tools.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=tools) as folder:
            _install(f"{package}@{version}", Path(folder)).rename(program)
    return program


def _install(module: str, folder: Path) -> Path:
    if not available():
        raise BuildError(f"{module} is not in the cache, and there is no Go to build it")
    environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
    done = subprocess.run(
        ["go", "install", module], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"`go install {module}` failed:\n{done.stderr[-2000:]}")
    (program,) = folder.iterdir()
    return program
