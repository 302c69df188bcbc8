"""How a command connects to Kafka: the brokers, and settings that are passed to the Kafka client unchanged."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from processor.errors import SettingsError
from processor.options.names import LONGEST_TEXT, servers_fault
from processor.options.option import Option, Panel
from processor.options.option_set import OptionSet

REFUSED_KAFKA_CONFIG: Final[Mapping[str, str]] = {
    "enable.auto.commit": "offsets are committed only when everything before them is done",
    "auto.commit.interval.ms": "the client must not commit by itself; use --commit-interval",
    "auto.commit.enable": "offsets are committed only when everything before them is done",
    "enable.auto.offset.store": "the client must not store offsets by itself: it would commit unfinished tasks",
    "offset.store.method": "offsets are kept by the broker, with the group",
    "enable.partition.eof": "the consumer uses it to commit past offsets that are never delivered",
    "partition.assignment.strategy": "sessions are handed over cooperatively; use --group-protocol",
    "group.protocol": "use --group-protocol",
    "group.id": "use --group",
    "bootstrap.servers": "use --bootstrap-servers",
    "metadata.broker.list": "use --bootstrap-servers",
    "partitioner": "it is always murmur2, so that clients in every language choose the same partition for a session",
    "enable.idempotence": "a retried send must neither repeat nor reorder a session's records",
    "acks": "a record counts as sent when all in-sync replicas have it",
    "request.required.acks": "a record counts as sent when all in-sync replicas have it",
    "consume.callback.max.messages": "the consumer polls; it has no consume callback",
    "delivery.report.only.error": "a task is settled when the broker has acknowledged its dead letter or result",
    "transactional.id": "each consumer has its own transactional ID; use --delivery exactly-once",
    "enable.gapless.guarantee": "one record too large would stop every dead letter after it",
}
"""Kafka settings that would break delivery, each with the reason that its refusal gives."""

SECRET: Final = re.compile(r"password|secret|token|\.key\.pem$|oauthbearer\.config$")
"""The names of Kafka settings whose values are never shown."""

NAMES: Final = frozenset({"client.id", "client.rack", "group.instance.id"})
"""Settings that are sent to brokers as strings."""

LONGEST_NAME: Final = LONGEST_TEXT - 100
"""Maximum size of these settings in bytes. A consumer appends its number in the fleet to some of them."""

CALLBACK_SUFFIXES: Final = ("_cb", ".cb")

OAUTH_CB: Final = "oauth_cb"
"""The one callback that an application may give to the Kafka client, as a Python function: it returns tokens."""


def check_kafka_config(config: Mapping[str, Any], place: str = "") -> None:
    """Refuse settings that would break delivery.

    Args:
        config: settings of the Kafka client: texts, numbers, truth values, and optionally a function `OAUTH_CB`.
        place: where the settings were found; it follows the key in an error.

    Raises:
        SettingsError: a setting is refused; the message has its key and the reason.
    """
    for key in config:
        if key in REFUSED_KAFKA_CONFIG:
            raise SettingsError(f"-X {key}{place} is refused: {REFUSED_KAFKA_CONFIG[key]}")
        if key == OAUTH_CB:
            _check_oauth_callback(f"-X {key}{place}", config)
        elif key.endswith(CALLBACK_SUFFIXES):
            raise SettingsError(f"-X {key}{place} is refused: a callback cannot be given as text")
    for key in NAMES & config.keys():
        if (size := len(str(config[key]).encode(errors="surrogatepass"))) > LONGEST_NAME:
            raise SettingsError(f"-X {key}{place} is refused: it must have at most {LONGEST_NAME} bytes, not {size}")


def _check_oauth_callback(name: str, config: Mapping[str, Any]) -> None:
    if not callable(config[OAUTH_CB]):
        raise SettingsError(f"{name} is refused: a callback cannot be given as text; use --oauth-callback")
    if not _uses_tokens(config):
        raise SettingsError(f"{name} is for sasl.mechanism=OAUTHBEARER")


def _uses_tokens(config: Mapping[str, Any]) -> bool:
    mechanism = config.get("sasl.mechanism", config.get("sasl.mechanisms", ""))
    return str(mechanism).upper() == "OAUTHBEARER"


def kafka_config_of(pairs: Iterable[str], place: str = "") -> dict[str, str]:
    """Return the settings in several `KEY=VALUE`; the last value of a repeated key. Values may contain '=' and spaces.

    Raises:
        SettingsError: a pair has no key or no '='. The text is not repeated: it may be a password.
    """
    config = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"--kafka-config{place} takes KEY=VALUE, but an argument has no key or no '='")
        config[key.strip()] = value.strip()
    check_kafka_config(config, place)
    return config


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectionOptions(OptionSet):
    """The options of every command that connects to Kafka."""

    bootstrap_servers: Annotated[
        str,
        Option(
            "Brokers to connect to first, separated by commas.",
            Panel.KAFKA,
            short="-b",
            metavar="HOST:PORT,…",
            rule=servers_fault,
        ),
    ] = "localhost:9092"
    kafka_config: Annotated[
        dict[str, Any],
        Option(
            "Setting for the Kafka client, passed on unchanged; repeatable. The few keys that would break delivery "
            "are refused.",
            Panel.KAFKA,
            short="-X",
            metavar="KEY=VALUE",
        ),
    ] = field(default_factory=dict)
    oauth_callback: Annotated[
        str | None,
        Option(
            "Function that returns tokens for -X sasl.mechanism=OAUTHBEARER, as (token, expiry in seconds since the "
            "epoch). The current folder is importable.",
            Panel.KAFKA,
            metavar="MODULE:FUNCTION",
        ),
    ] = None

    def check_together(self) -> None:
        """Refuse Kafka settings that would break delivery.

        Raises:
            SettingsError: with the key and the reason.
        """
        super().check_together()
        check_kafka_config(self.kafka_config)
        if self.oauth_callback is None:
            return
        if not _uses_tokens(self.kafka_config):
            raise SettingsError("--oauth-callback is for -X sasl.mechanism=OAUTHBEARER, which is not set")
        if OAUTH_CB in self.kafka_config:
            raise SettingsError(
                f"--oauth-callback and {OAUTH_CB} in kafka_config are the same setting: give one of them"
            )
