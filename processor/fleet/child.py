"""`ChildProcess`: a consumer's process, seen from the parent."""

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
from processor.engine.deaths import TaskPlace
from processor.engine.process_scaling import Load
from processor.fleet.channel import (
    Begin,
    Channel,
    Failed,
    Finished,
    Joined,
    Left,
    Order,
    Recycling,
    Report,
    Settled,
    Started,
    Stats,
)
from processor.fleet.restarts import Exit
from processor.runtime.flight_recorder import open_memory, recorded
from processor.telemetry.events import ConsumerStats, PartitionStats


class ChildProcess:
    """A consumer's process that was started, and the reports that it has sent.

    Args:
        command: the program and its arguments; the descriptor of its end of the channel is added as the last one.
        begin: its first order.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, command: Sequence[str], begin: Begin) -> None:
        ours, theirs = socket.socketpair()
        self._memory = open_memory()
        memory = (self._memory.fileno(),) if self._memory is not None else ()
        # The child unblocks both signals itself (`processor/fleet/__main__.py`), once it has handlers for them.
        with theirs, blocked_signals(*STOP_SIGNALS):
            try:
                # In its own session: Ctrl-C on the terminal reaches only the parent, which orders a drain.
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(), *memory),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                self._close_memory()
                raise
        self._topics = begin.settings.topics
        self._channel: Channel[Report] = Channel(ours, Report)
        self.began = time.monotonic()
        self._is_open = True
        self.stats: ConsumerStats | None = None
        self.reported_at: float | None = None
        """Time of its latest statistics."""
        self.partitions: Sequence[PartitionStats] = ()
        self.load: Load | None = None
        """The load in its latest report, if the number of consumers follows the load."""
        self.started = False
        self.joined = False
        self._finished = False
        self._recycling = False
        self._failure: str | None = None
        self._has_left = False
        self.settled: list[TaskPlace] = []
        """Suspects that it has reported as settled."""
        self.was_killed = False
        self._channel.send(msgspec.structs.replace(begin, memory=memory[0] if memory else None))

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the channel's descriptor, for a selector."""
        return self._channel.fileno()

    def send(self, order: Order) -> None:
        """Send an order, without waiting for a process that has exited or is suspended."""
        self._channel.send(order)

    def send_rest(self) -> bool:
        """Send what the socket did not accept before. Return whether nothing is left."""
        return self._channel.push()

    def kill(self) -> None:
        """Kill the process and everything that its handlers have started: none of it may continue to work."""
        self.was_killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the channel, and release the memory in which it has recorded what it ran."""
        self._channel.close()
        self._close_memory()

    def _close_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()

    def receive(self) -> bool:
        """Handle the reports that have arrived. Return False once the process has closed its end."""
        while self._is_open:
            try:
                reports = self._channel.receive(wait=False)
            except msgspec.MsgspecError:  # not a report; its exit code will show how it ended
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
            case Stats(stats, partitions, load):
                self.stats, self.partitions, self.load = stats, partitions, load
                self.reported_at = monotonic()
            case Finished():
                self._finished = True
            case Recycling():
                self._recycling = True
            case Failed(message):
                self._failure = message
            case Settled(places):
                self.settled += places
            case Left():
                self._has_left = True

    def exit(self) -> Exit | None:
        """Return how it exited, by its exit code and its reports; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._end_orphans()
        self.receive()
        lived = time.monotonic() - self.began
        has_reported = self._has_left or self._recycling or self._failure is not None or self.was_killed
        died = self.joined and not has_reported
        running = recorded(self._memory, self._topics) if died and self._memory is not None else []
        return Exit(code, lived, self.joined, self._finished, self._recycling, self._failure, died, running)

    def _end_orphans(self) -> None:
        """Send SIGTERM to processes that its handlers have started and not put into another process group.

        Otherwise they would work on a dead consumer's task during the task's next attempt, and a pool's workers would
        wait forever. The kernel does not reuse the number of a process group while a process is in it.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGTERM)
