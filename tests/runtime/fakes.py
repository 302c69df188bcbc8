"""The ports, in memory: a source that hands out records and takes commits, and a sink that can refuse."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from processor.errors import DecodeError, DeliveryError, EncodeError, NotReady
from processor.runtime.ports import Commit, Content, Delivered, End, Headers, Listener, Partition, Record, Start
from tests.engine import record

PARTITION = Partition("t", 0)
POISON = b"poison"
UNREADABLE = b"cannot be read yet"


class FakeRecord(record.FakeRecord):
    """The engine's, with a partition, a header and a time."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None = b"", partition: int = 0) -> None:
        super().__init__(offset, key, value, [("trace", b"1")])
        self._partition = partition

    def partition(self) -> int:
        return self._partition

    def timestamp(self) -> tuple[int, int]:
        return (1, 1234)


class FakeSource:
    """One member's view of the group; what the group decides is told from inside `take`, as the client does."""

    session_seconds = 45.0

    def __init__(self) -> None:
        self.committed_now: dict[Partition, Commit] = {}
        self.closed = False
        self.refusal: str | None = None
        """Why commits are refused, while they are."""
        self._records: deque[FakeRecord] = deque()
        self._decisions: deque[tuple[Callable[[Listener], None], threading.Event]] = deque()
        self._news = threading.Condition()
        self._listener: Listener | None = None

    # --- the test's side

    def push(self, *records: FakeRecord) -> None:
        with self._news:
            self._records.extend(records)
            self._news.notify()

    def decide(self, decision: Callable[[Listener], None]) -> threading.Event:
        """The group decides; the event is set once the member has obeyed."""
        obeyed = threading.Event()
        with self._news:
            self._decisions.append((decision, obeyed))
            self._news.notify()
        return obeyed

    def assign(self, partition: Partition = PARTITION) -> threading.Event:
        commit = self.committed_now.get(partition)
        start = Start(partition, commit.offset if commit else None, commit.metadata if commit else "")
        return self.decide(lambda listener: listener.on_assign([start]))

    def revoke(self, partition: Partition = PARTITION) -> threading.Event:
        return self.decide(lambda listener: listener.on_revoke([partition]))

    def reset(self, offset: int, partition: Partition = PARTITION) -> threading.Event:
        return self.decide(lambda listener: listener.on_reset(partition, offset))

    def lose(self, partition: Partition = PARTITION) -> threading.Event:
        return self.decide(lambda listener: listener.on_lose([partition]))

    # --- the poller's side

    def open(self, listener: Listener) -> None:
        self._listener = listener

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        assert self._listener is not None
        with self._news:
            if not self._decisions and not self._records:
                self._news.wait(seconds)
            decisions = list(self._decisions)
            self._decisions.clear()
        for decision, obeyed in decisions:
            decision(self._listener)
            obeyed.set()
        with self._news:
            return [self._records.popleft() for _ in range(min(limit, len(self._records)))]

    def interpret(self, record: Record) -> End | None:
        return None

    def commit(self, commits: Sequence[Commit]) -> None:
        assert self._listener is not None
        self._listener.on_committed(commits, self.commit_now(commits, 0.0))

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        if self.refusal is not None:
            return self.refusal
        self.committed_now.update((commit.partition, commit) for commit in commits)
        return None

    def pause(self, partitions: Sequence[Partition]) -> None:
        pass

    def resume(self, partitions: Sequence[Partition]) -> None:
        pass

    def ends(self) -> dict[Partition, int]:
        return {}

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        return {}

    def high_watermark(self, partition: Partition) -> int | None:
        return None

    def close(self) -> None:
        self.closed = True


class Sent(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


class FakeSink:
    """Acknowledges at once, or refuses so many times, or holds its answers until it is told."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.refusals = 0
        self.holding = False
        self.held: list[Delivered] = []
        self._lock = threading.Lock()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, delivered: Delivered
    ) -> None:
        with self._lock:
            refused = self.refusals > 0
            self.refusals -= refused
            if not refused:
                self.sent.append(Sent(topic, key, value, dict(headers or ())))
            if self.holding:
                self.held.append(delivered)
                return
        delivered(DeliveryError("the topic is away") if refused else None)

    def acknowledge(self) -> None:
        """Answers everything that is held."""
        with self._lock:
            held, self.held, self.holding = self.held, [], False
        for delivered in held:
            delivered(None)

    def close(self, seconds: float) -> int:
        return len(self.held)


class FakeCodec:
    """The value is the payload; one value cannot be read, one not before `ready`, and only bytes can be written."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.put_off = 0

    def decode(self, record: Record) -> Content:
        value = record.value()
        if value == POISON:
            raise DecodeError("it is poison")
        if value == UNREADABLE and not self.ready.is_set():
            self.put_off += 1
            raise NotReady("its schema is away", 0.01)
        return Content(value)

    def encode_result(self, task: Any, result: Any) -> bytes:
        if not isinstance(result, bytes):
            raise EncodeError("a result is bytes")
        return result
