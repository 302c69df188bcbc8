"""A child process that does not outlive the test run, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""From Linux' <sys/prctl.h>; see prctl(2)."""

# Looked up before any fork. The child of a threaded process may neither import nor look up a symbol before its exec:
# another thread may have held the lock for it at the fork, and no thread of the child releases it.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` after which the kernel kills the child when its parent is gone; None where the kernel cannot.

    The kernel looks at the *thread* that forked: start the child from a thread that lives as long as the child may.
    """
    if _prctl is None:
        return None
    parent = os.getpid()

    def arm() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent went before the line above
            os._exit(1)

    return arm
