"""Keeps child processes from outliving the test run, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h> on Linux; see prctl(2)."""

# Looked up before any fork. The child of a threaded process must not import a module or look up a symbol before its
# exec: another thread may have held the required lock at the fork, and no thread of the child releases it.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent() -> Callable[[], None] | None:
    """Return a `preexec_fn` that makes the kernel kill the child when its parent ends; None if the kernel cannot.

    The kernel watches the *thread* that forked. So start the child from a thread that lives at least as long.
    """
    if _prctl is None:
        return None
    parent = os.getpid()

    def arm() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the line above
            os._exit(1)

    return arm
