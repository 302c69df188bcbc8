"""Signals as something to wait for: their numbers arrive on a socket that a selector can watch."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Signals:
    """While entered, the given signals do nothing but become readable here. The main thread only.

    Whoever started this process may have blocked them. They are unblocked, and stay so.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._reader, self._writer = socket.socketpair()
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Signals:
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _noted_by_the_socket) for number in self._numbers}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        self._reader.close()
        self._writer.close()

    def stay_deaf(self) -> None:
        """A stop that comes after the end changes nothing: SIGTERM and SIGINT stay ignored when this is left.

        Between the last look at the signals and the process's end there is time for one more; with its
        default action it would turn a clean exit code into a death by signal.
        """
        for number in {signal.SIGTERM, signal.SIGINT} & set(self._before):
            self._before[number] = signal.SIG_IGN

    def fileno(self) -> int:
        """For a selector."""
        return self._reader.fileno()

    def arrived(self) -> Sequence[int]:
        """The numbers of the signals that have come since the last call."""
        with contextlib.suppress(BlockingIOError):
            return self._reader.recv(4096)
        return b""


def _noted_by_the_socket(_number: int, _frame: FrameType | None) -> None:
    """Python writes the number to the wake-up socket before it calls this."""


@contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """While entered, these signals wait, for this thread and for a process that it starts.

    Such a process inherits them blocked: one that comes before it has handlers waits for it, where it would have died.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def signal_name(number: int) -> str:
    """The signal's name, also of one that Python does not know."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
