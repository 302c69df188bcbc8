"""Where dead letters and results go: one producer, and one thread that hears how each record ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.errors import DeliveryError, ProcessorError
from processor.kafka.client_log import client_hooks
from processor.kafka.config import Config, open_client, reason_of
from processor.runtime.ports import Delivered, Headers
from processor.telemetry.events import Emit, KafkaClientError

DeliveryCallback = Callable[[KafkaError | None, Message], None]

LISTEN_SECONDS = 0.1
"""How long the thread waits inside the client for news; `close` waits for it at most that long."""


class KafkaSink:
    """The `Sink` of a consumer.

    The producer is opened by the first record, or by `warm`: it costs three threads and a connection
    to each broker, which a consumer whose tasks all succeed need not pay for.

    Mutable state: `_producer`, `_thread` and `_closed`, changed under `_guard`.
    """

    def __init__(self, config: Config, emit: Emit) -> None:
        """Takes a configuration from `producer_config`."""
        self._config = {**config, **client_hooks(emit)}
        self._emit = emit
        self._guard = threading.Lock()
        self._producer: Producer | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._ended = threading.Event()

    def warm(self) -> None:
        """Opens the producer now.

        Raises:
            SettingsError: the client refuses a setting.
            DeliveryError: the sink is closed.
        """
        with self._guard:
            self._opened()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, delivered: Delivered
    ) -> None:
        """Sends a record and returns; `delivered` hears exactly once how it ended, perhaps before this returns."""
        refused = self._hand_over(topic, key, value, headers, _teller(topic, delivered))
        if refused is not None:
            delivered(DeliveryError(f"{topic}: {refused}"))

    def _hand_over(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, tell: DeliveryCallback
    ) -> str | None:
        """None when the client has the record, else why not."""
        try:
            # Under the guard, or a record could slip in behind the last flush of `close` and never be told of.
            with self._guard:
                self._opened().produce(
                    topic, value=value, key=key, headers=list(headers) if headers else None, on_delivery=tell
                )
        except BufferError:
            return "too many records wait to be sent"
        except KafkaException as caught:
            return reason_of(caught.args[0])
        except (ProcessorError, TypeError, ValueError) as caught:
            return str(caught)
        return None

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for what is under way; how many records were not acknowledged.

        Those are told so, from inside this call. A record that is sent after it is not taken.
        """
        with self._guard:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is None or self._thread is None:
            return 0
        unacknowledged = self._flush(producer, max(seconds, 0.0))
        if unacknowledged:
            producer.purge()
            self._flush(producer, LISTEN_SECONDS)
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        return unacknowledged

    def _flush(self, producer: Producer, seconds: float) -> int:
        """How many records are under way still when all are told of, or the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return producer.flush(max(deadline - time.monotonic(), 0.0))
            except Exception as caught:  # noqa: BLE001  see `_complain`
                self._complain(caught)

    def _opened(self) -> Producer:
        """The producer; the caller holds the guard."""
        if self._closed:
            raise DeliveryError("this consumer has stopped sending")
        return self._producer or self._open()

    def _open(self) -> Producer:
        self._producer = open_client(Producer, self._config)
        self._thread = threading.Thread(target=self._listen, args=(self._producer,), name="sink", daemon=True)
        self._thread.start()
        return self._producer

    def _listen(self, producer: Producer) -> None:
        """Serves the client's callbacks: acknowledgements, its log, its troubles."""
        while not self._ended.is_set():
            try:
                producer.poll(LISTEN_SECONDS)
            except Exception as caught:  # noqa: BLE001  see `_complain`
                self._complain(caught)

    def _complain(self, caught: Exception) -> None:
        """A callback's fault must not silence all the others."""
        self._emit(KafkaClientError(code="callback", message=f"{type(caught).__name__}: {caught}"))


def _teller(topic: str, delivered: Delivered) -> DeliveryCallback:
    def tell(error: KafkaError | None, _message: Message) -> None:
        delivered(None if error is None else DeliveryError(f"{topic}: {_why(error)}"))

    return tell


def _why(error: KafkaError) -> str:
    purged = error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
    return "not acknowledged before the consumer stopped" if purged else reason_of(error)
