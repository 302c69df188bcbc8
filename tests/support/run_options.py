"""The options of `processor run` that users' scripts rely on, with a test value for each."""

from __future__ import annotations

from typing import NamedTuple

from processor.options.bounds import Bounds


class RunOption(NamedTuple):
    """One option."""

    flags: tuple[str, ...]
    default: object
    text: str | None = None
    """A value other than the default, as text; None if the option makes sense only together with others."""
    value: object = None
    """The corresponding value in the settings."""


OPTIONS: dict[str, RunOption] = {
    "bootstrap_servers": RunOption(("--bootstrap-servers", "-b"), "localhost:9092", "h:1", "h:1"),
    "topic": RunOption(("--topic", "-t"), "required"),
    "group": RunOption(("--group", "-g"), "required", "other", "other"),
    "processes": RunOption(("--processes", "-p"), 1, "2..5", Bounds(2, 5)),
    "workers": RunOption(("--workers", "-w"), 32, "3..9", Bounds(3, 9)),
    "value_format": RunOption(("--value-format",), "avro", "bytes", "bytes"),
    "schemas": RunOption(("--schemas",), None, ".", "."),
    "schema_registry": RunOption(
        ("--schema-registry",), None, "https://user:password@h/path", "https://user:password@h/path"
    ),
    "schema_registry_user": RunOption(("--schema-registry-user",), None),
    "schema_registry_password_file": RunOption(("--schema-registry-password-file",), None),
    "schema_registry_token_file": RunOption(("--schema-registry-token-file",), None),
    "schema_registry_ca": RunOption(("--schema-registry-ca",), None),
    "schema_registry_certificate": RunOption(("--schema-registry-certificate",), None),
    "schema_registry_key": RunOption(("--schema-registry-key",), None),
    "subject_name_strategy": RunOption(("--subject-name-strategy",), "topic"),
    "auto_register": RunOption(("--auto-register", "--no-auto-register"), True),
    "use_latest_version": RunOption(("--use-latest-version",), False),
    "timeout": RunOption(("--timeout",), 30, "1.5", 1.5),
    "max_attempts": RunOption(("--max-attempts",), 3, "4", 4),
    "backoff": RunOption(("--backoff",), 0.5, "0.1", 0.1),
    "backoff_max": RunOption(("--backoff-max",), 30, "9", 9.0),
    "dead_letter_topic": RunOption(("--dead-letter-topic",), None, "d", "d"),
    "results_topic": RunOption(("--results-topic",), None, "r", "r"),
    "control_topic": RunOption(("--control-topic",), None, "c", "c"),
    "progress_topic": RunOption(("--progress-topic",), None, "p", "p"),
    "delivery": RunOption(("--delivery",), "at-least-once", "exactly-once", "exactly-once"),
    "create_topics": RunOption(("--create-topics", "--no-create-topics"), True, "false", False),
    "max_in_flight": RunOption(("--max-in-flight",), 10000, "5", 5),
    "max_in_flight_bytes": RunOption(("--max-in-flight-bytes",), 67108864, "6", 6),
    "max_ahead": RunOption(("--max-ahead",), 1000000, "0", 0),
    "commit_interval": RunOption(("--commit-interval",), None, "0.2", 0.2),
    "drain_timeout": RunOption(("--drain-timeout",), 25, "7", 7.0),
    "group_protocol": RunOption(("--group-protocol",), "classic", "consumer", "consumer"),
    "stop_at_end": RunOption(("--stop-at-end",), False, "true", True),
    "reload": RunOption(("--reload",), False, "true", True),
    "new_partitions": RunOption(("--new-partitions",), "wait", "begin", "begin"),
    "stats_interval": RunOption(("--stats-interval",), 10, "8", 8.0),
    "heartbeat_file": RunOption(("--heartbeat-file",), None, "h", "h"),
    "log_format": RunOption(("--log-format",), "auto", "json", "json"),
    "log_errors": RunOption(("--log-errors",), "full", "type", "type"),
    "log_sample": RunOption(("--log-sample",), 1, "0.25", 0.25),
    "log_handlers": RunOption(("--log-handlers", "--no-log-handlers"), True, "false", False),
    "tracing": RunOption(("--tracing",), False, "true", True),
    "metrics_port": RunOption(("--metrics-port",), None, "9464", 9464),
    "metrics_host": RunOption(("--metrics-host",), "0.0.0.0", "127.0.0.1", "127.0.0.1"),
    "log_sessions": RunOption(("--log-sessions",), "hashed", "plain", "plain"),
    "log_level": RunOption(("--log-level",), "info", "error", "error"),
    "kafka_config": RunOption(("--kafka-config", "-X"), [], "client.id=a", {"client.id": "a"}),
    "oauth_callback": RunOption(("--oauth-callback",), None),
    "config": RunOption(("--config",), None),
}
"""The options by their names in the settings, except `topic`. A changed flag or default breaks users' scripts."""

TRIED = {name: option for name, option in OPTIONS.items() if option.text is not None}
"""The options that can be set alone."""
