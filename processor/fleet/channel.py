"""What a fleet's parent and its consumers tell each other: JSON lines over a socket pair.

Settings travel here and never in a command line, which every user of the machine can read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from processor.settings import Settings
from processor.telemetry.events import ConsumerStats, PartitionStats


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first order: be the consumer `index` of the application `app`, in the fleet `fleet`."""

    settings: Settings
    app: str
    index: int
    fleet: str
    """A name that no other start of a fleet has, in the characters of a topic's name."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take no more records, let running tasks finish, commit, leave."""

    reason: str


class StopNow(msgspec.Struct, frozen=True, tag="stop_now"):
    """End at once."""

    reason: str


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The consumer has loaded APP, reached a broker and subscribes."""


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """The consumer is in the group: nothing that an option got wrong is in its way."""


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """The consumer at work, without its sessions; its partitions only where the parent serves metrics."""

    stats: ConsumerStats
    partitions: Sequence[PartitionStats] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The consumer ends because of this, in one sentence."""

    message: str
    exit_code: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Everything that was in the topics at the start is settled: `--stop-at-end`."""


class Recycling(msgspec.Struct, frozen=True, tag="recycling"):
    """A handler cannot be stopped: the consumer ends and wants a fresh one in its place at once."""


Order = Begin | Drain | StopNow
Report = Started | Joined | Stats | Failed | Finished | Recycling
Received = TypeVar("Received")

_CHUNK = 65536


class Channel(Generic[Received]):
    """One end. Any thread may send, one thread receives.

    Sending never blocks: the other side may be a process that is stopped, and a poller that waits for it
    would lose its partitions. What the socket does not take is kept for the next send.
    """

    def __init__(self, connection: socket.socket, receives: Any) -> None:
        self._connection = connection
        self._decode = msgspec.json.Decoder(receives).decode
        self._received = b""
        self._lock = threading.Lock()
        self._unsent = b""

    def fileno(self) -> int:
        """For a selector."""
        return self._connection.fileno()

    def close(self) -> None:
        """The other side sees this one gone."""
        self._connection.close()

    def send(self, message: Order | Report) -> None:
        """Sends `message`, or as much of it as the socket takes now. To an end that is gone it sends nothing."""
        with self._lock:
            self._unsent += msgspec.json.encode(message) + b"\n"
            self._push()

    def send_unless_busy(self, message: Order | Report) -> None:
        """Sends `message`, or drops it while the other side has not taken what was sent before."""
        with self._lock:
            self._push()
            if self._unsent:
                return
            self._unsent = msgspec.json.encode(message) + b"\n"
            self._push()

    def flush(self, seconds: float) -> None:
        """Waits at most `seconds` for what is unsent."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._unsent and select.select((), (self._connection,), (), seconds)[1]:
                self._push()

    def _push(self) -> None:
        try:
            while self._unsent:
                sent = self._connection.send(self._unsent, socket.MSG_DONTWAIT)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return
        except OSError:  # the other side is gone, which the receiving thread will notice
            self._unsent = b""

    def receive(self, *, wait: bool) -> Sequence[Received] | None:
        """The messages that have come, or None when the other side is gone and has nothing left to say.

        With `wait` it blocks until there is something; without, an empty list is nothing yet.
        """
        try:
            chunk = self._connection.recv(_CHUNK, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not chunk:
            return None
        *lines, self._received = (self._received + chunk).split(b"\n")
        return [self._decode(line) for line in lines]
