"""`KafkaSink`: sends dead letters and results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message

from processor.errors import DeliveryError, ProcessorError, RecordTooLarge
from processor.kafka.config import Config
from processor.kafka.polled_producer import OnDelivery, PolledProducer, ProducerClosed
from processor.runtime.ports import Delivered, Headers
from processor.telemetry.events import Emit, OutputTooLarge


class _Output(NamedTuple):
    """A record in flight."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    delivered: Delivered
    partition: int | None

    @property
    def size(self) -> int:
        """Size of key, value and headers in bytes."""
        headers = sum(len(name) + len(text or b"") for name, text in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class KafkaSink:
    """The `Sink` of a consumer.

    If a topic rejects a record as too large, the record is sent again at once, alone and with a stronger compression.
    The task may have been accepted in a compressed batch, and a burst of small records may be too large as one batch.
    The order in a session is not affected, since its next task waits for the acknowledgement.

    The first record, or `warm`, opens a producer, which takes three threads and a connection to each broker. Consumers
    whose tasks all succeed save that cost.
    """

    def __init__(self, configs: Sequence[Config], emit: Emit) -> None:
        """Takes the configurations from `sink_configs`. A record that is too large for one is sent with the next."""
        self._emit = emit
        self._producers = [PolledProducer(config, emit, "sink", "the consumer stopped") for config in configs]
        self._guard = threading.Lock()
        self._too_small: set[str] = set()
        """Topics already logged for rejecting a record; under `_guard`."""

    def warm(self) -> None:
        """Opens the first producer in advance.

        Raises:
            SettingsError: the client rejects a setting.
            ProducerClosed: the sink is closed.
        """
        self._producers[0].open()

    def after_reports(self, call: Callable[[], None]) -> None:
        """Has `call` called after the client has run callbacks, by the thread that ran them."""
        for producer in self._producers:
            producer.after_reports = call

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        delivered: Delivered,
        partition: int | None = None,
    ) -> None:
        """Sends a record asynchronously. `delivered` is called exactly once, possibly before this returns."""
        self._send(_Output(topic, key, value, headers or (), delivered, partition), 0)

    def _send(self, output: _Output, step: int) -> None:
        """Passes the record to the producer with the index `step`."""
        try:
            refused = self._refusal(output, step)
        except RecordTooLarge as error:
            self._send_denser(output, step, error)
        else:
            if refused is not None:
                output.delivered(refused)

    def _refusal(self, output: _Output, step: int) -> DeliveryError | None:
        """Why the producer rejects the record; None if it accepts it.

        Raises:
            RecordTooLarge: the record is too large for the client.
        """
        producer, topic = self._producers[step], output.topic
        on_delivery = self._on_delivery(output, step)
        try:
            has_room = producer.produce(
                topic, output.value, output.key, list(output.headers) or None, on_delivery, output.partition
            )
        except RecordTooLarge:
            raise
        except KafkaException as caught:
            return producer.delivery_error(topic, caught.args[0])
        except ProducerClosed:
            return DeliveryError(f"{topic}: this consumer has stopped sending")
        except (ProcessorError, TypeError, ValueError) as caught:
            return DeliveryError(f"{topic}: {caught}")
        if has_room:
            return None
        return DeliveryError(f"{topic}: the producer's queue is full, or the Kafka client has failed")

    def _on_delivery(self, output: _Output, step: int) -> OnDelivery:
        producer = self._producers[step]

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            try:
                refused = None if error is None else producer.delivery_error(output.topic, error)
                if isinstance(refused, RecordTooLarge):
                    self._send_denser(output, step, refused)
                else:
                    output.delivered(refused)
            finally:
                producer.reported(error)

        return on_delivery

    def _send_denser(self, output: _Output, step: int, error: RecordTooLarge) -> None:
        if step + 1 < len(self._producers):
            self._send(output, step + 1)
            return
        with self._guard:
            is_known = output.topic in self._too_small
            self._too_small.add(output.topic)
        if not is_known:
            self._emit(OutputTooLarge(topic=output.topic, record_bytes=output.size, error=str(error)))
        output.delivered(error)

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for records in flight. Returns how many were not acknowledged.

        Those are reported within this call. Later records are rejected.
        """
        deadline = time.monotonic() + seconds
        # The order matters: a record that one producer rejects as too large is passed to the next.
        return sum(producer.close(deadline - time.monotonic()) for producer in self._producers)
