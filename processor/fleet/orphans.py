"""Reaps the processes that this one has adopted as the first process of a container."""

from __future__ import annotations

import os
from collections.abc import Set


def reap_orphans(own: Set[int]) -> None:
    """Reap adopted processes that have exited, which otherwise remain zombies. Those in `own` are left alone.

    The first process of a container adopts every process whose own parent, such as a consumer, has exited.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:  # the kernel returns it each time, until its owner has waited for it
            return
        os.waitpid(ended.si_pid, 0)
