"""Runs a command as the first process of a container: in a PID namespace with a read-only root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

MEMORY: Final = Path("/dev/shm")
"""A folder that remains writable in a container."""

READ_ONLY: Final = 'mount --make-rprivate / && mount -o remount,bind,ro / && exec "$@"'
CONTAINER: Final = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


def container() -> list[str]:
    """Return a prefix that runs a command as a container's first process; skips the test if that is not permitted."""
    command = [*CONTAINER, "sh", "-c", READ_ONLY, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no namespaces may be made here: unshare is missing, or is not allowed")
    return command


@contextmanager
def writable_folder() -> Iterator[Path]:
    """Yield a new folder that a container can write to; skips the test if there is none."""
    if not os.access(MEMORY, os.W_OK):
        pytest.skip("there is no /dev/shm here")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)
