"""The producers in other languages from `docs/producers/`, built once into the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.cache import cache_folder, keep
from tests.support.downloads import MAVEN, fetched, only_maven
from tests.support.kafka_jars import PROJECT

SOURCES = PROJECT / "docs" / "producers"
BUILD_SECONDS = 250.0


class ToolMissing(Exception):
    """The language's tools are not installed, or cannot download the program's dependencies."""


class BuildError(Exception):
    """The build of the program itself failed."""


def command_of(language: str) -> tuple[Path, list[str]]:
    """Return the working directory of the program, and its command without arguments.

    Raises:
        ToolMissing: the program cannot be built on this machine.
        BuildError: the build failed, since the program is broken.
    """
    tools, build, command = LANGUAGES[language]
    for tool in tools:
        if shutil.which(tool) is None:
            raise ToolMissing(f"the producer in {language} needs {tool}, which is not installed")
    return _built(language, build), command


def _built(language: str, build: Callable[[Path], None]) -> Path:
    home = _home(language)
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=home.parent) as building:
        place = Path(building) / language
        shutil.copytree(SOURCES / language, place)
        shutil.copy(PROJECT / "schemas" / "task.avsc", place)
        build(place)
        keep(place, home)
    return home


def _home(language: str) -> Path:
    """Return the folder for this version of the sources."""
    files = sorted(path for path in (SOURCES / language).iterdir() if path.is_file())
    said = b"".join(path.name.encode() + path.read_bytes() for path in files)
    digest = hashlib.sha256(said + (PROJECT / "schemas" / "task.avsc").read_bytes()).hexdigest()[:12]
    return cache_folder() / "producers" / f"{language}-{digest}"


def _build_java(place: Path) -> None:
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
    with only_maven():
        _run(place, [*MAVEN, *copy], BuildError)


def _build_go(place: Path) -> None:
    _run(place, ["go", "mod", "download"], ToolMissing)  # a Go version that is too old fails here
    _run(place, ["go", "build", "-o", "taskproducer", "."], BuildError)


def _build_node(place: Path) -> None:
    _run(place, ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], ToolMissing)


def _run(place: Path, command: list[str], failure: type[Exception]) -> None:
    done = fetched(command, place, seconds=BUILD_SECONDS, env={**os.environ, "GOTOOLCHAIN": "local"})
    if done.returncode:
        raise failure(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}")


LANGUAGES: dict[str, tuple[list[str], Callable[[Path], None], list[str]]] = {
    "java": (["java", "mvn"], _build_java, ["java", "-XX:TieredStopAtLevel=1", "-cp", "jars/*", "TaskProducer.java"]),
    "go": (["go"], _build_go, ["./taskproducer"]),
    "node": (["node", "npm"], _build_node, ["node", "produce.mjs"]),
}
"""For each language: the tools that it needs, the function that builds its program, and the command that runs it."""
