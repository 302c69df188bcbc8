"""Base images for tests of the Dockerfile: Debian with its own Python, instead of the official images.

`python -m tests.support.image_base SECONDS` builds each image within that time, for tests that run later. It needs root
and Debian's mmdebstrap, or debootstrap at half the speed. Each image takes a minute and is kept in the cache folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.cache import cache_folder

SUITE: Final = "trixie"
PYTHON: Final = "3.13"
"""The version of the suite's python3, which is also that of the Dockerfile's base."""


class Base(NamedTuple):
    """The name of an archive, and the packages installed in it."""

    name: str
    packages: str


SLIM: Final = Base(SUITE, "passwd,python3,python3-venv,python3-pip,ca-certificates")
WITH_COMPILER: Final = Base(f"{SUITE}-gcc", f"{SLIM.packages},gcc,libc6-dev,python3-dev")
BUILD_SECONDS: Final = 600.0
"""A build that takes longer is waiting for a mirror that does not answer."""


class BaseError(Exception):
    """No base can be built on this machine; the message gives the reason in one line."""


def base_archive(base: Base, seconds: float = BUILD_SECONDS) -> Path:
    """Return the root file system as a tar archive. If it does not exist it is built first, unless `seconds` is 0.

    Raises:
        BaseError: it cannot be built here, or not within `seconds`.
    """
    place = cache_folder() / "image" / f"{base.name}.tar"
    if not place.exists():
        if not seconds:
            raise BaseError("there is no base, make test-image makes one")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            _make(base, Path(folder), seconds).rename(place)
    return place


def _make(base: Base, folder: Path, seconds: float) -> Path:
    if os.geteuid() != 0:
        raise BaseError("only root can make a base image")
    archive = folder / "base.tar"
    if shutil.which("mmdebstrap"):
        _run(
            ["mmdebstrap", "--quiet", "--variant=essential", f"--include={base.packages}", SUITE, str(archive)],
            folder,
            seconds,
        )
    elif shutil.which("debootstrap"):
        root = folder / "root"
        _run(["debootstrap", "--variant=minbase", f"--include={base.packages}", SUITE, str(root)], folder, seconds)
        _run(["tar", "--create", f"--file={archive}", f"--directory={root}", "."], folder, seconds)
    else:
        raise BaseError("neither mmdebstrap nor debootstrap is installed")
    return archive


def _run(command: list[str], folder: Path, seconds: float) -> None:
    """Run a command in its own process group, so that its child processes end with it."""
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder)},  # files of a killed command are deleted with the folder
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BaseError(f"{command[0]} has not ended within {seconds:g} s") from None
        raise
    if process.returncode:
        last = (output.strip().splitlines() or ["no output"])[-1]
        raise BaseError(f"{command[0]} failed: {last[:300]}")


def main() -> None:
    """Builds the bases, or prints why it cannot. This is not a failure: tests that need them are skipped."""
    try:
        for base in (SLIM, WITH_COMPILER):
            print(base_archive(base, float(sys.argv[1]) if len(sys.argv) > 1 else BUILD_SECONDS))
    except BaseError as error:
        print(f"no base image: {error}")


if __name__ == "__main__":
    main()
