"""A broker inside this process, for the demo and for quick tests: never for a claim about Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Producer

from processor.errors import BrokerError
from processor.kafka.client_log import client_hooks
from processor.telemetry.events import Emit, Event

PARTITIONS = 4
"""What every topic of an embedded broker has; the client library offers no way to ask for another number."""

START_SECONDS = 10.0


class EmbeddedBroker:
    """The mock cluster that the Kafka client carries for its own tests: one broker on loopback.

    It serves produce, fetch, commits and groups of both protocols, to other processes too. It has no
    admin requests and no usable transactions, keeps at most about 5 MB a partition, lets a classic
    join wait three seconds, and forgets everything when it is closed.

    ```python
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"])
        Dispatcher(broker.bootstrap_servers, "tasks")
    ```
    """

    def __init__(self, emit: Emit | None = None) -> None:
        """`emit` hears what the broker's client has to say."""
        self._emit = emit or _say_nothing
        self._client: Producer | None = None
        self._servers = ""

    @property
    def bootstrap_servers(self) -> str:
        """Where it listens, as HOST:PORT; "" before `open`."""
        return self._servers

    def open(self) -> None:
        """Starts it.

        Raises:
            BrokerError: it does not come up within ten seconds.
        """
        self._client = Producer(
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, **client_hooks(self._emit)}
        )
        try:
            brokers = self._client.list_topics(timeout=START_SECONDS).brokers.values()
        except KafkaException as caught:
            raise BrokerError(f"the embedded broker does not start: {caught.args[0].str()}") from None
        self._servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def create_topics(self, topics: Iterable[str]) -> dict[str, int]:
        """Makes topics by asking for them, and returns how many partitions each has.

        Raises:
            BrokerError: it is not open, or does not answer within ten seconds.
        """
        if self._client is None:
            raise BrokerError("the embedded broker is not open")
        return {topic: self._created(self._client, topic) for topic in topics}

    def _created(self, client: Producer, topic: str) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            metadata = client.list_topics(topic, timeout=START_SECONDS).topics[topic]
            if metadata.error is None:
                return len(metadata.partitions)
            if metadata.error.code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE):
                break
            time.sleep(0.01)
        raise BrokerError(f"the embedded broker does not make topic {topic}")

    def close(self) -> None:
        """Stops it; its records are gone."""
        client, self._client, self._servers = self._client, None, ""
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _say_nothing(event: Event) -> None:
    """For those who do not want to hear of connections that come and go."""
