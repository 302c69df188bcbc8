"""One life of a consumer: its process, seen from the parent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from time import monotonic

import msgspec

from processor.boot.first_signals import STOP_SIGNALS
from processor.boot.signals import blocked_signals
from processor.fleet.channel import Begin, Channel, Failed, Finished, Joined, Order, Recycling, Report, Started, Stats
from processor.fleet.restarts import Death
from processor.health.heartbeat import Place
from processor.telemetry.events import ConsumerStats, PartitionStats


class Life:
    """A process that was started, and what it has reported.

    Args:
        command: the program and its arguments; the number of its end of the channel is added as the last.
        begin: its first order.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, command: Sequence[str], begin: Begin) -> None:
        ours, theirs = socket.socketpair()
        # It unblocks both signals itself, `processor/fleet/__main__.py`, once it has handlers for them.
        with theirs, blocked_signals(*STOP_SIGNALS):
            try:
                # A session of its own: the terminal's Ctrl-C reaches the parent only, which passes it on in order.
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._channel: Channel[Report] = Channel(ours, Report)
        self.began = time.monotonic()
        self._is_open = True
        self.stats: ConsumerStats | None = None
        self.partitions: Sequence[PartitionStats] = ()
        self.started = False
        self.joined = False
        self._finished = False
        self._recycling = False
        self._failure: str | None = None
        self.was_killed = False
        self._channel.send(begin)

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    def fileno(self) -> int:
        """For a selector."""
        return self._channel.fileno()

    def tell(self, order: Order) -> None:
        """Gives an order; a process that is gone or stopped does not hold the parent up."""
        self._channel.send(order)

    def kill(self) -> None:
        """SIGKILL to the process and to whatever its handlers have started: nothing of it may go on working."""
        self.was_killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Gives up the channel."""
        self._channel.close()

    def hear(self) -> bool:
        """Notes what the process reports; False once it says no more."""
        while self._is_open:
            try:
                reports = self._channel.receive(wait=False)
            except msgspec.MsgspecError:  # not a consumer's words; its end will be judged by its exit code
                reports = None
            if reports is None:
                self._is_open = False
            elif not reports:
                break
            for report in reports or ():
                self._note(report)
        return self._is_open

    def _note(self, report: Report) -> None:
        match report:
            case Started():
                self.started = True
            case Joined():
                self.joined = True
            case Stats(stats, partitions):
                self.stats, self.partitions = stats, partitions
            case Finished():
                self._finished = True
            case Recycling():
                self._recycling = True
            case Failed(message):
                self._failure = message

    def death(self) -> Death | None:
        """How it ended, with regard to all that it said before; None while it lives."""
        code = self._process.poll()
        if code is None:
            return None
        self._end_what_it_left()
        self.hear()
        lived = time.monotonic() - self.began
        return Death(code, lived, self.joined, self._finished, self._recycling, self._failure)

    def _end_what_it_left(self) -> None:
        """SIGTERM to what its handlers have started and not put into a process group of its own.

        Work on a task of a consumer that died would go on beside the task's next attempt, and a pool's workers wait for
        ever. As long as the group has a process, its number cannot become another's.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGTERM)


class Slot:
    """Its index, and the life that fills it now."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.life: Life | None = None
        self.due: float | None = 0.0
        """When the next life begins; None while one lasts, or when none is to follow."""
        self.delay: float | None = None
        """What the last life had to wait for, None if it was the first."""
        self.kill_at: float | None = None
        """When the life is killed that was told to end."""
        self.is_reloading = False
        """Whether the life was told to end because the code has changed: another follows at once."""
        self.awaits_change = False
        """Whether the code could not be loaded: the next life begins when it has changed."""

    @property
    def is_in_use(self) -> bool:
        """Whether a life lasts, or another is to follow."""
        return self.life is not None or self.due is not None or self.awaits_change

    def place(self) -> Place:
        """For the heartbeat, in whose thread it is called: a look between two changes may be of neither."""
        due, life = self.due, self.life
        if life is None:
            return Place(consumer=self.index, pid=None, since=monotonic(), done=due is None and not self.awaits_change)
        return Place(consumer=self.index, pid=life.pid, since=life.began, done=False)
