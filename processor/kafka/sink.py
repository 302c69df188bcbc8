"""Where dead letters and results go."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message

from processor.errors import DeliveryError, ProcessorError
from processor.kafka.config import Config, reason_of
from processor.kafka.polled_producer import OnDelivery, PolledProducer, ProducerClosed
from processor.runtime.ports import Delivered, Headers
from processor.telemetry.events import Emit


class KafkaSink:
    """The `Sink` of a consumer.

    The producer is opened by the first record, or by `warm`: it costs three threads and a connection
    to each broker, which a consumer whose tasks all succeed need not pay for.
    """

    def __init__(self, config: Config, emit: Emit) -> None:
        """Takes a configuration from `producer_config`."""
        self._producer = PolledProducer(config, emit, thread="sink", closing="the consumer stopped")

    def warm(self) -> None:
        """Opens the producer now.

        Raises:
            SettingsError: the client refuses a setting.
            ProducerClosed: the sink is closed.
        """
        self._producer.open()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, delivered: Delivered
    ) -> None:
        """Sends a record and returns; `delivered` is called exactly once, perhaps before this returns."""
        refused = self._refusal(topic, key, value, headers, self._on_delivery(topic, delivered))
        if refused is not None:
            delivered(DeliveryError(f"{topic}: {refused}"))

    def _refusal(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, on_delivery: OnDelivery
    ) -> str | None:
        """Why the client does not take the record, or None."""
        try:
            has_room = self._producer.produce(topic, value, key, list(headers) if headers else None, on_delivery)
        except KafkaException as caught:
            return reason_of(caught.args[0])
        except ProducerClosed:
            return "this consumer has stopped sending"
        except (ProcessorError, TypeError, ValueError) as caught:
            return str(caught)
        return None if has_room else "too many records wait to be sent, or the Kafka client has failed and is replaced"

    def _on_delivery(self, topic: str, delivered: Delivered) -> OnDelivery:
        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            try:
                delivered(None if error is None else self._producer.delivery_error(topic, error))
            finally:
                self._producer.reported(error)

        return on_delivery

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for what is under way, and returns how many records were not acknowledged.

        Those are reported from inside this call. A record that is sent after it is not taken.
        """
        return self._producer.close(seconds)
