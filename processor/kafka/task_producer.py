"""`TaskProducer`: encodes tasks and hands their records to the Kafka client, for `Dispatcher` and `AsyncDispatcher`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message

from processor.codec.messages import Outgoing
from processor.codec.plans import encode_headers, encode_text, group_headers, step_headers
from processor.codec.select import codec_for
from processor.codec.value_codec import ValueCodec
from processor.engine.record import Headers
from processor.errors import DeliveryError, ProcessorError, RecordTooLarge, SettingsError
from processor.handlers.steps import Group, Step
from processor.kafka.after_fork import renew_after_fork
from processor.kafka.config import producer_config
from processor.kafka.oauth import tokens_of
from processor.kafka.polled_producer import PolledProducer, ProducerClosed, RecordHeaders
from processor.kafka.registry.consumer import open_registry
from processor.options.connection import OAUTH_CB, check_kafka_config
from processor.options.names import topic_fault
from processor.options.value_formats import WITH_SCHEMAS, ValueFormat, traits_of
from processor.registry_settings import RegistrySettings
from processor.telemetry.events import Event, KafkaProducerFailed
from processor.telemetry.spans import current_headers

ROOM_SECONDS = 0.01
"""How long a task that finds no room waits for a delivery before it tries again."""

CLOSE_SECONDS = 130.0
"""A little more than the 120 seconds after which the client itself gives up a record."""

LOGGER = "processor.kafka"
"""The standard logger that gets the Kafka client's log lines and errors."""

_log = logging.getLogger(LOGGER)


class TaskRecord(NamedTuple):
    """A task as a record."""

    key: bytes | None
    value: bytes | None
    headers: RecordHeaders


class Delivery(Protocol):
    """Receives the outcome of a record, once."""

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Handles the client's delivery report, in any thread. It calls `reported` of the client at its end."""

    def fail(self, error: DeliveryError) -> None:
        """Handles a record that the client did not accept."""


class TaskProducer:
    """Encodes tasks and hands them to a client. A forked child process gets its own client. Any thread may call it."""

    def __init__(  # noqa: PLR0913 — each is given by its name
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        value_format: ValueFormat,
        schemas: str | None,
        schema_registry: str | RegistrySettings | None,
        kafka_config: Mapping[str, Any] | None,
        max_pending: int,
    ) -> None:
        """Asks the registry, and opens the client. Arguments and errors are those of `Dispatcher`."""
        check_options(topic, kafka_config, max_pending)
        self._topic = topic
        self._codec = _codec(value_format, schemas, schema_registry, topic)
        self._kafka_config = dict(kafka_config or {})
        self._config = producer_config(bootstrap_servers, tokens_of(self._kafka_config, log_event))
        self._config["queue.buffering.max.messages"] = str(max_pending)
        self.client = self._new_client()
        self.client.open()
        renew_after_fork(self)

    def record_of(self, task: Outgoing, headers: Mapping[str, str | bytes | None] | None, terms: Headers) -> TaskRecord:
        """Return the task as a record. `terms` are the headers of its terms, which override `headers`.

        Raises:
            EncodeError: the payload cannot be written in this format, or a text cannot be encoded in UTF-8.
            TypeError: the session ID or the name is not a text, or a header's value neither a text nor bytes.
            ValueError: the session ID is empty.
        """
        _check_text("session_id", task.session_id)
        _check_text("name", task.name)
        if not task.session_id:
            raise ValueError("session_id must not be empty: tasks with the same session_id are kept in order")
        value = self._codec.encode_task(task)
        record_headers: RecordHeaders = [*self._codec.headers_for(task)]
        if headers:
            record_headers.extend(encode_headers(headers))
        record_headers.extend(terms)
        if carried := current_headers():
            record_headers.extend(header for header in carried if header[0] not in (headers or ()))
        return TaskRecord(encode_text(task.session_id), value, record_headers)

    def record_of_step(self, step: Step | Group) -> TaskRecord:
        """Return a step as a record that carries what follows from it, or the record by which a group begins.

        Raises:
            EncodeError: a payload cannot be written in this format, or what follows is too large.
            ValueError: a session ID is empty, a term cannot be used, a step that follows has an ID, or the first one
                has its own topic.
        """
        if isinstance(step, Group):
            headers: RecordHeaders = [*group_headers(step, self._codec), *current_headers()]
            return TaskRecord(encode_text(step.id) or None, None, headers)
        if step.topic not in (None, self._topic):
            raise ValueError(f"the first step goes to the dispatcher's topic, {self._topic}, not to {step.topic}")
        task = Outgoing(step.session_id, step.payload, step.name, step.id)
        return self.record_of(task, step.headers, step_headers(step, self._codec))

    def send(self, record: TaskRecord, delivery: Delivery) -> bool:
        """Hands a record to the client. Return False if there was no room; otherwise `delivery` gets the outcome.

        Raises:
            RuntimeError: the client is closed.
        """
        client, topic = self.client, self._topic
        try:
            return client.produce(topic, record.value, record.key, record.headers or None, delivery.on_delivery)
        except ProducerClosed:
            raise RuntimeError("the dispatcher is closed") from None
        except RecordTooLarge as error:
            delivery.fail(error)
        except KafkaException as caught:
            delivery.fail(client.delivery_error(topic, caught.args[0]))
        except ProcessorError as error:
            delivery.fail(DeliveryError(f"{topic}: {error}"))
        return True

    def renew(self) -> None:
        """Replaces the client, in a child process. The new one is opened by the first task."""
        inherited = self.client
        inherited.leave_to_parent()
        if OAUTH_CB in self._config:  # the old one's thread and lock, and a call in progress, belong to the parent
            self._config[OAUTH_CB] = tokens_of(self._kafka_config, log_event)[OAUTH_CB]
        self.client = self._new_client()
        if inherited.is_closed:
            self.client.close(0)

    def _new_client(self) -> PolledProducer:
        return PolledProducer(self._config, log_event, thread="dispatcher", closing="the dispatcher was closed")


def _check_text(noun: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{noun} must be a str, not {type(value).__name__}")


def check_options(topic: str, kafka_config: Mapping[str, Any] | None, max_pending: int) -> None:
    """Checks what can be checked without a registry and a client.

    Raises:
        SettingsError: one of them cannot be used.
    """
    if not topic:
        raise SettingsError("no topic to send to")
    if (fault := topic_fault(topic)) is not None:
        raise SettingsError(f"topic {fault}")
    if max_pending < 1:
        raise SettingsError(f"max_pending must be at least 1, not {max_pending}")
    check_kafka_config(kafka_config or {})


def _codec(
    value_format: ValueFormat, schemas: str | None, schema_registry: str | RegistrySettings | None, topic: str
) -> ValueCodec:
    if schema_registry is None:
        return codec_for(value_format, schemas)
    if not traits_of(value_format).has_schemas:
        raise SettingsError(
            f"a schema registry is for values in {WITH_SCHEMAS}: values in {value_format} have no schema"
        )
    settings = RegistrySettings(url=schema_registry) if isinstance(schema_registry, str) else schema_registry
    with open_registry(settings) as registry:
        return codec_for(value_format, schemas, registry, task_topic=topic)


def log_event(event: Event) -> None:
    """Logs an event through the standard logging, which the application configures: this is a library there."""
    level = logging.WARNING if event.level == "warning" else logging.DEBUG
    text = getattr(event, "message", getattr(event, "error", event))
    if isinstance(event, KafkaProducerFailed):
        text = f"the Kafka client failed, as did the tasks that it had not sent; the next task opens a new one: {text}"
    _log.log(level, "%s", text)
