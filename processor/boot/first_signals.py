"""SIGTERM and SIGINT in a process's first moments, before there is anything that could stop in order.

A process that has no handler for SIGTERM dies of it. The first process of a container does not even do that: the kernel
drops a signal that process 1 neither handles nor blocks, and whoever stops the container waits until it kills. So the
entry points call `leave_at_stops` before they import anything large. Keep this module's own imports few.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT)


def leave_at_stops() -> None:
    """From now on SIGTERM and SIGINT end this process with exit code 0, until other handlers replace these.

    Nothing has begun, so nothing has to be handed back. A signal that was blocked until now is delivered first.
    """
    for number in STOPS:
        signal.signal(number, lambda _number, _frame: os._exit(0))
    accept_stops()


def accept_stops() -> None:
    """Unblocks SIGTERM and SIGINT.

    A parent blocks them to keep a signal for the process that it starts. No other process may inherit that.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def die_as_first_process() -> None:
    """Gives SIGTERM its default effect back where this is process 1, for which the kernel takes it away."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _die)


def _die(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
