"""Where dead letters and results go."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message

from processor.errors import DeliveryError, ProcessorError, RecordTooLarge
from processor.kafka.config import Config
from processor.kafka.polled_producer import OnDelivery, PolledProducer, ProducerClosed
from processor.runtime.ports import Delivered, Headers
from processor.telemetry.events import Emit, OutputTooLarge


class _Output(NamedTuple):
    """A record on its way."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    delivered: Delivered

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(text or b"") for name, text in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class KafkaSink:
    """The `Sink` of a consumer.

    A record that its topic refuses as too large is sent again at once, by itself and in a denser compression: its topic
    may have taken the task in a compressed batch, and a burst of small records may be too large as one batch. That does
    not change the order in a session, whose next task waits until the record is acknowledged.

    A producer is opened by its first record, or by `warm`: it costs three threads and a connection to each broker. A
    consumer whose tasks all succeed need not pay for that.
    """

    def __init__(self, configs: Sequence[Config], emit: Emit) -> None:
        """Takes the configurations from `sink_configs`: what is too large with the first one is sent with the next."""
        self._emit = emit
        self._producers = [PolledProducer(config, emit, "sink", "the consumer stopped") for config in configs]
        self._guard = threading.Lock()
        self._too_small: set[str] = set()
        """Topics that are logged as too small; under `_guard`."""

    def warm(self) -> None:
        """Opens the first producer now.

        Raises:
            SettingsError: the client refuses a setting.
            ProducerClosed: the sink is closed.
        """
        self._producers[0].open()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, delivered: Delivered
    ) -> None:
        """Sends a record and returns; `delivered` is called exactly once, perhaps before this returns."""
        self._send(_Output(topic, key, value, headers or (), delivered), 0)

    def _send(self, output: _Output, step: int) -> None:
        """Hands it to the producer number `step`."""
        try:
            refused = self._refusal(output, step)
        except RecordTooLarge as error:
            self._send_denser(output, step, error)
        else:
            if refused is not None:
                output.delivered(refused)

    def _refusal(self, output: _Output, step: int) -> DeliveryError | None:
        """Why the producer does not take the record, or None.

        Raises:
            RecordTooLarge: it is too large for the client.
        """
        producer, topic = self._producers[step], output.topic
        on_delivery = self._on_delivery(output, step)
        try:
            has_room = producer.produce(topic, output.value, output.key, list(output.headers) or None, on_delivery)
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
        return DeliveryError(f"{topic}: too many records wait to be sent, or the Kafka client has failed")

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
        """Waits at most `seconds` for what is under way, and returns how many records were not acknowledged.

        Those are reported from inside this call. A record that is sent after it is not taken.
        """
        deadline = time.monotonic() + seconds
        # In this order: what one refuses as too large, the next one still takes.
        return sum(producer.close(deadline - time.monotonic()) for producer in self._producers)
