"""`EmbeddedBroker`: a broker inside this process, for the demo, development and quick tests.

It is not Kafka: tests of behavior with Kafka must use a real broker.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import KafkaError, cimpl

from processor.errors import BrokerError

PARTITIONS: Final = 4
"""Partitions of a topic that is created without a number: librdkafka's default for its mock cluster."""

HEARTBEAT_MS: Final = 500
"""Heartbeat interval of KIP-848 groups: a partition moves within two heartbeats. The default is 5000 on brokers, and
3000 on the mock cluster."""

SESSION_MS: Final = 10_000
"""Session timeout of KIP-848 groups; the default on brokers is 45000."""

_PRODUCER: Final = 0
"""`RD_KAFKA_PRODUCER` of `rd_kafka_type_t`."""

_ERROR_BYTES: Final = 512


class EmbeddedBroker:
    """The mock cluster that librdkafka contains for its own tests: one broker on loopback, at a free port.

    It supports produce, fetch, commits and groups of both protocols, for other processes too. It keeps the last 5 MB of
    each partition in memory, and answers no admin request except metadata.

    A classic group rebalances slowly here. It waits 3 seconds for its first members. Each later join or leave takes its
    session timeout less one second, and twice as long if a partition moves: 88 seconds with the client's default of 45.
    A KIP-848 group (`group_protocol="consumer"`) rebalances within about a second.

    ```python
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"])
        Dispatcher(broker.bootstrap_servers, "tasks")
    ```
    """

    def __init__(self) -> None:
        self._library = _Library()
        self._client: int | None = None
        self._cluster: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address as HOST:PORT; "" while it is closed."""
        if self._cluster is None:
            return ""
        servers: bytes = self._library.bootstraps(self._cluster)
        return servers.decode()

    def open(self) -> None:
        """Starts the broker.

        Raises:
            BrokerError: no port can be opened, or this build of the Kafka client has no embedded broker.
        """
        self._client = self._new_client()
        self._cluster = self._library.new_cluster(self._client, 1)
        if self._cluster is None:
            self.close()
            raise BrokerError("the embedded broker cannot start: it cannot listen on 127.0.0.1")
        self._library.set_heartbeat(self._cluster, HEARTBEAT_MS)
        self._library.set_session(self._cluster, SESSION_MS)

    def create_topics(self, topics: Iterable[str], partitions: int = PARTITIONS) -> None:
        """Creates topics with this number of partitions each.

        Raises:
            BrokerError: the broker is not open, a topic exists already, or `partitions` is below 1.
        """
        if self._cluster is None:
            raise BrokerError("the embedded broker is not open")
        if partitions < 1:  # librdkafka itself would create a topic without partitions, or abort the process
            raise BrokerError(f"the number of partitions must be at least 1, not {partitions}")
        for topic in topics:
            code = self._library.create_topic(self._cluster, topic.encode(), partitions, 1)
            if code:
                raise BrokerError(f"the embedded broker cannot create topic {topic}: {KafkaError(code).str()}")

    def close(self) -> None:
        """Stops the broker and discards its records."""
        cluster, client, self._cluster, self._client = self._cluster, self._client, None, None
        if cluster is not None:
            self._library.destroy_cluster(cluster)
        if client is not None:
            self._library.destroy_client(client)

    def _new_client(self) -> int:
        """Opens the client that owns the mock cluster, without its log on stderr."""
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        config = self._library.new_config()
        self._library.set_config(config, b"log_level", b"0", error, _ERROR_BYTES)
        client: int | None = self._library.new_client(_PRODUCER, config, error, _ERROR_BYTES)
        if client is None:
            raise BrokerError(f"the embedded broker cannot start: {error.value.decode(errors='replace')}")
        return client

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Library:
    """The required functions of librdkafka's `rdkafka.h` and `rdkafka_mock.h`.

    The Python client offers the mock cluster as a setting only (`test.mock.num.brokers`), which controls neither the
    partitions of topics nor the timing of groups. The functions are loaded from the client's own extension module, so
    that no second copy of the library is loaded.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(cimpl.__file__)

        def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
            return ctypes.CFUNCTYPE(result, *arguments)((name, library))

        handle, text, size, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
        mock = "rd_kafka_mock"
        try:
            self.new_config = function("rd_kafka_conf_new", handle)
            self.set_config = function("rd_kafka_conf_set", number, handle, text, text, text, size)
            self.new_client = function("rd_kafka_new", handle, number, handle, text, size)
            self.destroy_client = function("rd_kafka_destroy", None, handle)
            self.new_cluster = function(f"{mock}_cluster_new", handle, handle, number)
            self.destroy_cluster = function(f"{mock}_cluster_destroy", None, handle)
            self.bootstraps = function(f"{mock}_cluster_bootstraps", text, handle)
            self.create_topic = function(f"{mock}_topic_create", number, handle, text, number, number)
            self.set_heartbeat = function(f"{mock}_set_group_consumer_heartbeat_interval_ms", None, handle, number)
            self.set_session = function(f"{mock}_set_group_consumer_session_timeout_ms", None, handle, number)
        except AttributeError as missing:
            raise BrokerError(f"this build of the Kafka client has no embedded broker ({missing})") from None
