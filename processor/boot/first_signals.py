"""SIGTERM and SIGINT during the startup of a process, before there is anything to stop.

Without a handler, SIGTERM kills a process. For the first process of a container it has no effect at all: the kernel
discards a signal that process 1 neither handles nor blocks, and the engine kills the container after a timeout. The
entry points therefore call `exit_on_stop_signals` before any large import. Keep this module's own imports few.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def exit_on_stop_signals() -> None:
    """Makes SIGTERM and SIGINT end this process with exit code 0, until other handlers are installed.

    Nothing has been started yet, so there is nothing to stop. Pending signals that were blocked are delivered now.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: os._exit(0))
    unblock_stop_signals()


def unblock_stop_signals() -> None:
    """Unblocks SIGTERM and SIGINT.

    A parent blocks them while it starts this process, so that no signal is lost. Processes started from here must not
    inherit the blocked signals.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def restore_sigterm_for_pid_1() -> None:
    """Restores the default effect of SIGTERM if this is process 1, for which the kernel ignores it."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _die)


def exit_on_sigint() -> None:
    """Makes SIGINT end this process with 130, without a traceback, until `restore_sigint`.

    A SIGINT that is ignored stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _die)


def restore_sigint() -> None:
    """Makes SIGINT a KeyboardInterrupt again if `exit_on_sigint` has changed that."""
    if signal.getsignal(signal.SIGINT) is _die:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _die(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
