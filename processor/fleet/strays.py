"""What a container's first process owes to those that lost their parent."""

from __future__ import annotations

import os
from collections.abc import Set


def reap_strays(own: Set[int]) -> None:
    """Takes note of the end of adopted processes, which stay zombies otherwise; those in `own` are left alone.

    The first process of a container becomes the parent of whatever a handler started and did not wait for.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:  # one's own comes first again until its owner has waited for it
            return
        os.waitpid(ended.si_pid, 0)
