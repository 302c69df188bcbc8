"""Commands that download from package registries. A registry may fail temporarily, and test runs share caches."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ATTEMPTS: Final = 3
PAUSE: Final = 3.0
"""Seconds before another attempt."""

MAVEN: Final = ("mvn", "-q", "-B", "-U")
"""With `-U`, Maven retries downloads that failed earlier."""


def fetched(
    command: Sequence[str], folder: Path, *, seconds: float = 600.0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, and repeat it if it fails. Return the last run, with stderr merged into stdout.

    Args:
        command: a command that may run more than once.
        folder: its working directory.
        seconds: how long all attempts may take together. A run that exceeds this has the exit code 124.
        env: its environment; None means that of this process.
    """
    deadline = time.monotonic() + seconds
    done = _run(command, folder, seconds, env)
    for _ in range(ATTEMPTS - 1):
        if done.returncode == 0 or time.monotonic() + PAUSE >= deadline:
            break
        time.sleep(PAUSE)
        done = _run(command, folder, deadline - time.monotonic(), env)
    return done


def _run(
    command: Sequence[str], folder: Path, seconds: float, env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"it has not ended within {seconds:g} s")


@contextmanager
def only_maven() -> Iterator[None]:
    """Keep other test runs of this user from running Maven: concurrent downloads damage its local repository."""
    file = Path(tempfile.gettempdir()) / f"processor-test-maven-{os.getuid()}"
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
