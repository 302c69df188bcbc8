"""What each Kafka client is configured with, and what its complaints mean.

The layers, later wins: this module's defaults, the user's `-X`, what delivery rests on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from processor.errors import BrokerError, LoadError, ProcessorError, SettingsError
from processor.kafka.secret_files import with_secrets
from processor.options.connection import SECRET
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
"""The C rows of librdkafka's CONFIGURATION.md: a producer warns about them and goes on."""

PRODUCER_ONLY = frozenset((
    "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level", "compression.type",
    "delivery.report.only.error", "delivery.timeout.ms", "enable.gapless.guarantee", "enable.idempotence",
    "linger.ms", "message.send.max.retries", "message.timeout.ms", "partitioner", "produce.offset.report",
    "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes", "queue.buffering.max.messages",
    "queue.buffering.max.ms", "queuing.strategy", "request.required.acks", "retries", "sticky.partitioning.linger.ms",
    "transaction.timeout.ms", "transactional.id",
))
# fmt: on
"""The P rows of the same table: a consumer warns about them and goes on."""

# The client complains about a setting by its old name, whichever name it was given.
OLD_NAMES = {
    "compression.codec": "compression.type",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "message.send.max.retries": "retries",
    "message.timeout.ms": "delivery.timeout.ms",
    "queue.buffering.max.ms": "linger.ms",
    "sasl.mechanisms": "sasl.mechanism",
}

PROTOCOLS = frozenset(("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"))
"""What may stand before `://` in the address of a broker."""

SESSION_MS = 20_000
"""Default for `session.timeout.ms`: for how long the partitions of a consumer that died with its fleet are not served.
The client's own default is 45 s. Heartbeats come from a thread of the client that needs no interpreter lock, and a
false alarm costs a rebalance, as no task is begun without a lease. Much less would stop consumers while a broker that
was killed is replaced, which takes ten seconds and more."""

HEARTBEAT_MS = 500
"""Default for `heartbeat.interval.ms`: how late a member learns of a rebalance, which has two rounds. Two consumers
were replaced one by one under 300 tasks a second: with the client's own 3 s tasks waited 2.6 s (p99), with 500 ms 0.7.
With 300 ms they waited as long, since the client pauses for a second between two joins."""

CLIENT_SESSION_MS = 45_000
MAX_POLL_INTERVAL_MS = 300_000
"""The client's own defaults for `session.timeout.ms` and `max.poll.interval.ms`."""

FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location")
"""Settings that name a file, or a folder."""

NOT_ALLOWED = frozenset(
    (
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.SECURITY_DISABLED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_EXPIRED,
    )
)
NO_ANSWER = frozenset(
    (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._UNKNOWN_BROKER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
    )
)
NO_TOPIC = frozenset(
    (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    )
)


def consumer_config(settings: Settings, index: int, fleet: str | None = None) -> Config:
    """A consumer's configuration; `index` is its number in the fleet, from 0.

    A consumer of a fleet is a static member with the classic protocol: the one that replaces it after its death has the
    same `group.instance.id`, and its partitions, as soon as it joins, without a rebalance. With KIP-848 it is not: a
    coordinator gives the id free only when the dead member's session ends.

    About what is fetched ahead: the client hands all partitions out through one queue. So it is short here, 2,000
    records and what one response brings, and everything in it is taken at once; what waits, waits by partition in
    `engine/stock.py`. A partition has at most 128 KB of a response, or one batch if that is larger: so a pause, which
    drops what is on its way, drops little, and responses mix the partitions. No-op tasks were as fast with it as with
    the client's own 1 MB and a queue of 100,000 (230,000 and 219,000 a second, medians of four in turn).
    """
    asked = without(settings.kafka_config, PRODUCER_ONLY)
    config: Config = {
        **_shared_defaults(),
        "client.id": f"processor-{index}",
        "allow.auto.create.topics": "false",
        # At the default, a second, the client stands still for long once its queue has been full.
        "fetch.queue.backoff.ms": "20",
        # What is fetched ahead waits by partition, in `engine/stock.py`: in the client it would wait in one queue.
        "queued.min.messages": "2000",
        "queued.max.messages.kbytes": "8192",
        "max.partition.fetch.bytes": "131072",
        **asked,
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "error",
    }
    # The client refuses a fetch.max.bytes below a message.max.bytes that was raised.
    if "message.max.bytes" not in asked:
        config.setdefault("fetch.max.bytes", "4194304")
    if settings.group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config.update(_session(asked))
        if fleet is not None:
            config.setdefault("group.instance.id", fleet)
    if "group.instance.id" in config:
        config["group.instance.id"] = f"{config['group.instance.id']}-{index}"
    return config


def _session(asked: Mapping[str, str]) -> Config:
    """The settings of a session with the classic protocol. With KIP-848 they are the broker's."""
    asked = {"session.timeout.ms": str(SESSION_MS), **asked}
    session = asked["session.timeout.ms"]
    if not session.isdigit():  # the client refuses it, in its own words
        return {"session.timeout.ms": session}
    return {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": asked.get("heartbeat.interval.ms", str(max(1, min(HEARTBEAT_MS, int(session) // 3)))),
        # The client refuses a session that is longer than it; the brokers are to judge the session.
        "max.poll.interval.ms": asked.get("max.poll.interval.ms", str(max(int(session), MAX_POLL_INTERVAL_MS))),
    }


def producer_config(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> Config:
    """A producer's configuration: idempotent, and with the Java client's partitioner.

    `murmur2_random` is Java's murmur2 for every key, and a random partition for a record without one.
    """
    return {
        **_shared_defaults(),
        "client.id": "processor",
        "linger.ms": "5",
        # As Java's: the client's own five minutes keep a broken delivery secret for too long.
        "delivery.timeout.ms": "120000",
        "topic.metadata.propagation.max.ms": "10000",
        "queue.buffering.max.kbytes": "65536",
        # How large a record may be is for its topic to say, not for the client, whose own limit is a million bytes:
        # a dead letter is larger than its record, which the topic that it came from has taken.
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
    # As large as the client allows: what counts is the size after compression.
    "message.max.bytes": "1000000000",
    "queue.buffering.max.kbytes": "1048576",
}
DENSER = (
    {"compression.type": "gzip", "compression.level": "9"},
    {"compression.type": "zstd", "compression.level": "12"},
)
"""How an output is sent again that its topic refused as too large; each where the one before was not enough.

gzip comes first: every client in every language reads it, while zstd is an extension of some. To compress all outputs
from the start would cost 70 microseconds of CPU a result of 1 KB with gzip (measured in one sitting), and those readers
with zstd. The levels are the highest that the client takes: such a record is rare, and its task's producer may have
compressed as hard.
"""


def sink_configs(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> list[Config]:
    """The configurations of a sink's producers: the first for all records, each next one for those that were too large.

    Where `kafka_config` chooses a compression, it is that of all.
    """
    first = producer_config(bootstrap_servers, kafka_config)
    alone = {**first, **without(ALONE, frozenset(kafka_config))}
    chosen = {"compression.type", "compression.codec"} & kafka_config.keys()
    return [first, *([alone] if chosen else [{**alone, **denser} for denser in DENSER])]


def admin_config(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> Config:
    """The configuration of a client that only asks; asking for a topic does not create it."""
    return {
        **_shared_defaults(),
        "client.id": "processor-admin",
        **without(kafka_config, CONSUMER_ONLY | PRODUCER_ONLY),
        "bootstrap.servers": bootstrap_servers,
        "allow.auto.create.topics": "false",
    }


def lookup_config(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> Config:
    """The configuration of a consumer that is no group's member: it looks at records and leaves no trace."""
    return {
        **_shared_defaults(),
        "client.id": "processor-lookup",
        **without(kafka_config, PRODUCER_ONLY),
        "bootstrap.servers": bootstrap_servers,
        "allow.auto.create.topics": "false",
        # The client wants a group's name even of one that joins none.
        "group.id": "processor-lookup",
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "error",
    }


def without(config: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """`config` without the settings that are called `names`."""
    return {key: value for key, value in config.items() if key not in names}


def _shared_defaults() -> Config:
    return {
        # A broker closes idle connections as a matter of course: that is no news.
        "log.connection.close": "false",
        "socket.keepalive.enable": "true",
        # How long new partitions of a topic, and the sessions on them, stay unseen.
        "topic.metadata.refresh.interval.ms": "10000",
    }


def open_client(kind: Callable[[Config], Client], config: Config) -> Client:
    """A client of that kind.

    Raises:
        SettingsError: a setting is unknown or has a value that cannot be used; no secret is repeated.
        LoadError: a file cannot be read.
    """
    config = with_secrets(config)
    _check_servers(str(config["bootstrap.servers"]))
    try:
        return kind(config)
    except KafkaException as caught:
        _check_files(config)
        raise SettingsError(f"Kafka setting: {_complaint(caught, config)}") from None
    except (TypeError, ValueError) as caught:
        raise SettingsError(f"Kafka setting: {_without_secrets(str(caught), config)}") from None


def _check_servers(servers: str) -> None:
    """The client leaves out what it does not understand, and then waits for a broker that nobody named."""
    if not servers.strip(" ,"):
        raise SettingsError("--bootstrap-servers must not be empty")
    for server in servers.split(","):
        scheme, is_url, _ = server.strip().partition("://")
        if is_url and scheme.lower() not in PROTOCOLS:
            raise SettingsError(f"--bootstrap-servers takes HOST:PORT, and {scheme}:// is none of Kafka's protocols")


def _check_files(config: Config) -> None:
    """The client does not tell which file it was, or that it is not there, but what OpenSSL made of it."""
    for key in FILES:
        try:
            if key in config and not Path(config[key]).is_dir():
                Path(config[key]).open("rb").close()
        except OSError as error:
            text = f"-X {key}: {config[key]!r} cannot be read: {error.strerror}"
            raise LoadError(_without_secrets(text, config)) from None


def _complaint(caught: KafkaException, config: Config) -> str:
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


def error_of(error: KafkaError, servers: str = "", *, about: str = "") -> ProcessorError:
    """What a client's error means here: not let in, no answer, no such topic, or anything else.

    Args:
        error: the client's error.
        servers: the bootstrap servers, to be named where nothing answers.
        about: what was asked for, such as a topic's name.
    """
    code, text = error.code(), reason_of(error)
    subject = f" ({about})" if about else ""
    if code == KafkaError._SSL:
        return BrokerError(f"no TLS connection with the broker{_at(servers)}{subject}: {_of_tls(text)}")
    if code in NOT_ALLOWED:
        return BrokerError(f"not allowed by the broker{_at(servers)}{subject}: {text}")
    if code in NO_ANSWER:
        return BrokerError(f"no broker answers{_at(servers)}{subject}: {text}")
    if code in NO_TOPIC:
        return LoadError(f"topic {about} cannot be used: {text}" if about else f"no such topic: {text}")
    return ProcessorError(f"Kafka{_at(servers)}{subject}: {text}")


def _of_tls(text: str) -> str:
    """The client says the same of a certificate by a stranger and of one for another host."""
    if "certificate verify failed" not in text:
        return text
    return (
        "its certificate cannot be trusted: it is by another authority than those in -X ssl.ca.location, "
        "or for another host name, or out of date"
    )


def _at(servers: str) -> str:
    return f" at {servers}" if servers else ""


def reason_of(error: KafkaError) -> str:
    """The client's own words, without where in the client they come from."""
    text = " ".join(error.str().split())
    text = re.sub(r"^\S+/\w+: |^(Commit failed: )?(Broker|Local): ", "", text)
    return re.sub(r" \(after \d+ms in state \w+[^)]*\)", "", text)


def client_versions() -> tuple[str, str]:
    """The versions of the Python client and of the C library below it."""
    return str(confluent_kafka.__version__), confluent_kafka.libversion()[0]
