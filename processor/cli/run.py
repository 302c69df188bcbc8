"""`processor run APP`: a fleet of consumers until it is told to stop."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from processor.cli import options
from processor.settings import GroupProtocol, Settings
from processor.telemetry.redaction import LogErrors, LogSessions

Application = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="MODULE:ATTRIBUTE: a function that takes a task, an async one, or a Processor. "
        "The current folder is importable.",
    ),
]
Group = Annotated[
    str,
    typer.Option(
        "--group", "-g", metavar="GROUP", help="Consumer group.", show_default=False, rich_help_panel=options.KAFKA
    ),
]
Protocol = Annotated[
    GroupProtocol,
    typer.Option(
        "--group-protocol",
        metavar="classic|consumer",
        help="How the group shares partitions: classic (cooperative-sticky) or consumer (KIP-848).",
        rich_help_panel=options.KAFKA,
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", "-p", metavar="N", help="Consumers in this fleet, each a process.", rich_help_panel=options.WORK
    ),
]
Workers = Annotated[
    int,
    typer.Option("--workers", "-w", metavar="N", help="Worker threads of each.", rich_help_panel=options.WORK),
]
StopAtEnd = Annotated[
    bool,
    typer.Option(
        "--stop-at-end",
        help="Stop cleanly once everything that was in the topics at start is settled.",
        show_default=False,
        rich_help_panel=options.WORK,
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", help="What one attempt may take.", rich_help_panel=options.FAILURES),
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        "--max-attempts",
        metavar="N",
        help="Attempts before a task is dead-lettered.",
        rich_help_panel=options.FAILURES,
    ),
]
Backoff = Annotated[
    float,
    typer.Option(
        "--backoff",
        metavar="SECONDS",
        help="The wait before the second attempt; it doubles, jittered, up to --backoff-max.",
        rich_help_panel=options.FAILURES,
    ),
]
BackoffMax = Annotated[
    float,
    typer.Option("--backoff-max", metavar="SECONDS", help="The longest wait.", rich_help_panel=options.FAILURES),
]
DeadLetterTopic = Annotated[
    str | None,
    typer.Option(
        "--dead-letter-topic",
        metavar="TOPIC",
        help="Where a task goes whose attempts are used up, or whose bytes cannot be decoded.",
        show_default="TOPIC.dlq",
        rich_help_panel=options.FAILURES,
    ),
]
ResultsTopic = Annotated[
    str | None,
    typer.Option(
        "--results-topic",
        metavar="TOPIC",
        help="Where handlers' return values go, keyed by session.",
        show_default=False,
        rich_help_panel=options.VALUES,
    ),
]
CreateTopics = Annotated[
    bool,
    typer.Option(
        "--create-topics/--no-create-topics",
        help="Whether a missing dead-letter or results topic is created at start.",
        show_default="create",
        rich_help_panel=options.FAILURES,
    ),
]
MaxInFlight = Annotated[
    int,
    typer.Option(
        "--max-in-flight",
        metavar="N",
        help="Tasks a consumer holds, waiting and running, before it stops taking more.",
        rich_help_panel=options.LIMITS,
    ),
]
MaxInFlightBytes = Annotated[
    int,
    typer.Option(
        "--max-in-flight-bytes",
        metavar="BYTES",
        help="The same in bytes of key, value and headers.",
        rich_help_panel=options.LIMITS,
    ),
]
CommitInterval = Annotated[
    float,
    typer.Option(
        "--commit-interval", metavar="SECONDS", help="The time between commits.", rich_help_panel=options.LIMITS
    ),
]
DrainTimeout = Annotated[
    float,
    typer.Option(
        "--drain-timeout",
        metavar="SECONDS",
        help="What running tasks get at a stop or a revoke.",
        rich_help_panel=options.LIMITS,
    ),
]
HeartbeatFile = Annotated[
    str | None,
    typer.Option(
        "--heartbeat-file",
        metavar="PATH",
        help="A file for `processor health`, written every second; each consumer adds one, PATH.0, PATH.1, …",
        show_default=False,
        rich_help_panel=options.LOGS,
    ),
]
StatsInterval = Annotated[
    float,
    typer.Option(
        "--stats-interval",
        metavar="SECONDS",
        help="The time between consumer.stats log events.",
        rich_help_panel=options.LOGS,
    ),
]
LogSessionsOption = Annotated[
    LogSessions,
    typer.Option(
        "--log-sessions",
        metavar="hashed|plain",
        help="How sessions, which are record keys, are named in the log.",
        rich_help_panel=options.LOGS,
    ),
]
LogErrorsOption = Annotated[
    LogErrors,
    typer.Option(
        "--log-errors",
        metavar="full|type",
        help="Whether the texts of handlers' errors are logged, which may quote a value, or their types only.",
        rich_help_panel=options.LOGS,
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="PORT",
        help="Where Prometheus may scrape the fleet's metrics; needs session-processor[metrics].",
        show_default="none",
        rich_help_panel=options.LOGS,
    ),
]
MetricsHost = Annotated[
    str,
    typer.Option(
        "--metrics-host",
        metavar="ADDRESS",
        help="The address that --metrics-port listens at.",
        rich_help_panel=options.LOGS,
    ),
]
LogSample = Annotated[
    float,
    typer.Option(
        "--log-sample",
        metavar="SHARE",
        help="The share of tasks, from 0 to 1, whose task.succeeded and task.retrying are logged at debug.",
        rich_help_panel=options.LOGS,
    ),
]


def run(
    app: Application,
    topic: options.Topics,
    group: Group,
    bootstrap_servers: options.BootstrapServers = "localhost:9092",
    kafka_config: options.KafkaConfig = [],  # noqa: B006 — Typer copies it
    group_protocol: Protocol = "classic",
    processes: Processes = 1,
    workers: Workers = 32,
    stop_at_end: StopAtEnd = False,
    value_format: options.Format = "avro",
    schemas: options.Schemas = None,
    schema_registry: options.SchemaRegistry = None,
    schema_registry_user: options.SchemaRegistryUser = None,
    schema_registry_password_file: options.SchemaRegistryPasswordFile = None,
    schema_registry_token_file: options.SchemaRegistryTokenFile = None,
    schema_registry_ca: options.SchemaRegistryCa = None,
    schema_registry_certificate: options.SchemaRegistryCertificate = None,
    schema_registry_key: options.SchemaRegistryKey = None,
    subject_name_strategy: options.SubjectNames = "topic",
    auto_register: options.AutoRegister = True,
    use_latest_version: options.UseLatestVersion = False,
    results_topic: ResultsTopic = None,
    timeout: Timeout = 30,
    max_attempts: MaxAttempts = 3,
    backoff: Backoff = 0.5,
    backoff_max: BackoffMax = 30,
    dead_letter_topic: DeadLetterTopic = None,
    create_topics: CreateTopics = True,
    max_in_flight: MaxInFlight = 10_000,
    max_in_flight_bytes: MaxInFlightBytes = 67_108_864,
    commit_interval: CommitInterval = 1,
    drain_timeout: DrainTimeout = 25,
    stats_interval: StatsInterval = 10,
    heartbeat_file: HeartbeatFile = None,
    log_format: options.LogFormatOption = "auto",
    log_level: options.LogLevelOption = "info",
    log_sessions: LogSessionsOption = "hashed",
    log_errors: LogErrorsOption = "full",
    log_sample: LogSample = 1,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "0.0.0.0",  # noqa: S104 — nobody listens unless a port is given
    config: options.Config = None,
) -> int:
    """Run APP's handlers on the tasks of one or more topics.

    The sessions of each partition run in parallel, and the tasks of one session one after the other, in order.
    The first SIGTERM or SIGINT lets running tasks finish; the second ends at once.
    """
    settings = Settings(
        topics=tuple(topic),
        group=group,
        bootstrap_servers=bootstrap_servers,
        processes=processes,
        workers=workers,
        value_format=value_format,
        schemas=schemas,
        schema_registry=schema_registry,
        schema_registry_user=schema_registry_user,
        schema_registry_password_file=schema_registry_password_file,
        schema_registry_token_file=schema_registry_token_file,
        schema_registry_ca=schema_registry_ca,
        schema_registry_certificate=schema_registry_certificate,
        schema_registry_key=schema_registry_key,
        subject_name_strategy=subject_name_strategy,
        auto_register=auto_register,
        use_latest_version=use_latest_version,
        timeout=timeout,
        max_attempts=max_attempts,
        backoff=backoff,
        backoff_max=backoff_max,
        dead_letter_topic=dead_letter_topic,
        results_topic=results_topic,
        create_topics=create_topics,
        max_in_flight=max_in_flight,
        max_in_flight_bytes=max_in_flight_bytes,
        commit_interval=commit_interval,
        drain_timeout=drain_timeout,
        group_protocol=group_protocol,
        stop_at_end=stop_at_end,
        stats_interval=stats_interval,
        heartbeat_file=heartbeat_file,
        log_format=log_format,
        log_level=log_level,
        log_sessions=log_sessions,
        log_errors=log_errors,
        log_sample=log_sample,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        kafka_config=options.kafka_config_of(kafka_config),
    )
    return _run_fleet(settings, app)


def _run_fleet(settings: Settings, app: str) -> int:
    from processor.fleet.supervisor import Supervisor
    from processor.telemetry import logs  # here, so that help and completion do without

    logs.configure(settings.log_format, settings.log_level, redaction=settings.redaction)
    return Supervisor(settings, app, logs.emitter(group=settings.group, fleet=os.getpid())).run()
