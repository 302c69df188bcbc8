"""The processes below another one, by the parents that the kernel names."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import psutil


def children(pid: int) -> list[psutil.Process]:
    """Return the children of a process, with those that have ended and are not reaped yet.

    `psutil.Process.children` leaves out a child that seems older than its parent: the time of the boot, from which both
    ages follow, may change between two looks at it. `psutil.process_iter` keeps what it has seen: a process with the
    number of one that has ended is left out.
    """
    return _by_parent()[pid]


def descendants(pid: int) -> list[psutil.Process]:
    """Return the children of a process and all below them, parents first."""
    by_parent = _by_parent()
    found = list(by_parent[pid])
    for process in found:  # it grows meanwhile
        found += by_parent[process.pid]
    return found


def lives(process: psutil.Process) -> bool:
    """Return whether a process has not ended.

    One that has ended and is not reaped counts as ended: an orphan goes to process 1, which may never reap it.
    """
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _by_parent() -> defaultdict[int, list[psutil.Process]]:
    found: defaultdict[int, list[psutil.Process]] = defaultdict(list)
    for pid in psutil.pids():
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            process = psutil.Process(pid)
            found[process.ppid()].append(process)
    return found
