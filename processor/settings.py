"""`Settings`: every option of a consumer, validated once, so that no code downstream validates it again.

An option of `processor run` is one field here, or in a set of `processor.options` that other commands share.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from processor.errors import LoadError, SettingsError
from processor.options.bounds import Count, order_fault
from processor.options.connection import SECRET, ConnectionOptions
from processor.options.names import (
    DEAD_LETTER_SUFFIX,
    LARGEST_PORT,
    LONGEST_TOPIC,
    collision,
    group_fault,
    target_fault,
    topic_fault,
)
from processor.options.option import BYTES, SECONDS, Option, Panel
from processor.options.values import WritingOptions
from processor.registry_settings import MASK, masked
from processor.telemetry.redaction import LogErrors, LogFormat, LogLevel, LogSessions, Redaction

Delivery = Literal["at-least-once", "exactly-once"]
GroupProtocol = Literal["classic", "consumer"]
NewPartitions = Literal["wait", "begin"]


COMMIT_SECONDS: dict[Delivery, float] = {"at-least-once": 1.0, "exactly-once": 0.1}
"""Defaults of `--commit-interval`. With exactly-once a reader sees nothing of a task before its transaction ends."""


def _no_file_name(path: str) -> str | None:
    return None if path.strip("/") else f"{path!r} is not the name of a file"


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(ConnectionOptions, WritingOptions):
    """The options of one consumer. Durations are in seconds, sizes in bytes.

    Raises:
        SettingsError: a value is of a wrong type or out of its range, or a Kafka setting is refused.
        LoadError: Kafka does not allow a topic of this name.
    """

    topics: Annotated[
        tuple[str, ...],
        Option(
            "Topic to consume; repeatable.",
            Panel.KAFKA,
            short="-t",
            metavar="TOPIC",
            name="topic",
            rule=topic_fault,
            rule_error=LoadError,
        ),
    ]
    group: Annotated[str, Option("Consumer group.", Panel.KAFKA, short="-g", rule=group_fault)]
    group_protocol: Annotated[
        GroupProtocol,
        Option("Rebalance protocol: classic (cooperative-sticky) or consumer (KIP-848).", Panel.KAFKA),
    ] = "classic"
    new_partitions: Annotated[
        NewPartitions,
        Option(
            "When to process a partition that was added to a topic: wait until the earlier tasks of the other "
            "partitions are settled, so that sessions stay in order, or begin at once.",
            Panel.KAFKA,
        ),
    ] = "wait"
    processes: Annotated[
        Count,
        Option(
            "Consumers in this fleet, one process each. With MIN..MAX, such as 1..8, their number follows the load, up "
            "to the number of partitions.",
            Panel.WORK,
            short="-p",
            at_least=1,
            rule=order_fault,
        ),
    ] = 1
    workers: Annotated[
        Count,
        Option(
            "Worker threads per consumer, or concurrent coroutines where all handlers are async. With MIN..MAX, such "
            "as 8..64, each consumer adjusts the number to its load.",
            Panel.WORK,
            short="-w",
            at_least=1,
            rule=order_fault,
        ),
    ] = 32
    stop_at_end: Annotated[
        bool, Option("Stop cleanly once everything that was in the topics at the start is settled.", Panel.WORK)
    ] = False
    reload: Annotated[
        bool,
        Option(
            "For development: restart the consumers when a Python file below the current folder changes; needs the "
            "extra 'reload'.",
            Panel.WORK,
        ),
    ] = False
    results_topic: Annotated[
        str | None,
        Option(
            "Topic for the return values of handlers, keyed by session. A result that is too large for it blocks its "
            "session.",
            Panel.VALUES,
            metavar="TOPIC",
            rule=target_fault,
            rule_error=LoadError,
        ),
    ] = None
    timeout: Annotated[
        float, Option("Time limit for one attempt.", Panel.FAILURES, metavar=SECONDS, at_least=0.001)
    ] = 30.0
    max_attempts: Annotated[int, Option("Attempts before a task is dead-lettered.", Panel.FAILURES, at_least=1)] = 3
    backoff: Annotated[
        float,
        Option(
            "Delay before the second attempt; it doubles with each further attempt, with jitter, up to --backoff-max.",
            Panel.FAILURES,
            metavar=SECONDS,
            at_least=0,
        ),
    ] = 0.5
    backoff_max: Annotated[
        float, Option("Longest delay between two attempts.", Panel.FAILURES, metavar=SECONDS, at_least=0)
    ] = 30.0
    dead_letter_topic: Annotated[
        str | None,
        Option(
            "Topic for tasks whose attempts are used up or whose bytes cannot be decoded. Its max.message.bytes should "
            "be 16 KiB above that of the consumed topics; a record that it does not accept blocks its session.",
            Panel.FAILURES,
            metavar="TOPIC",
            default_shown=f"TOPIC{DEAD_LETTER_SUFFIX}",
            rule=target_fault,
            rule_error=LoadError,
        ),
    ] = None
    control_topic: Annotated[
        str | None,
        Option(
            "Compacted topic with the commands of processor control; it is created if it is missing. Each consumer "
            "applies the commands in it before its first task.",
            Panel.KAFKA,
            metavar="TOPIC",
            rule=target_fault,
            rule_error=LoadError,
        ),
    ] = None
    progress_topic: Annotated[
        str | None,
        Option(
            "Compacted topic for skip maps (which tasks above a committed offset are done) that do not fit into the "
            "commit; it is created if it is missing. A crash then repeats only what ran since the last commit.",
            Panel.KAFKA,
            metavar="TOPIC",
            rule=target_fault,
            rule_error=LoadError,
        ),
    ] = None
    delivery: Annotated[
        Delivery,
        Option(
            "How often a result or dead letter appears to readers of committed records (isolation.level="
            "read_committed) after a crash: exactly-once writes them in one Kafka transaction with the offsets.",
            Panel.VALUES,
        ),
    ] = "at-least-once"
    create_topics: Annotated[
        bool, Option("Create a missing dead-letter, results, control or progress topic at the start.", Panel.FAILURES)
    ] = True
    max_in_flight: Annotated[
        int,
        Option("Tasks that a consumer holds, waiting and running, before it stops fetching.", Panel.LIMITS, at_least=1),
    ] = 10_000
    max_in_flight_bytes: Annotated[
        int,
        Option("The same limit in bytes of keys, values and headers.", Panel.LIMITS, metavar=BYTES, at_least=1),
    ] = 64 * 1024 * 1024
    max_ahead: Annotated[
        int,
        Option(
            "Maximum number of tasks that a consumer sets aside beyond these limits, keeping only their offsets: tasks "
            "of sessions with very many of them, and tasks with long delays.",
            Panel.LIMITS,
            at_least=0,
        ),
    ] = 1_000_000
    commit_interval: Annotated[
        float | None,
        Option(
            "Time between two commits.",
            Panel.LIMITS,
            metavar=SECONDS,
            at_least=0.01,
            default_shown="1 s, or 0.1 s with --delivery exactly-once",
        ),
    ] = None
    drain_timeout: Annotated[
        float,
        Option(
            "Time limit for running tasks to finish at a stop or a revoke.", Panel.LIMITS, metavar=SECONDS, at_least=0
        ),
    ] = 25.0
    stats_interval: Annotated[
        float,
        Option(
            "Time between two consumer.stats log events; longer while nothing changes.",
            Panel.LOGS,
            metavar=SECONDS,
            at_least=0.1,
        ),
    ] = 10.0
    heartbeat_file: Annotated[
        str | None,
        Option(
            "Heartbeat file, written every second, for processor health.",
            Panel.LOGS,
            metavar="PATH",
            rule=_no_file_name,
        ),
    ] = None
    log_format: Annotated[
        LogFormat,
        Option(
            "Format of the log on stderr.",
            Panel.LOGS,
            metavar="json|console",
            default_shown="console on a terminal, json otherwise",
        ),
    ] = "auto"
    log_level: Annotated[
        LogLevel, Option("Minimum log level: debug, info, warning or error.", Panel.LOGS, metavar="LEVEL")
    ] = "info"
    log_sessions: Annotated[
        LogSessions, Option("How sessions, which are record keys, appear in the log.", Panel.LOGS)
    ] = "hashed"
    log_errors: Annotated[
        LogErrors,
        Option(
            "What the log contains of handlers' errors: full, or only the type, since messages may quote a value.",
            Panel.LOGS,
        ),
    ] = "full"
    log_sample: Annotated[
        float,
        Option(
            "Share of tasks, from 0 to 1, whose task.succeeded and task.retrying events are logged at debug.",
            Panel.LOGS,
            metavar="SHARE",
            at_least=0,
            at_most=1,
        ),
    ] = 1.0
    log_handlers: Annotated[
        bool,
        Option(
            "Log what the application logs through structlog or logging in the same format, with the task's fields, "
            "unless it has set up logging by itself.",
            Panel.LOGS,
        ),
    ] = True
    tracing: Annotated[
        bool,
        Option(
            "Trace each attempt as an OpenTelemetry span, a child of the record's traceparent; needs the extra 'otel'.",
            Panel.LOGS,
        ),
    ] = False
    metrics_port: Annotated[
        int | None,
        Option(
            "Port at which Prometheus scrapes the fleet's metrics; needs the extra 'metrics'.",
            Panel.LOGS,
            metavar="PORT",
            at_least=1,
            at_most=LARGEST_PORT,
        ),
    ] = None
    metrics_host: Annotated[str, Option("Address that --metrics-port listens on.", Panel.LOGS, metavar="ADDRESS")] = (
        "0.0.0.0"  # noqa: S104 — off unless a port is given, and a scraper comes from elsewhere
    )

    def check_together(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            SettingsError: two options contradict each other, or a required one is empty.
            LoadError: Kafka does not allow the name of an output topic.
        """
        if not self.topics:
            raise SettingsError("no topic to consume: give at least one --topic")
        if len(set(self.topics)) != len(self.topics):
            raise SettingsError("--topic names the same topic twice")
        for option, target in (
            ("dead-letter", self.dead_letter_topic),
            ("results", self.results_topic),
            ("control", self.control_topic),
            ("progress", self.progress_topic),
        ):
            if target in self.topics:
                raise SettingsError(
                    f"--{option}-topic {target!r} is consumed by this command: its output would be consumed again"
                )
        isolation = str(self.kafka_config.get("isolation.level", "")).strip().lower()  # as the client reads it
        if self.is_exactly_once and isolation == "read_uncommitted":
            raise SettingsError(
                "-X isolation.level=read_uncommitted is refused with --delivery exactly-once: offsets and records of "
                "an aborted transaction would be read as committed"
            )
        if self.backoff_max < self.backoff:
            raise SettingsError(f"--backoff-max {self.backoff_max:g} is below --backoff {self.backoff:g}")
        self._check_targets()
        super().check_together()

    def _check_targets(self) -> None:
        """Refuse names that would fail only with the first dead letter, whose session would then wait forever."""
        for topic in self.topics:
            letters = self.dead_letter_topic_of(topic)
            if len(letters) > LONGEST_TOPIC:
                raise LoadError(
                    f"the dead-letter topic of {topic!r} would have {len(letters)} characters, and Kafka allows "
                    f"{LONGEST_TOPIC}: set --dead-letter-topic"
                )
        targets = [*map(self.dead_letter_topic_of, self.topics), *filter(None, [self.results_topic])]
        for option, name in (("control", self.control_topic), ("progress", self.progress_topic)):
            if name is not None and name in targets:
                raise SettingsError(f"--{option}-topic {name!r} is also written to by tasks: give it its own")
        if self.progress_topic is not None and self.progress_topic == self.control_topic:
            raise SettingsError(f"--progress-topic {self.progress_topic!r} is also the control topic: give it its own")
        targets += filter(None, [self.control_topic, self.progress_topic])
        if (pair := collision([*self.topics, *targets])) is not None:
            raise LoadError(
                f"the topics {pair[0]!r} and {pair[1]!r} differ only in '.' and '_', and Kafka has only one of them: "
                "set another --dead-letter-topic, --results-topic, --control-topic or --progress-topic"
            )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Fields to show, with passwords masked."""
        return [(field.name, _shown(field.name, getattr(self, field.name))) for field in fields(self)]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    @property
    def redaction(self) -> Redaction:
        """Which parts of a task may appear in the log."""
        return Redaction(self.log_sessions, self.log_errors)

    @property
    def is_exactly_once(self) -> bool:
        """Return whether outputs and offsets are committed in one transaction."""
        return self.delivery == "exactly-once"

    @property
    def commit_seconds(self) -> float:
        """Time between two commits."""
        return COMMIT_SECONDS[self.delivery] if self.commit_interval is None else self.commit_interval

    def dead_letter_topic_of(self, topic: str) -> str:
        """Return the topic that gets the dead letters of `topic`."""
        return self.dead_letter_topic or f"{topic}{DEAD_LETTER_SUFFIX}"


def _shown(name: str, value: Any) -> object:
    if name == "schema_registry" and value is not None:
        return masked(value)
    if name == "kafka_config":
        return {key: MASK if SECRET.search(key) else text for key, text in value.items()}
    return value
