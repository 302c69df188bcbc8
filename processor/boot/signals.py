"""`Signals`: delivers signal numbers on a socket, for use with a selector."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Signals:
    """Within the context, the given signals have no other effect than to be readable here. For the main thread only.

    The signals are unblocked, since the parent process may have blocked them, and stay unblocked afterwards.
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
        self._before = {number: signal.signal(number, _do_nothing) for number in self._numbers}
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

    def keep_stops_ignored(self) -> None:
        """Ignores, even after the context, those of the signals that would end or suspend the process by default.

        One may arrive between the last check and the end of the process. It would kill the process before a clean exit,
        or suspend it.
        """
        for number in set(self._before) - {signal.SIGCHLD}:
            self._before[number] = signal.SIG_IGN

    def fileno(self) -> int:
        """The file descriptor for a selector."""
        return self._reader.fileno()

    def arrived(self) -> Sequence[int]:
        """The numbers of the signals that arrived since the last call."""
        with contextlib.suppress(BlockingIOError):
            return self._reader.recv(4096)
        return b""


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The handler. Python has already written the number to the wake-up socket."""


@contextmanager
def blocked_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Within the context, these signals are blocked, for this thread and for processes that it starts.

    A started process inherits the blocked signals: one that arrives before its handlers are installed stays pending
    instead of killing it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def signal_name(number: int) -> str:
    """The signal's name, or `signal NUMBER` for one that Python does not know."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
