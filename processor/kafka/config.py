"""Configurations of the Kafka clients, and how a client is opened with one.

A configuration has three layers: this module's defaults, the user's `-X`, and the settings that delivery depends on.
Later layers take precedence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaException

from processor.errors import LoadError, SettingsError
from processor.kafka.errors import ACCESS_DENIED, error_of
from processor.kafka.oauth import OAuthTokens
from processor.kafka.secret_files import with_secrets
from processor.options.connection import OAUTH_CB, SECRET
from processor.runtime.ports import RELEASE_MARGIN_SECONDS
from processor.settings import Settings

Client = TypeVar("Client")
Config = dict[str, Any]

# fmt: off
CONSUMER_ONLY = frozenset((
    "allow.auto.create.topics", "auto.commit.enable", "auto.commit.interval.ms", "auto.offset.reset", "check.crcs",
    "consume.callback.max.messages", "coordinator.query.interval.ms", "enable.auto.commit",
    "enable.auto.offset.store", "enable.partition.eof", "fetch.error.backoff.ms", "fetch.max.bytes",
    "fetch.message.max.bytes", "fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.id",
    "group.instance.id", "group.protocol", "group.protocol.type", "group.remote.assignor", "heartbeat.interval.ms",
    "isolation.level", "max.partition.fetch.bytes", "max.poll.interval.ms", "max.poll.records", "offset.store.method",
    "offset.store.path", "offset.store.sync.interval.ms", "partition.assignment.strategy",
    "queued.max.messages.kbytes", "queued.min.messages", "session.timeout.ms", "share.acknowledgement.mode",
))
"""The settings marked C (consumer) in librdkafka's CONFIGURATION.md. A producer only warns about them."""

MEMBERSHIP = frozenset((
    "group.instance.id", "group.protocol", "group.protocol.type", "group.remote.assignor", "heartbeat.interval.ms",
    "max.poll.interval.ms", "partition.assignment.strategy", "session.timeout.ms",
))
"""The settings in `CONSUMER_ONLY` that concern a member of a group."""

PRODUCER_ONLY = frozenset((
    "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level", "compression.type",
    "delivery.report.only.error", "delivery.timeout.ms", "enable.gapless.guarantee", "enable.idempotence",
    "linger.ms", "message.send.max.retries", "message.timeout.ms", "partitioner", "produce.offset.report",
    "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes", "queue.buffering.max.messages",
    "queue.buffering.max.ms", "queuing.strategy", "request.required.acks", "retries", "sticky.partitioning.linger.ms",
    "transaction.timeout.ms", "transactional.id",
))
# fmt: on
"""The settings marked P (producer) in the same table. A consumer only warns about them."""

# The client's errors name a setting by its old name, whichever name was used.
OLD_NAMES = {
    "compression.codec": "compression.type",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "message.send.max.retries": "retries",
    "message.timeout.ms": "delivery.timeout.ms",
    "queue.buffering.max.ms": "linger.ms",
    "sasl.mechanisms": "sasl.mechanism",
}

PROTOCOLS = frozenset(("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"))
"""Valid schemes before `://` in the address of a broker."""

SESSION_MS = 20_000
"""Default of `session.timeout.ms`: how long the partitions of a consumer that crashed with its fleet are not consumed.
The client's own default is 45 s. A thread of the client sends heartbeats without the interpreter lock, and an expired
session costs only a rebalance, since no task begins without a lease. With a much shorter session, consumers would stop
while a killed broker is replaced, which takes ten seconds or more."""

HEARTBEAT_MS = 500
"""Default of `heartbeat.interval.ms`: the delay until a member learns of a rebalance, which has two rounds. Measured
with two consumers replaced one by one under 300 tasks per second: tasks waited 2.6 s (p99) with the client's own 3 s,
and 0.7 s with 500 ms. 300 ms gained nothing, since the client pauses for a second between two joins."""

CLIENT_SESSION_MS = 45_000
MAX_POLL_INTERVAL_MS = 300_000
"""The client's own defaults for `session.timeout.ms` and `max.poll.interval.ms`."""

LONGEST_POLL_INTERVAL_MS = 86_400_000
"""The longest interval that the client accepts."""

FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location")
"""Settings whose value is a file or a folder."""


def consumer_config(settings: Settings, index: int, fleet: str | None = None) -> Config:
    """The configuration of a consumer.

    With the classic protocol, a consumer of a fleet is a static member. After a crash, its replacement has the same
    `group.instance.id`, and takes over its partitions without a rebalance as soon as it joins. With KIP-848 it is a
    dynamic member, since the coordinator releases the ID only when the session of the crashed member expires.

    The client delivers all partitions through one queue. The queue is therefore short: 8,000 records plus one response,
    all of which are taken at once. Prefetched records wait by partition, in `engine/stock.py`. A response contains at
    most 128 KB of a partition, or one batch if that is larger, so that responses mix partitions, and a pause discards
    few records in transit. No-op tasks were as fast as with the client's own 1 MB and a queue of 100,000 records
    (230,000 and 219,000 per second, medians of four alternating runs).

    The limits of a response are for bytes as they travel; the client holds a response decompressed. The default of
    `fetch.max.bytes` is the smallest that the client accepts; up to 8 partitions, only the limit of each matters. With
    64 partitions of tenfold compressed records, no-op tasks took 128 to 139 MB with it (seven runs), and 167 to 193 MB
    with 2 MB (eighteen runs, in turn). It is as fast only because the next response is requested early: with a queue of
    2,000 records, its median rate was an eighth lower.

    Args:
        settings: the fleet's settings.
        index: the consumer's number in the fleet, from 0.
        fleet: the unique name of the fleet; None for a consumer without one, which is a dynamic member.
    """
    asked = without(settings.kafka_config, PRODUCER_ONLY)
    config: Config = {
        **_shared_defaults(),
        "client.id": f"processor-{index}",
        "allow.auto.create.topics": "false",
        # With the default of one second, the client idles too long after its queue was full.
        "fetch.queue.backoff.ms": "20",
        # Prefetched records wait by partition in `engine/stock.py`, not in the client's single queue.
        "queued.min.messages": "8000",
        "queued.max.messages.kbytes": "8192",
        "max.partition.fetch.bytes": "131072",
        "max.poll.interval.ms": str(_poll_interval_ms(settings.drain_timeout)),
        **asked,
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "error",
    }
    # The client rejects a fetch.max.bytes below message.max.bytes, which the user may have raised.
    if "message.max.bytes" not in asked:
        config.setdefault("fetch.max.bytes", "1000000")
    if settings.group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config.update(_session(asked, _poll_interval_ms(settings.drain_timeout)))
        if fleet is not None:
            config.setdefault("group.instance.id", fleet)
    if "group.instance.id" in config:
        config["group.instance.id"] = f"{config['group.instance.id']}-{index}"
    return config


def _poll_interval_ms(drain_timeout: float) -> int:
    """The default of `max.poll.interval.ms`: the client's own, or longer if running tasks may take longer to finish.

    It limits how long the group waits for a member whose partitions drain.
    """
    needed = (drain_timeout + RELEASE_MARGIN_SECONDS) * 1000
    return int(min(max(needed, MAX_POLL_INTERVAL_MS), LONGEST_POLL_INTERVAL_MS))


def _session(asked: Mapping[str, Any], poll_interval_ms: int) -> Config:
    """The session settings for the classic protocol. With KIP-848 they are settings of the broker."""
    asked = {"session.timeout.ms": str(SESSION_MS), **asked}
    session = str(asked["session.timeout.ms"])
    if not session.isdigit():  # the client rejects it with its own message
        return {"session.timeout.ms": session}
    return {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": asked.get("heartbeat.interval.ms", str(max(1, min(HEARTBEAT_MS, int(session) // 3)))),
        # The client rejects a longer session than this; leave the check of the session to the brokers.
        "max.poll.interval.ms": asked.get("max.poll.interval.ms", str(max(int(session), poll_interval_ms))),
    }


def producer_config(bootstrap_servers: str, kafka_config: Mapping[str, Any]) -> Config:
    """The configuration of a producer: idempotent, and with the Java client's partitioner.

    `murmur2_random` is Java's murmur2 for records with a key, and a random partition for records without one.
    """
    return {
        **_shared_defaults(),
        "client.id": "processor",
        "linger.ms": "5",
        # As in Java: the client's own five minutes hide a failing delivery for too long.
        "delivery.timeout.ms": "120000",
        "topic.metadata.propagation.max.ms": "10000",
        "queue.buffering.max.kbytes": "65536",
        # The topic limits the size of a record, not the client, whose own limit is 1 MB. A dead letter is larger than
        # its record, which its topic has accepted.
        "message.max.bytes": "64000000",
        **without(kafka_config, CONSUMER_ONLY),
        "bootstrap.servers": bootstrap_servers,
        "partitioner": "murmur2_random",
        "enable.idempotence": "true",
        "acks": "all",
        "delivery.report.only.error": False,
    }


ALONE = {
    "batch.num.messages": "1",
    "linger.ms": "0",
    # The client's maximum: only the size after compression matters.
    "message.max.bytes": "1000000000",
    "queue.buffering.max.kbytes": "1048576",
}
"""The settings of a producer that sends each record in its own batch."""

DENSER = (
    {"compression.type": "gzip", "compression.level": "9"},
    {"compression.type": "zstd", "compression.level": "12"},
)
"""The compressions with which an output is sent again if its topic rejects it as too large, tried in turn.

gzip comes first, since every client in every language reads it, while some read zstd only with an extension. To
compress all outputs from the start would take 70 microseconds of CPU time per result of 1 KB with gzip, and would
exclude these readers with zstd. The levels are the client's highest: such records are rare, and the task's producer may
have used the same level.
"""


def sink_configs(bootstrap_servers: str, kafka_config: Mapping[str, Any]) -> list[Config]:
    """The configurations of a sink's producers: one for all records, and further ones for records that were too large.

    If `kafka_config` sets a compression, all of them use it.
    """
    first = producer_config(bootstrap_servers, kafka_config)
    alone = {**first, **without(ALONE, frozenset(kafka_config))}
    chosen = {"compression.type", "compression.codec"} & kafka_config.keys()
    return [first, *([alone] if chosen else [{**alone, **denser} for denser in DENSER])]


def admin_config(bootstrap_servers: str, kafka_config: Mapping[str, Any]) -> Config:
    """The configuration of an admin client. A request for a topic's metadata does not create the topic."""
    return {
        **_shared_defaults(),
        "client.id": "processor-admin",
        **without(kafka_config, CONSUMER_ONLY | PRODUCER_ONLY),
        "bootstrap.servers": bootstrap_servers,
        "allow.auto.create.topics": "false",
    }


def reader_config(bootstrap_servers: str, kafka_config: Mapping[str, Any]) -> Config:
    """The configuration of a consumer that joins no group: it reads records and commits nothing.

    It leaves out the settings of a membership. The client checks them against each other, and against defaults that
    apply to the classic protocol only.
    """
    return {
        **_shared_defaults(),
        "client.id": "processor-lookup",
        **without(kafka_config, PRODUCER_ONLY | MEMBERSHIP),
        "bootstrap.servers": bootstrap_servers,
        "allow.auto.create.topics": "false",
        # The client requires a group ID even if it joins no group.
        "group.id": "processor-lookup",
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "error",
    }


def without(config: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """`config` without the settings in `names`."""
    return {key: value for key, value in config.items() if key not in names}


def _shared_defaults() -> Config:
    return {
        # A broker closes idle connections in normal operation, which is not worth a log line.
        "log.connection.close": "false",
        "socket.keepalive.enable": "true",
        # The delay until new partitions of a topic are discovered.
        "topic.metadata.refresh.interval.ms": "10000",
    }


def open_client(kind: Callable[[Config], Client], config: Config) -> Client:
    """Opens a client.

    Raises:
        SettingsError: a setting is unknown or has an invalid value. The message contains no secret.
        LoadError: a file cannot be read.
        BrokerError: there is no token to authenticate with.
    """
    config = with_secrets(config)
    servers = str(config["bootstrap.servers"])
    _check_servers(servers)
    if isinstance(tokens := config.get(OAUTH_CB), OAuthTokens):
        tokens.demand(config.get("sasl.oauthbearer.config"))
    try:
        return kind(config)
    except KafkaException as caught:
        _check_files(config)
        if caught.args[0].code() in ACCESS_DENIED:
            raise error_of(caught.args[0], servers) from None
        raise SettingsError(f"Kafka setting: {_message(caught, config)}") from None
    except (TypeError, ValueError) as caught:
        raise SettingsError(f"Kafka setting: {_without_secrets(str(caught), config)}") from None


def _check_servers(servers: str) -> None:
    """Checks the addresses. The client ignores invalid ones, and would wait for a broker without an address."""
    if not servers.strip(" ,"):
        raise SettingsError("--bootstrap-servers must not be empty")
    for server in servers.split(","):
        scheme, is_url, _ = server.strip().partition("://")
        if is_url and scheme.lower() not in PROTOCOLS:
            raise SettingsError(f"--bootstrap-servers requires HOST:PORT; {scheme}:// is not a protocol of Kafka")


def _check_files(config: Config) -> None:
    """Checks that files can be read. The client reports OpenSSL's error only, without the file."""
    for key in FILES:
        try:
            if key in config and not Path(config[key]).is_dir():
                Path(config[key]).open("rb").close()
        except OSError as error:
            text = f"-X {key}: {config[key]!r} cannot be read: {error.strerror}"
            raise LoadError(_without_secrets(text, config)) from None


def _message(caught: KafkaException, config: Config) -> str:
    text = " ".join(caught.args[0].str().split())
    text = re.sub(r"^Failed to create \w+: ", "", text)
    for old, name in OLD_NAMES.items():
        if name in config and old not in config:
            text = text.replace(old, name)
    return _without_secrets(text, config)


def _without_secrets(text: str, config: Config) -> str:
    for key, value in config.items():
        if SECRET.search(key) and value:
            text = text.replace(str(value), "***")
    return text


def client_versions() -> tuple[str, str]:
    """The versions of the Python client and of librdkafka."""
    return str(confluent_kafka.__version__), confluent_kafka.libversion()[0]
