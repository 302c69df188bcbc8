"""Every option of a consumer, validated once; nothing downstream asks whether a number makes sense."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from processor.errors import SettingsError
from processor.registry_settings import MASK, RegistrySettings, SubjectNameStrategy, masked
from processor.telemetry.redaction import LogErrors, LogFormat, LogLevel, LogSessions, Redaction

ValueFormat = Literal["avro", "json", "bytes"]
GroupProtocol = Literal["classic", "consumer"]

REFUSED_KAFKA_CONFIG: Mapping[str, str] = {
    "enable.auto.commit": "offsets are committed only when everything before them is done",
    "auto.commit.interval.ms": "the client must not commit by itself; use --commit-interval",
    "auto.commit.enable": "offsets are committed only when everything before them is done",
    "enable.auto.offset.store": "the client must not store offsets by itself: it would commit unfinished tasks",
    "offset.store.method": "offsets are kept by the broker, with the group",
    "enable.partition.eof": "the end of a partition is how records that are never delivered get committed past",
    "partition.assignment.strategy": "sessions are handed over cooperatively; use --group-protocol",
    "group.protocol": "use --group-protocol",
    "group.id": "use --group",
    "bootstrap.servers": "use --bootstrap-servers",
    "metadata.broker.list": "use --bootstrap-servers",
    "partitioner": "it is murmur2, or sessions would split between clients in different languages",
    "enable.idempotence": "a retried send must neither repeat nor reorder a session's records",
    "acks": "a record counts as sent when all in-sync replicas have it",
    "request.required.acks": "a record counts as sent when all in-sync replicas have it",
    "consume.callback.max.messages": "the consumer polls; it has no consume callback",
    "delivery.report.only.error": "a task is settled when the broker has acknowledged its dead letter or result",
    "transactional.id": "dead letters and results are not written in transactions",
    "enable.gapless.guarantee": "one record too large would stop every dead letter after it",
}
"""Kafka settings that would break delivery, and why; the reason is what a user is told."""

REGISTRY_FIELDS: Mapping[str, str] = {
    "schema_registry": "url",
    **{f"schema_registry_{name}": name for name in ("user", "password_file", "token_file", "ca", "certificate", "key")},
    **{name: name for name in ("subject_name_strategy", "auto_register", "use_latest_version")},
}
"""The settings that concern a schema registry, and what they are called in `RegistrySettings`."""

_REGISTRY_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(RegistrySettings)} | {"url": None}

SECRET = re.compile(r"password|secret|token|\.key\.pem$|oauthbearer\.config$")
"""How Kafka settings are called whose values nobody may see."""

CALLBACK_SUFFIXES = ("_cb", ".cb")


COUNTS = ("processes", "workers", "max_attempts", "max_in_flight", "max_in_flight_bytes")
"""At least 1."""

LEAST_SECONDS = {
    "timeout": 0.001,
    "backoff": 0.0,
    "backoff_max": 0.0,
    "commit_interval": 0.01,
    "drain_timeout": 0.0,
    "stats_interval": 0.1,
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one consumer needs to know. Durations are in seconds, sizes in bytes.

    Raises:
        SettingsError: a value is out of its range, or a Kafka setting is refused.
    """

    topics: tuple[str, ...]
    group: str
    bootstrap_servers: str = "localhost:9092"
    processes: int = 1
    workers: int = 32
    value_format: ValueFormat = "avro"
    schemas: str | None = None
    schema_registry: str | None = None
    schema_registry_user: str | None = None
    schema_registry_password_file: str | None = None
    schema_registry_token_file: str | None = None
    schema_registry_ca: str | None = None
    schema_registry_certificate: str | None = None
    schema_registry_key: str | None = None
    subject_name_strategy: SubjectNameStrategy = "topic"
    auto_register: bool = True
    use_latest_version: bool = False
    timeout: float = 30.0
    max_attempts: int = 3
    backoff: float = 0.5
    backoff_max: float = 30.0
    dead_letter_topic: str | None = None
    results_topic: str | None = None
    create_topics: bool = True
    max_in_flight: int = 10_000
    max_in_flight_bytes: int = 64 * 1024 * 1024
    commit_interval: float = 1.0
    drain_timeout: float = 25.0
    group_protocol: GroupProtocol = "classic"
    stop_at_end: bool = False
    stats_interval: float = 10.0
    heartbeat_file: str | None = None
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"
    log_sessions: LogSessions = "hashed"
    log_errors: LogErrors = "full"
    log_sample: float = 1.0
    metrics_port: int | None = None
    metrics_host: str = "0.0.0.0"  # noqa: S104 — off unless a port is given, and a scraper comes from elsewhere
    kafka_config: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not self.topics:
            raise SettingsError("no topic to consume: give at least one --topic")
        for topic in self.topics:
            _check_topic("--topic", topic)
        if len(set(self.topics)) != len(self.topics):
            raise SettingsError("--topic names the same topic twice")
        if not self.group:
            raise SettingsError("--group must not be empty")
        for option, target in (
            ("--dead-letter-topic", self.dead_letter_topic),
            ("--results-topic", self.results_topic),
        ):
            if target is not None:
                _check_topic(option, target)
                if target in self.topics:
                    raise SettingsError(f"{option} {target!r} is consumed by this command: records would go in circles")
        for name in COUNTS:
            if (count := getattr(self, name)) < 1:
                raise SettingsError(f"{_option(name)} must be at least 1, not {count}")
        for name, least in LEAST_SECONDS.items():
            seconds = getattr(self, name)
            if not math.isfinite(seconds) or seconds < least:
                raise SettingsError(f"{_option(name)} must be at least {least:g} seconds, not {seconds:g}")
        if self.metrics_port is not None and not 0 < self.metrics_port < 65536:
            raise SettingsError(f"--metrics-port must be from 1 to 65535, not {self.metrics_port}")
        if not 0.0 <= self.log_sample <= 1.0:
            raise SettingsError(f"--log-sample must be from 0 to 1, not {self.log_sample:g}")
        if self.backoff_max < self.backoff:
            raise SettingsError(f"--backoff-max {self.backoff_max:g} is below --backoff {self.backoff:g}")
        if self.heartbeat_file is not None and not self.heartbeat_file.strip("/"):
            raise SettingsError(f"--heartbeat-file {self.heartbeat_file!r} is no file's name")
        if self.schemas is not None and not Path(self.schemas).is_dir():
            raise SettingsError(f"--schemas {self.schemas!r} is not a folder")
        check_kafka_config(self.kafka_config)
        if self.registry is not None and self.value_format != "avro":
            raise SettingsError(
                f"--schema-registry is for --value-format avro: values in {self.value_format} have no schema"
            )

    @property
    def registry(self) -> RegistrySettings | None:
        """The schema registry, where there is one.

        Raises:
            SettingsError: what is said of it cannot be used.
        """
        told = {field: getattr(self, name) for name, field in REGISTRY_FIELDS.items()}
        if self.schema_registry is not None:
            return RegistrySettings(**told)
        for name, field in REGISTRY_FIELDS.items():
            if told[field] != _REGISTRY_DEFAULTS[field]:
                option = name.replace("_", "-") if told[field] is not False else f"no-{name.replace('_', '-')}"
                raise SettingsError(f"--{option} is given, and --schema-registry is not")
        return None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What is shown of it: no password."""
        return [(name, _shown(name, getattr(self, name))) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    @property
    def redaction(self) -> Redaction:
        """What of a task may stand in the log."""
        return Redaction(self.log_sessions, self.log_errors)

    def dead_letter_topic_of(self, topic: str) -> str:
        """Where a task of `topic` goes that is given up."""
        return self.dead_letter_topic or f"{topic}.dlq"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(name: str, value: Any) -> object:
    if name == "schema_registry" and value is not None:
        return masked(value)
    if name == "kafka_config":
        return {key: MASK if SECRET.search(key) else text for key, text in value.items()}
    return value


def check_kafka_config(config: Mapping[str, str]) -> None:
    """Refuses what would break delivery.

    Raises:
        SettingsError: with the key and the reason.
    """
    for key in config:
        if key in REFUSED_KAFKA_CONFIG:
            raise SettingsError(f"-X {key} is refused: {REFUSED_KAFKA_CONFIG[key]}")
        if key.endswith(CALLBACK_SUFFIXES):
            raise SettingsError(f"-X {key} is refused: a callback cannot be given as text")


def _check_topic(option: str, topic: str) -> None:
    legal = topic.isascii() and all(c.isalnum() or c in "._-" for c in topic)
    if not legal or not 0 < len(topic) <= 249 or topic in (".", ".."):
        raise SettingsError(
            f"{option} {topic!r} is no topic name: letters, digits, '.', '_' and '-', at most 249 of them"
        )
