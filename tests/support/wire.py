"""A proxy between clients and a real broker. It can be slow, cut or silent, and refuse commits, records and producers.

It can also drop answers of the coordinator that assign partitions to a member.

It implements only the necessary part of Kafka's protocol: frames, request headers, the answer to
ConsumerGroupHeartbeat, and OffsetCommit, TxnOffsetCommit, EndTxn, Produce and InitProducerId in the versions that the
client sends (8 and 9, 3, 0 and 1, 9 and 10, 4). Kafka's sources define the layouts of requests and answers, for example
in `OffsetCommitRequest.json`.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

PRODUCE, OFFSET_COMMIT, INIT_PRODUCER_ID, END_TXN, TXN_OFFSET_COMMIT, CONSUMER_GROUP_HEARTBEAT = 0, 8, 22, 26, 28, 68
LAYOUTS = {PRODUCE: (9, 10), OFFSET_COMMIT: (8, 9), INIT_PRODUCER_ID: (4,), END_TXN: (0, 1), TXN_OFFSET_COMMIT: (3,)}


class Wire:
    """Listens on a port of loopback, and forwards to `target`, also a port of loopback."""

    def __init__(self, port: int, target: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.delay = 0.0
        """Seconds by which every request is delayed."""
        self.silent = False
        """Whether the wire accepts all data and forwards nothing."""
        self.refused = 0
        """How many commits the wire answered with an error."""
        self.refused_topics: dict[str, int] = {}
        """Topics whose records are refused, each with the error code that the wire answers instead of the broker."""
        self.refused_records = 0
        """How many batches of records the wire answered with an error."""
        self.refused_producers: int | None = None
        """The error code for an idempotent producer that requests its ID; None forwards the request."""
        self.producers = 0
        """How many producers requested an ID."""
        self.loses_assignments_of: int | None = None
        """Drops answers to KIP-848 heartbeats that assign this number of partitions; None drops no answer."""
        self.lost_assignments = 0
        """How many such answers were dropped."""
        self._target = target
        self._refusals: list[int] = []
        self._refused_ends: list[int] = []
        self._links: set[_Link] = set()
        self._guard = threading.Lock()
        self._is_cut = False
        self._server = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse_commits(self, code: int, times: int) -> None:
        """Answers the next `times` commits with this error code for each partition; the broker never receives them.

        Offsets that are committed in transactions count as commits.
        """
        with self._guard:
            self._refusals += [code] * times

    def refuse_ends(self, code: int, times: int) -> None:
        """Answers the next `times` requests to commit or abort a transaction with this error code."""
        with self._guard:
            self._refused_ends += [code] * times

    def accept_commits(self) -> None:
        """Stops refusing commits."""
        with self._guard:
            self._refusals.clear()

    @property
    def has_refusals(self) -> bool:
        """Whether some of the requested refusals are still to come."""
        with self._guard:
            return bool(self._refusals or self._refused_ends)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Closes every connection, and inside the `with` block also each new one."""
        self._is_cut = True
        self._close_links()
        try:
            yield
        finally:
            self._is_cut = False

    def close(self) -> None:
        """Stops listening and closes all connections."""
        self._is_cut = True
        self._server.close()
        self._close_links()

    def answer_of(self, request: bytes) -> bytes | None:
        """Return the wire's own answer to a request; None if the request is to be forwarded."""
        api, version = struct.unpack_from(">hh", request)
        if version not in LAYOUTS.get(api, ()):
            return None
        if api == PRODUCE:
            refusal = produce_refusal_of(request, self.refused_topics)
            self.refused_records += refusal is not None
            return refusal
        if api == INIT_PRODUCER_ID:
            self.producers += 1
            return None if self.refused_producers is None else producer_refusal_of(request, self.refused_producers)
        return self._end_refusal(request) if api == END_TXN else self._commit_refusal(request)

    def _commit_refusal(self, request: bytes) -> bytes | None:
        with self._guard:
            if not self._refusals:
                return None
            self.refused += 1
            return refusal_of(request, self._refusals.pop(0))

    def _end_refusal(self, request: bytes) -> bytes | None:
        with self._guard:
            if not self._refused_ends:
                return None
            return end_refusal_of(request, self._refused_ends.pop(0))

    def loses(self, api: int, answer: bytes) -> bool:
        """Return whether the broker's answer to such a request is dropped."""
        if api != CONSUMER_GROUP_HEARTBEAT or assigned_by(answer) != self.loses_assignments_of:
            return False
        self.lost_assignments += 1
        return True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                if self._is_cut:
                    raise ConnectionRefusedError
                link = _Link(self, client, socket.create_connection(("127.0.0.1", self._target), 5))
            except OSError:
                client.close()
                continue
            with self._guard:
                self._links = {known for known in self._links if known.is_open} | {link}

    def _close_links(self) -> None:
        with self._guard:
            for link in self._links:
                link.close()


class _Link:
    """A client's connection, and the corresponding connection to the broker."""

    def __init__(self, wire: Wire, client: socket.socket, broker: socket.socket) -> None:
        self.is_open = True
        self._wire, self._client, self._broker = wire, client, broker
        self._requests: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self._passed: queue.SimpleQueue[int] = queue.SimpleQueue()
        """The API keys of the forwarded requests. The broker answers all of them, in the same order."""
        for end in (client, broker):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for work in (self._read_requests, self._pass_requests, self._pass_answers):
            threading.Thread(target=self._until_closed, args=(work,), daemon=True).start()

    def close(self) -> None:
        self.is_open = False
        self._requests.put(None)
        for end in (self._client, self._broker):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def _until_closed(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError:
            pass
        finally:
            self.close()

    def _read_requests(self) -> None:
        while True:
            frame = _frame(self._client)
            self._requests.put((time.monotonic() + self._wire.delay, frame))

    def _pass_requests(self) -> None:
        while (request := self._requests.get()) is not None:
            due, frame = request
            time.sleep(max(0.0, due - time.monotonic()))
            self._wait_while_silent()
            answer = self._wire.answer_of(frame)
            if answer is None:
                self._passed.put(struct.unpack_from(">h", frame)[0])
            whole, end = (frame, self._broker) if answer is None else (answer, self._client)
            end.sendall(struct.pack(">i", len(whole)) + whole)

    def _pass_answers(self) -> None:
        while True:
            frame = _frame(self._broker)
            self._wait_while_silent()
            if not self._wire.loses(self._passed.get(), frame):
                self._client.sendall(struct.pack(">i", len(frame)) + frame)

    def _wait_while_silent(self) -> None:
        while self._wire.silent and self.is_open:
            time.sleep(0.02)


def assigned_by(answer: bytes) -> int:
    """Return how many partitions an answer to ConsumerGroupHeartbeat assigns to its member."""
    read = _Reader(answer)
    read.skip(4)  # correlation
    read.tags()
    read.skip(4 + 2)  # throttle time, error
    read.text()  # message
    read.text()  # member
    read.skip(4 + 4)  # epoch, interval
    count = 0
    if read.number(">b") >= 0:
        for _ in range(read.length()):
            read.skip(16)  # topic
            partitions = read.length()
            read.skip(4 * partitions)
            read.tags()
            count += partitions
    return count


def refusal_of(frame: bytes, code: int) -> bytes:
    """Return an answer to an OffsetCommit or TxnOffsetCommit request, with the same error code for each partition."""
    read = _Reader(frame)
    is_in_transaction = read.number(">h") == TXN_OFFSET_COMMIT
    read.skip(2)
    correlation = read.number(">i")
    read.skip(max(0, read.number(">h")))  # the client's ID
    read.tags()
    if is_in_transaction:
        read.text()  # transaction
    read.text()  # group
    if is_in_transaction:
        read.skip(8 + 2)  # producer, its epoch
    read.skip(4)  # generation or member epoch
    read.text()  # member
    read.text()  # instance
    topics = []
    for _ in range(read.length()):
        name, partitions = read.text(), []
        for _ in range(read.length()):
            partitions.append(read.number(">i"))
            read.skip(8 + 4)  # offset, leader epoch
            read.text()  # metadata
            read.tags()
        read.tags()
        topics.append((name, partitions))
    answer = struct.pack(">iBi", correlation, 0, 0) + _varint(len(topics) + 1)
    for name, partitions in topics:
        answer += _varint(len(name) + 1) + name + _varint(len(partitions) + 1)
        answer += b"".join(struct.pack(">ihB", partition, code, 0) for partition in partitions) + b"\0"
    return answer + b"\0"


def produce_refusal_of(frame: bytes, refused: Mapping[str, int]) -> bytes | None:
    """Return an answer to a Produce request for one of the `refused` topics; None for any other topic.

    The client sends one partition per request. The fields after the error code are base offset, append time, first
    offset, errors by record and message.
    """
    read = _Reader(frame)
    read.skip(4)
    correlation = read.number(">i")
    read.skip(max(0, read.number(">h")))  # the client's ID
    read.tags()
    read.text()  # transaction
    read.skip(2 + 4)  # acks, timeout
    assert read.length() == 1
    name = read.text()
    assert read.length() == 1
    partition = read.number(">i")
    code = refused.get(name.decode())
    if code is None:
        return None
    part = struct.pack(">ihqqq", partition, code, -1, -1, -1) + b"\x01\0\0"
    topic = _varint(len(name) + 1) + name + b"\x02" + part + b"\0"
    return struct.pack(">iB", correlation, 0) + b"\x02" + topic + struct.pack(">iB", 0, 0)


def producer_refusal_of(frame: bytes, code: int) -> bytes:
    """Return an answer to an InitProducerId request; its fields are throttle time, error code, ID and epoch."""
    (correlation,) = struct.unpack_from(">i", frame, 4)
    return struct.pack(">iBihqhB", correlation, 0, 0, code, -1, -1, 0)


def end_refusal_of(frame: bytes, code: int) -> bytes:
    """Return an answer to an EndTxn request; its fields are throttle time and error code."""
    (correlation,) = struct.unpack_from(">i", frame, 4)
    return struct.pack(">iih", correlation, 0, code)


def through_a_wire(wire_port: int, direct_port: int) -> Mapping[str, str]:
    """Return server properties of a broker with two addresses: a direct one, and one that clients reach through a wire.

    Args:
        wire_port: the port on which the wire listens.
        direct_port: the port on which the broker accepts the wire's connections.
    """
    return {
        "listeners": f"PLAINTEXT://{{host}}:{{port}},WIRE://127.0.0.1:{direct_port},"
        "CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},WIRE://127.0.0.1:{wire_port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,WIRE:PLAINTEXT",
    }


class _Reader:
    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._at = 0

    def skip(self, count: int) -> None:
        self._at += count

    def number(self, layout: str) -> int:
        (number,) = struct.unpack_from(layout, self._frame, self._at)
        self._at += struct.calcsize(layout)
        return int(number)

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._frame[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def length(self) -> int:
        return max(0, self.varint() - 1)

    def text(self) -> bytes:
        length = self.length()
        self._at += length
        return self._frame[self._at - length : self._at]

    def tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.skip(self.varint())


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _frame(link: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _exactly(link, 4))
    return _exactly(link, length)


def _exactly(link: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = link.recv(count - len(parts))
        if not part:
            raise OSError
        parts += part
    return bytes(parts)
