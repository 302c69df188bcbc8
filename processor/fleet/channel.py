"""The messages between a fleet's parent and its consumers: JSON lines over a socket pair.

Settings are sent here and never in a command line, which every user of the machine can read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any, Generic, TypeVar

import msgspec

from processor.engine.deaths import Suspect, TaskPlace
from processor.engine.process_scaling import Load
from processor.settings import Settings
from processor.telemetry.events import ConsumerStats, PartitionStats


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first order: run as consumer `index` of the application `app`, in the fleet `fleet`."""

    settings: Settings
    app: str
    index: int
    fleet: str
    """A name that is unique to this start of the fleet, in the characters of a topic's name."""
    replaces: bool = False
    """Whether it replaces a process that has exited."""
    memory: int | None = None
    """Descriptor of the shared memory in which the consumer records which tasks it runs."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Fetch no more records, let running tasks finish, commit, and leave the group."""

    reason: str
    for_good: bool = False
    """Whether no other process takes this one's place."""


class StopNow(msgspec.Struct, frozen=True, tag="stop_now"):
    """Exit at once."""

    reason: str


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """A process of the fleet has died: record which tasks run, and run each of these suspects alone."""

    suspects: Sequence[Suspect]


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The consumer has loaded APP, has reached a broker, and subscribes."""


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """The consumer is in the group: no option prevents it from working."""


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """The consumer's statistics without its sessions, and those of its partitions if the parent serves metrics."""

    stats: ConsumerStats
    partitions: Sequence[PartitionStats] = ()
    load: Load | None = None
    """The consumer's load, if the number of consumers or of workers follows it."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The consumer exits with this error, which is one sentence."""

    message: str
    exit_code: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """All records that the topics had at the start are settled (`--stop-at-end`)."""


class Recycling(msgspec.Struct, frozen=True, tag="recycling"):
    """A handler cannot be stopped: the consumer exits, and must be replaced at once."""


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """These tasks, which were suspects, are settled."""

    places: Sequence[TaskPlace]


class Left(msgspec.Struct, frozen=True, tag="left"):
    """The consumer has shut down in an orderly way. A process that exits without a report has died."""


Order = Begin | Drain | StopNow | Watch
Report = Started | Joined | Stats | Failed | Finished | Recycling | Settled | Left
Received = TypeVar("Received")

_CHUNK = 65536


class Channel(Generic[Received]):
    """One end of the socket pair. Any thread may send, one thread receives.

    Sending never blocks: the other process may be suspended, and a poller that waited for it would lose its partitions.
    Bytes that the socket does not accept are kept, and sent by the next call.
    """

    def __init__(self, connection: socket.socket, receives: Any) -> None:
        self._connection = connection
        self._decode = msgspec.json.Decoder(receives).decode
        self._received = b""
        self._lock = threading.Lock()
        self._unsent = b""

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end, which the other process notices."""
        self._connection.close()

    def send(self, message: Order | Report) -> None:
        """Send `message`, and keep what the socket does not accept now. If the other end is closed, drop it."""
        with self._lock:
            self._unsent += msgspec.json.encode(message) + b"\n"
            self._push()

    def send_unless_busy(self, message: Order | Report) -> None:
        """Send `message`, or drop it if the other process has not read the earlier ones."""
        with self._lock:
            self._push()
            if self._unsent:
                return
            self._unsent = msgspec.json.encode(message) + b"\n"
            self._push()

    def push(self) -> bool:
        """Send what the socket accepts now of the bytes that were kept. Return whether nothing is left."""
        with self._lock:
            self._push()
            return not self._unsent

    def flush(self, seconds: float) -> None:
        """Send the bytes that were kept, within at most `seconds`. The socket may take them in several parts."""
        deadline = monotonic() + seconds
        with self._lock, contextlib.suppress(OSError, ValueError):
            while self._unsent and select.select((), (self._connection,), (), max(deadline - monotonic(), 0.0))[1]:
                self._push()

    def _push(self) -> None:
        try:
            while self._unsent:
                sent = self._connection.send(self._unsent, socket.MSG_DONTWAIT)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return
        except OSError:  # the other end is closed, which the receiving thread will notice
            self._unsent = b""

    def receive(self, *, wait: bool) -> Sequence[Received] | None:
        """Return the messages that have arrived; None once the other end is closed and all of them are read.

        With `wait`, block until a whole message arrives. Without it, return an empty list only if all bytes that have
        arrived are read: those of an incomplete message are kept, and the messages behind it are not here either.
        """
        while True:
            try:
                chunk = self._connection.recv(_CHUNK, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return []
            except OSError:
                return None
            if not chunk:
                return None
            *lines, self._received = (self._received + chunk).split(b"\n")
            if lines:
                return [self._decode(line) for line in lines]
