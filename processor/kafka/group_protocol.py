"""Checks whether a cluster supports the group protocol of KIP-848, before a consumer joins with it.

The client does not report a cluster without it: it searches for another coordinator without end and without a log line.
No request of the Python client returns the API versions that a broker supports. Its debug log of the handshake does.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processor.errors import LoadError
from processor.kafka.config import Config, open_client

CONSUMER_GROUP_HEARTBEAT: Final = 68
"""The request's API key, see `ConsumerGroupHeartbeatRequest.json` of Kafka."""

FIRST_VERSION: Final = 1
"""The request's version in Kafka 4.0, where KIP-848 became final. Version 0 is the early access of 3.7 to 3.9."""

ANSWER_SECONDS: Final = 5.0
"""Time limit for a response of the cluster. Without one, the consumer joins all the same."""

_VERSIONS = re.compile(r"\((\d+)\) Versions \d+\.\.(\d+)")


def check_consumer_protocol(config: Config) -> None:
    """Checks that the brokers support KIP-848. Passes if none responds.

    Args:
        config: from `admin_config`.

    Raises:
        LoadError: they do not.
    """
    newest = newest_versions(config)
    if newest and newest.get(CONSUMER_GROUP_HEARTBEAT, -1) < FIRST_VERSION:
        raise LoadError(unsupported(str(config["bootstrap.servers"])))


def unsupported(servers: str) -> str:
    """The error message for a cluster without KIP-848."""
    return (
        f"the cluster at {servers} does not support --group-protocol consumer (KIP-848), which requires Kafka 4.0 or "
        "later and the feature group.version: use --group-protocol classic"
    )


def newest_versions(config: Config) -> dict[int, int]:
    """The newest version of each request that the broker supports, by API key; empty without a response."""
    handshake = _Handshake()
    logger = logging.Logger("kafka-handshake")  # noqa: LOG001  (not shared: the lines of other clients do not belong here)
    logger.addHandler(handshake)
    client = open_client(AdminClient, {**config, "debug": "feature", "logger": logger})
    try:
        client.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException:
        return {}
    client.poll(0)  # delivers the log lines
    return handshake.newest


class _Handshake(logging.Handler):
    """Collects the versions from the lines of the client's debug log."""

    def __init__(self) -> None:
        super().__init__()
        self.newest: dict[int, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if (found := _VERSIONS.search(record.getMessage())) is not None:
            self.newest[int(found[1])] = int(found[2])
