"""`Dispatcher`, which sends tasks to a topic from Python."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException

from processor.codec.messages import Outgoing
from processor.codec.select import ValueCodec, codec_for
from processor.errors import DeliveryError, EncodeError, ProcessorError, RecordTooLarge, SettingsError
from processor.kafka.config import producer_config
from processor.kafka.delivery_future import DeliveryFuture
from processor.kafka.oauth import tokens_of
from processor.kafka.polled_producer import PolledProducer, ProducerClosed, RecordHeaders
from processor.kafka.registry.consumer import open_registry
from processor.options.connection import check_kafka_config
from processor.options.names import topic_fault
from processor.options.values import ValueFormat
from processor.registry_settings import RegistrySettings
from processor.telemetry.events import Event, KafkaProducerFailed

ROOM_SECONDS = 0.01
"""How long `submit` waits for a delivery before it looks again whether there is room."""

CLOSE_SECONDS = 130.0
"""A little more than the 120 seconds after which the client gives a record up by itself."""

LOGGER = "processor.kafka"
"""The standard logger that gets the Kafka client's log lines and errors."""

_log = logging.getLogger(LOGGER)


class Dispatcher:
    """Sends tasks, each session's to one partition and in the order of its `submit` calls.

    The producer is idempotent and partitions as the Java client does (murmur2 of the session ID), so
    that a session's tasks meet whichever client sends them. Any thread may call it.

    ```python
    with Dispatcher("localhost:9092", "tasks") as dispatcher:
        sent = dispatcher.submit("customer-17", {"amount": 12}, "charge")
    print(sent.result().offset)
    ```
    """

    def __init__(  # noqa: PLR0913 — each is given by its name
        self,
        bootstrap_servers: str = "localhost:9092",
        topic: str = "",
        *,
        value_format: ValueFormat = "avro",
        schemas: str | None = None,
        schema_registry: str | RegistrySettings | None = None,
        kafka_config: Mapping[str, Any] | None = None,
        max_pending: int = 100_000,
    ) -> None:
        """Opens the producer; brokers are asked by the first task.

        Args:
            bootstrap_servers: HOST:PORT, several with commas.
            topic: where tasks go.
            value_format: how a task is written.
            schemas: a folder of .avsc files, added to the shipped ones.
            schema_registry: a registry's URL, or how to be let in and how to name and register schemas as well; for
                Avro only. It is asked here, once.
            kafka_config: settings for the Kafka client, as with `-X`. With `sasl.mechanism=OAUTHBEARER` it may hold
                `oauth_cb`, a function that returns (token, expiry in seconds since the epoch).
            max_pending: tasks not yet acknowledged at which `submit` waits. 64 MB of them are a bound
                as well; `queue.buffering.max.kbytes` in `kafka_config` moves it.

        Raises:
            SettingsError: an argument or a Kafka setting cannot be used.
            LoadError: a schema cannot be loaded, or the registry does not take it.
            RegistryError: the registry does not answer, or does not let this client in.
            BrokerError: `oauth_cb` returns no token.
        """
        if not topic:
            raise SettingsError("no topic to send to")
        if (fault := topic_fault(topic)) is not None:
            raise SettingsError(f"topic {fault}")
        if max_pending < 1:
            raise SettingsError(f"max_pending must be at least 1, not {max_pending}")
        check_kafka_config(kafka_config or {})
        self.topic = topic
        self._codec = _codec(value_format, schemas, schema_registry, topic)
        config = producer_config(bootstrap_servers, tokens_of(kafka_config or {}, log_event))
        config["queue.buffering.max.messages"] = str(max_pending)
        self._producer = PolledProducer(config, log_event, thread="dispatcher", closing="the dispatcher was closed")
        self._producer.open()

    def submit(
        self,
        session_id: str,
        payload: Any,
        name: str = "",
        *,
        id: str | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
    ) -> DeliveryFuture:
        """Hands a task over, and waits only while too many are pending.

        The future ends with where the record was written (`RecordMetadata`), or with a `DeliveryError`.

        Args:
            session_id: whose task it is; the record's key in UTF-8.
            payload: what the handler gets.
            name: which handler takes it.
            id: names the task; without one its reader calls it TOPIC-PARTITION-OFFSET.
            headers: the record's headers.

        Raises:
            EncodeError: the payload cannot be written in this format, or a text has no UTF-8.
            ValueError: the session ID is empty.
            RuntimeError: the dispatcher is closed.
        """
        if not session_id:
            raise ValueError("session_id must not be empty: it is what keeps a session's tasks in order")
        outgoing = Outgoing(session_id, payload, name, id)
        value = self._codec.encode_task(outgoing)
        record_headers: RecordHeaders = [*self._codec.headers_for(outgoing)]
        if headers:
            record_headers.extend((header, _encoded(text)) for header, text in headers.items())
        key = _encoded(session_id)
        sent = DeliveryFuture(self._producer)
        try:
            while not self._producer.produce(self.topic, value, key, record_headers or None, sent.on_delivery):
                self._producer.poll(ROOM_SECONDS)
        except ProducerClosed:
            raise RuntimeError("the dispatcher is closed") from None
        except RecordTooLarge as error:
            sent.fail(error)
        except KafkaException as caught:
            sent.fail(self._producer.delivery_error(self.topic, caught.args[0]))
        except ProcessorError as error:
            sent.fail(DeliveryError(f"{self.topic}: {error}"))
        return sent

    def flush(self, seconds: float = CLOSE_SECONDS) -> int:
        """Waits at most `seconds` until each task is acknowledged or has failed, and returns how many are neither."""
        return self._producer.flush(seconds)

    def pending(self) -> int:
        """How many tasks are submitted and neither acknowledged nor failed, or are in a callback of their future."""
        return len(self._producer)

    def close(self, seconds: float = CLOSE_SECONDS) -> int:
        """Flushes and closes, and returns how many tasks were not acknowledged within `seconds`: their futures fail.

        Safe to call again.
        """
        return self._producer.close(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _codec(
    value_format: ValueFormat, schemas: str | None, schema_registry: str | RegistrySettings | None, topic: str
) -> ValueCodec:
    if schema_registry is None:
        return codec_for(value_format, schemas)
    if value_format != "avro":
        raise SettingsError(f"a schema registry is for Avro: values in {value_format} have no schema")
    settings = RegistrySettings(url=schema_registry) if isinstance(schema_registry, str) else schema_registry
    with open_registry(settings) as registry:
        return codec_for(value_format, schemas, registry, task_topic=topic)


def _encoded(text: str | bytes | None) -> bytes | None:
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as caught:
        raise EncodeError(f"a text has no UTF-8: {caught.reason}") from None


def log_event(event: Event) -> None:
    """A library logs through the standard logging, which its application configures."""
    level = logging.WARNING if event.level == "warning" else logging.DEBUG
    text = getattr(event, "message", getattr(event, "error", event))
    if isinstance(event, KafkaProducerFailed):
        text = f"the Kafka client failed, tasks that it had not sent with it; the next task opens a new one: {text}"
    _log.log(level, "%s", text)
