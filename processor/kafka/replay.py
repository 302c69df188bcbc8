"""`Replay`: sends dead letters to their original topics, each session's in order, and notes what was acknowledged."""

from __future__ import annotations

import queue
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from processor.errors import DeliveryError, ProcessorError
from processor.kafka.client_log import discard
from processor.kafka.config import sink_configs, without
from processor.kafka.dead_letters import DeadLetters
from processor.kafka.sink import KafkaSink
from processor.operate.letters import Letter, Place
from processor.options.connection import ConnectionOptions

MOST_IN_FLIGHT: Final = 1000
"""The most letters that are sent and not acknowledged."""

MOST_BYTES: Final = 16 << 20
"""The most bytes of these letters; a larger letter is sent alone."""

QUEUE_LIMITS: Final = frozenset(("queue.buffering.max.kbytes", "queue.buffering.max.messages"))
"""Settings that do not apply, since both limits above do. A lower one would refuse a letter, and so end the replay."""

WAIT_SECONDS: Final = 0.05
"""How long one wait for acknowledgements may delay a signal."""

CLOSE_SECONDS: Final = 130.0
"""A little more than the client's `delivery.timeout.ms`, after which it gives a record up."""

InFlight = tuple[str, bytes] | Place
"""A session, by topic and key; a letter without a key by its place."""


class Ended(NamedTuple):
    """A letter that was acknowledged, or failed."""

    letter: Letter
    error: DeliveryError | None


class Replay:
    """Sends letters. A letter is sent only once the one before it in its session is acknowledged.

    So nothing of a session can pass a letter that fails, whatever the reason. Belongs to one thread.
    """

    def __init__(self, connection: ConnectionOptions, letters: DeadLetters, rate: float | None) -> None:
        """Opens no producer yet.

        Args:
            connection: the brokers.
            letters: takes the notes.
            rate: letters per second at most; None for no limit.
        """
        self.sent = 0
        """Number of letters that were acknowledged."""
        self._letters = letters
        # A session with many letters has one in flight, and must not wait for a batch to fill.
        config = {"linger.ms": "1", **without(connection.kafka_config, QUEUE_LIMITS)}
        self._sink = KafkaSink(sink_configs(connection.bootstrap_servers, config), discard)
        self._interval = 1 / rate if rate is not None else 0.0
        self._next_at = monotonic()
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._in_flight: dict[InFlight, int] = {}
        """The size of each letter in flight."""
        self._bytes = 0
        self._targets: set[str] = set()
        """Topics that are known to exist."""
        self._failure: Ended | None = None

    def send(self, letter: Letter, is_stopped: Callable[[], bool]) -> bool:
        """Send a letter, once its rate and its session allow it. Return whether it was sent.

        Args:
            letter: the letter.
            is_stopped: called while the letter waits; once it returns True, the letter is not sent.

        Raises:
            LoadError: its topic does not exist.
            BrokerError: this client may not write to its topic.
            ProcessorError: an earlier letter was not acknowledged.
        """
        self._require(letter)
        while not self._has_room(letter) or monotonic() < self._next_at:
            if is_stopped():
                return False
            self.collect(WAIT_SECONDS)
        self._next_at = max(self._next_at + self._interval, monotonic() - 1.0)
        session = _session(letter)
        self._in_flight[session] = letter.size
        self._bytes += letter.size
        self._sink.send(
            letter.topic(),
            letter.key(),
            letter.value(),
            letter.replayed_headers(),
            lambda error: self._ended.put(Ended(letter, error)),
            letter.replayed_partition(),
        )
        return True

    def collect(self, seconds: float = 0.0) -> None:
        """Take acknowledgements, and note them when that is due. Waits at most `seconds` for the first one.

        Raises:
            ProcessorError: a letter was not acknowledged, or the brokers refuse the note.
        """
        try:
            ended = self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait()
            while True:
                self._take(ended)
                ended = self._ended.get_nowait()
        except queue.Empty:
            pass
        self._letters.note_when_due()
        if self._failure is not None:
            raise self._error(self._failure)

    def close(self) -> None:
        """Wait for what is in flight, and note it.

        Raises:
            ProcessorError: a letter was not acknowledged, or the brokers refuse the note.
        """
        try:
            self._await_acknowledgements()
        finally:
            self._sink.close(0.0 if self._failure is None else CLOSE_SECONDS)
            while not self._ended.empty():
                self._take(self._ended.get())
            self._letters.note(every=True)
        if self._failure is not None:
            raise self._error(self._failure)

    def _await_acknowledgements(self) -> None:
        deadline = monotonic() + CLOSE_SECONDS
        while self._in_flight and self._failure is None and monotonic() < deadline:
            self.collect(WAIT_SECONDS)

    def _take(self, ended: Ended) -> None:
        self._bytes -= self._in_flight.pop(_session(ended.letter))
        if ended.error is None:
            self.sent += 1
            self._letters.deal(ended.letter)
        elif self._failure is None:
            self._failure = ended

    def _has_room(self, letter: Letter) -> bool:
        if _session(letter) in self._in_flight or len(self._in_flight) >= MOST_IN_FLIGHT:
            return False
        return not self._in_flight or self._bytes + letter.size <= MOST_BYTES

    def _require(self, letter: Letter) -> None:
        if letter.topic() not in self._targets:
            try:
                self._letters.require_target(letter.topic())
            except ProcessorError as error:
                self._await_acknowledgements()
                before = f"; {self.sent:,} were sent before it" if self.sent else ""
                raise type(error)(f"letter {letter.place} cannot be replayed: {error}{before}") from None
            self._targets.add(letter.topic())

    def _error(self, failure: Ended) -> ProcessorError:
        return ProcessorError(
            f"letter {failure.letter.place} was not sent: {failure.error}; {self.sent:,} were sent and are noted"
        )


def _session(letter: Letter) -> InFlight:
    key = letter.key()
    return letter.place if key is None else (letter.topic(), key)
