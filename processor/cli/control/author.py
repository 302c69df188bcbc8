"""When a command is given, and who gives it."""

from __future__ import annotations

import getpass
import socket
import time


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def author() -> str:
    """Return USER@HOST."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
