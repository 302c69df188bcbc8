"""The options that commands share, as Typer annotations, and what `-X` means.

A parameter is named like its long option: that is how the environment and the configuration file find it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from processor.cli import config_file
from processor.errors import SettingsError
from processor.registry_settings import SubjectNameStrategy
from processor.settings import ValueFormat
from processor.telemetry.redaction import LogFormat, LogLevel

KAFKA = "Kafka"
VALUES = "Values"
REGISTRY = "Schema registry"
WRITTEN = "Schema registry, writing"
WORK = "Work"
FAILURES = "Failures"
LIMITS = "Limits"
LOGS = "Logs and settings"

ENVIRONMENT_NOTE = (
    "Every option can be set by an environment variable, PROCESSOR_ and its long name (PROCESSOR_TOPIC, "
    "PROCESSOR_BACKOFF_MAX), and in the TOML file of --config. The command line wins over the environment, "
    "the environment over the file."
)


def kafka_config_of(pairs: Iterable[str]) -> dict[str, str]:
    """What `-X KEY=VALUE` says; of a key that repeats, the last. A value may hold '=' and spaces.

    Raises:
        SettingsError: a pair has no key or no '='. The text is not repeated: it may be a password.
    """
    config = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError("--kafka-config takes KEY=VALUE, and one was given without a key or without '='")
        config[key.strip()] = value.strip()
    return config


def _add_lower_sources(context: typer.Context, pairs: list[str]) -> list[str]:
    """Each key is looked up on its own: `-X client.id=a` must not drop a password that the environment gives."""
    config = kafka_config_of([*config_file.lower_kafka_config(context), *(pairs or ())])
    return [f"{key}={value}" for key, value in config.items()]


def _refuse_missing_folder(context: typer.Context, folder: str | None) -> str | None:
    if folder is not None and not context.resilient_parsing and not Path(folder).is_dir():
        raise SettingsError(f"--schemas {folder!r} is not a folder")
    return folder


BootstrapServers = Annotated[
    str,
    typer.Option(
        "--bootstrap-servers",
        "-b",
        metavar="HOST:PORT,…",
        help="Brokers to ask for the cluster.",
        rich_help_panel=KAFKA,
    ),
]
Topics = Annotated[
    list[str],
    typer.Option(
        "--topic",
        "-t",
        metavar="TOPIC",
        help="A topic to consume; repeatable.",
        show_default=False,
        rich_help_panel=KAFKA,
    ),
]
Topic = Annotated[
    str,
    typer.Option("--topic", "-t", metavar="TOPIC", help="The topic to send to.", rich_help_panel=KAFKA),
]
KafkaConfig = Annotated[
    list[str],
    typer.Option(
        "--kafka-config",
        "-X",
        metavar="KEY=VALUE",
        help="A setting for the Kafka client, passed as it is; repeatable. What would break delivery is refused.",
        show_default=False,
        callback=_add_lower_sources,
        rich_help_panel=KAFKA,
    ),
]
Format = Annotated[
    ValueFormat,
    typer.Option("--value-format", metavar="avro|json|bytes", help="What a value is.", rich_help_panel=VALUES),
]
Schemas = Annotated[
    str | None,
    typer.Option(
        "--schemas",
        metavar="FOLDER",
        help="A folder of .avsc files, added to the shipped ones.",
        show_default="the shipped ones",
        callback=_refuse_missing_folder,
        rich_help_panel=VALUES,
    ),
]
SchemaRegistry = Annotated[
    str | None,
    typer.Option(
        "--schema-registry",
        metavar="URL",
        help="A Confluent-compatible schema registry, perhaps as https://USER:PASSWORD@HOST.",
        show_default=False,
        rich_help_panel=REGISTRY,
    ),
]
SchemaRegistryUser = Annotated[
    str | None,
    typer.Option(
        "--schema-registry-user",
        metavar="NAME",
        help="The user for the registry (basic authentication).",
        show_default=False,
        rich_help_panel=REGISTRY,
    ),
]
SchemaRegistryPasswordFile = Annotated[
    str | None,
    typer.Option(
        "--schema-registry-password-file",
        metavar="FILE",
        help="A file that holds the password of that user.",
        show_default=False,
        rich_help_panel=REGISTRY,
    ),
]
SchemaRegistryTokenFile = Annotated[
    str | None,
    typer.Option(
        "--schema-registry-token-file",
        metavar="FILE",
        help="A file that holds a bearer token, instead of a user and a password.",
        show_default=False,
        rich_help_panel=REGISTRY,
    ),
]
SchemaRegistryCa = Annotated[
    str | None,
    typer.Option(
        "--schema-registry-ca",
        metavar="FILE",
        help="The authorities that may have signed the registry's certificate, in PEM.",
        show_default="those of the certifi package",
        rich_help_panel=REGISTRY,
    ),
]
SchemaRegistryCertificate = Annotated[
    str | None,
    typer.Option(
        "--schema-registry-certificate",
        metavar="FILE",
        help="The certificate to show to the registry, in PEM.",
        show_default=False,
        rich_help_panel=REGISTRY,
    ),
]
SchemaRegistryKey = Annotated[
    str | None,
    typer.Option(
        "--schema-registry-key",
        metavar="FILE",
        help="Its private key, in PEM.",
        show_default="in the file of the certificate",
        rich_help_panel=REGISTRY,
    ),
]
SubjectNames = Annotated[
    SubjectNameStrategy,
    typer.Option(
        "--subject-name-strategy",
        metavar="HOW",
        help="What schemas are registered under: topic (TOPIC-value), record (their NAME), topic-record (TOPIC-NAME).",
        rich_help_panel=REGISTRY,
    ),
]
AutoRegister = Annotated[
    bool,
    typer.Option(
        "--auto-register/--no-auto-register",
        help="Whether schemas are registered where they are not yet.",
        show_default="auto-register",
        rich_help_panel=WRITTEN,
    ),
]
UseLatestVersion = Annotated[
    bool,
    typer.Option(
        "--use-latest-version",
        help="Write with the latest schema of the subject, and register nothing.",
        show_default=False,
        rich_help_panel=WRITTEN,
    ),
]
LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        metavar="json|console",
        help="How log lines on stderr look.",
        show_default="console on a terminal, json off one",
        rich_help_panel=LOGS,
    ),
]
LogLevelOption = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        metavar="debug|info|warning|error",
        help="The least level that is logged.",
        rich_help_panel=LOGS,
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A TOML file with the same options by their long names.",
        show_default=False,
        is_eager=True,
        callback=config_file.read_lower_sources,
        rich_help_panel=LOGS,
    ),
]
