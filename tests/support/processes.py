"""The children and descendants of a process, from the parent PIDs that the kernel reports."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import psutil


def children(pid: int) -> list[psutil.Process]:
    """Return the children of a process, including those that have ended but are not reaped yet.

    `psutil.Process.children` omits a child that seems older than its parent: both ages are computed from the boot time,
    which may change between two reads. `psutil.process_iter` caches processes, and so omits a process that has the PID
    of one that has ended.
    """
    return _by_parent()[pid]


def descendants(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process, parents first."""
    by_parent = _by_parent()
    found = list(by_parent[pid])
    for process in found:  # the list grows during the loop
        found += by_parent[process.pid]
    return found


def lives(process: psutil.Process) -> bool:
    """Return whether a process has not ended.

    A process that has ended but is not reaped counts as ended: an orphan goes to process 1, which may never reap it.
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
