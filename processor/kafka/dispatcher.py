"""`Dispatcher`, which sends tasks to a topic from Python."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from processor.codec.messages import Outgoing
from processor.handlers.steps import NO_PAYLOAD, Group, Step, check_alone
from processor.handlers.terms import Time, headers_for_terms
from processor.kafka.delivery_future import DeliveryFuture
from processor.kafka.task_producer import CLOSE_SECONDS, ROOM_SECONDS, TaskProducer
from processor.options.value_formats import ValueFormat
from processor.registry_settings import RegistrySettings


class Dispatcher:
    """Sends tasks. The tasks of a session go to one partition, in the order of the `submit` calls.

    The producer is idempotent and partitions like the Java client (murmur2 of the session ID). So the tasks of a
    session are in one partition, in whatever language they are sent. Any thread may call it. A process that was forked
    may use it as well: the first task that it sends opens its own client.

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
        """Open the producer. It connects to the brokers with the first task.

        Args:
            bootstrap_servers: HOST:PORT, or several separated by commas.
            topic: the topic of the tasks.
            value_format: encoding of record values.
            schemas: a folder of .avsc files, in addition to the shipped ones.
            schema_registry: the URL of a registry, or a `RegistrySettings` with credentials and with the naming and the
                registration of schemas; for Avro only. It is called once, here.
            kafka_config: settings of the Kafka client, as with `-X`. With `sasl.mechanism=OAUTHBEARER` they may include
                `oauth_cb`, a function that returns (token, expiry in seconds since the epoch).
            max_pending: number of unacknowledged tasks at which `submit` waits. It also waits at 64 MB of them, a limit
                that `queue.buffering.max.kbytes` in `kafka_config` changes.

        Raises:
            SettingsError: an argument or a Kafka setting is not valid.
            LoadError: a schema cannot be loaded, or the registry rejects it.
            RegistryError: the registry does not respond, or denies access.
            BrokerError: `oauth_cb` returns no token.
        """
        self.topic = topic
        self._tasks = TaskProducer(
            bootstrap_servers,
            topic,
            value_format=value_format,
            schemas=schemas,
            schema_registry=schema_registry,
            kafka_config=kafka_config,
            max_pending=max_pending,
        )

    def submit(  # noqa: PLR0913 — each but the first three is given by its name
        self,
        session_id: str | Step | Group,
        payload: Any = NO_PAYLOAD,
        name: str = "",
        *,
        id: str | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
        priority: int = 0,
        not_before: Time | None = None,
        delay: float | None = None,
        expires: Time | None = None,
        expires_in: float | None = None,
    ) -> DeliveryFuture:
        """Send a task. The call blocks only while `max_pending` tasks are unacknowledged.

        The result of the future is the topic, partition and offset of the record (`RecordMetadata`); its error is a
        `DeliveryError`.

        Args:
            session_id: the session; its UTF-8 encoding is the key of the record. Or a `Step` or a group, alone,
                with the steps that follow.
            payload: the payload that the handler receives.
            name: the name of the handler.
            id: the ID of the task; TOPIC-PARTITION-OFFSET if there is none.
            headers: additional headers of the record.
            priority: 0 to 9; sessions with more urgent tasks run first.
            not_before: the task does not begin before this time: epoch milliseconds, ISO 8601 or a `datetime`, the
                latter two with a time zone.
            delay: the same, in seconds from now.
            expires: the task does not begin after this time, and then becomes a dead letter.
            expires_in: the same, in seconds from now.

        Raises:
            EncodeError: a payload cannot be encoded in this format, a text cannot be encoded in UTF-8, or the steps
                that follow are too large.
            ValueError: the session ID is empty, or one of the terms from `priority` on is invalid.
            TypeError: a step was given together with other arguments.
            RuntimeError: the dispatcher is closed.
        """
        if isinstance(session_id, Step | Group):
            check_alone(payload, name, id, headers, priority, not_before, delay, expires, expires_in)
            record = self._tasks.record_of_step(session_id)
        elif payload is NO_PAYLOAD:
            raise TypeError("submit needs a payload")
        else:
            terms = headers_for_terms(priority, not_before, delay, expires, expires_in)
            record = self._tasks.record_of(Outgoing(session_id, payload, name, id), headers, terms)
        client = self._tasks.client
        sent = DeliveryFuture(client)
        while not self._tasks.send(record, sent):
            client.poll(ROOM_SECONDS)
        return sent

    def flush(self, seconds: float = CLOSE_SECONDS) -> int:
        """Wait at most `seconds` until every task is acknowledged or has failed. Return how many are neither."""
        return self._tasks.client.flush(seconds)

    def pending(self) -> int:
        """Return the number of tasks that are neither acknowledged nor failed, or are in a callback of their future."""
        return len(self._tasks.client)

    def close(self, seconds: float = CLOSE_SECONDS) -> int:
        """Flush and close. Return the number of tasks that were not acknowledged within `seconds`; their futures fail.

        A second call does nothing.
        """
        return self._tasks.client.close(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
