"""The time and the author of a control command."""

from __future__ import annotations

import getpass
import socket
import time


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def author() -> str:
    """Return the user and the machine that give the command, as USER@HOST."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user ID has no name, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
