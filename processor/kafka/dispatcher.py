"""`Dispatcher`, which sends tasks to a topic from Python."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from processor.codec.messages import Outgoing
from processor.handlers.terms import Time, headers_for_terms
from processor.kafka.delivery_future import DeliveryFuture
from processor.kafka.task_producer import CLOSE_SECONDS, ROOM_SECONDS, TaskProducer
from processor.options.values import ValueFormat
from processor.registry_settings import RegistrySettings


class Dispatcher:
    """Sends tasks, each session's to one partition and in the order of its `submit` calls.

    The producer is idempotent and partitions as the Java client does (murmur2 of the session ID), so
    that a session's tasks meet whichever client sends them. Any thread may call it. A child process that inherits one
    by a fork may use it too: it has a client of its own there, which the first task opens.

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
        session_id: str,
        payload: Any,
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
        """Hands a task over, and waits only while too many are pending.

        The future ends with where the record was written (`RecordMetadata`), or with a `DeliveryError`.

        Args:
            session_id: whose task it is; the record's key in UTF-8.
            payload: what the handler gets.
            name: which handler takes it.
            id: names the task; without one its reader calls it TOPIC-PARTITION-OFFSET.
            headers: the record's headers.
            priority: 0 to 9; sessions with more urgent tasks run first.
            not_before: it does not begin before this time: epoch milliseconds, ISO 8601 or a `datetime`, both with a
                time zone.
            delay: the same, in seconds from now.
            expires: it does not begin after this time; then it becomes a dead letter.
            expires_in: the same, in seconds from now.

        Raises:
            EncodeError: the payload cannot be written in this format, or a text has no UTF-8.
            ValueError: the session ID is empty, or one of the terms from `priority` on cannot be used.
            RuntimeError: the dispatcher is closed.
        """
        terms = headers_for_terms(priority, not_before, delay, expires, expires_in)
        record = self._tasks.record_of(Outgoing(session_id, payload, name, id), headers, terms)
        client = self._tasks.client
        sent = DeliveryFuture(client)
        while not self._tasks.send(record, sent):
            client.poll(ROOM_SECONDS)
        return sent

    def flush(self, seconds: float = CLOSE_SECONDS) -> int:
        """Waits at most `seconds` until each task is acknowledged or has failed, and returns how many are neither."""
        return self._tasks.client.flush(seconds)

    def pending(self) -> int:
        """How many tasks are submitted and neither acknowledged nor failed, or are in a callback of their future."""
        return len(self._tasks.client)

    def close(self, seconds: float = CLOSE_SECONDS) -> int:
        """Flushes and closes, and returns how many tasks were not acknowledged within `seconds`: their futures fail.

        Safe to call again.
        """
        return self._tasks.client.close(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
