"""`run`: runs an application's handlers on a list of tasks, in a real consumer with Kafka replaced by memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from processor.codec.select import codec_of
from processor.codec.value_codec import ValueCodec
from processor.engine.record import Record
from processor.errors import ProcessorError, SettingsError
from processor.handlers.table import Function, Handlers
from processor.options.value_formats import ValueFormat
from processor.processor import Processor
from processor.runtime.consumer import Consumer, ExitStatus
from processor.runtime.ports import Codec
from processor.settings import Settings
from processor.telemetry.events import Event
from processor.testing.memory.cluster import MemoryCluster
from processor.testing.memory.sink import MemorySink
from processor.testing.memory.source import MemorySource
from processor.testing.report import Report, report_of
from processor.testing.tasks import TOPIC, Given, Load

RESULTS_TOPIC: Final = "test.results"

RUN: Final[Mapping[str, Any]] = MappingProxyType(
    {"topics": (TOPIC,), "group": "test", "results_topic": RESULTS_TOPIC, "stop_at_end": True, "log_level": "debug"}
)
"""The settings of each run, which its options may replace."""

IDLE_SECONDS: Final = 0.005
"""The longest wait for a record: every record is there before the run begins, and between two waits the consumer checks
whether it has reached the end."""


def run(  # noqa: PLR0913 — options, each given by its name
    app: Processor | Function,
    tasks: Iterable[Given],
    *,
    value_format: ValueFormat = "avro",
    schemas: str | None = None,
    workers: int = 8,
    partitions: int = 4,
    backoff: float = 0.0,
    backoff_max: float = 30.0,
    seconds: float = 60.0,
    **options: Any,
) -> Report:
    """Run `app` on `tasks` until each task has succeeded or is a dead letter, and return a report.

    The threads, the order, the retries and the codec are those of `processor run`; only Kafka is in memory. Tasks that
    follow other tasks run as well, in one consumer for each link of the chain. If a branch of a group is a dead letter,
    the group is left waiting.

    Args:
        app: a handler, plain or async, or a `Processor`.
        tasks: the tasks, in the order in which they are produced.
        value_format: encoding of payloads and results; one that cannot be encoded is an error here too.
        schemas: a folder of .avsc files.
        workers: number of threads, or of coroutines if every handler is async.
        partitions: number of partitions of each topic.
        backoff: seconds before a second attempt; 0 by default, so that tests of failures are fast.
        backoff_max: longest delay between two attempts in seconds.
        seconds: time limit for the whole run.
        options: any other field of `Settings`, such as `max_attempts` or `timeout`. Of several `topics`, the first one
            gets the tasks.

    Raises:
        TimeoutError: a task was not settled in time.
        ProcessorError: a handler kept running after its timeout and could not be stopped, or the consumer failed.
        SettingsError: an option or a task is invalid.
        EncodeError: a payload cannot be encoded in the value format.
        LoadError: `app` is not an application, a schema cannot be loaded, or the lifespan failed before its `yield`.
    """
    if partitions < 1:
        raise SettingsError(f"partitions must be at least 1, not {partitions}")
    named = {"value_format": value_format, "schemas": schemas, "workers": workers}
    backoffs = {"backoff": backoff, "backoff_max": max(backoff, backoff_max)}
    settings = Settings(**{**RUN, **named, **backoffs, **options})
    handlers = Handlers.of(app)
    codec = _RememberingCodec(codec_of(handlers, value_format, schemas))
    cluster, topics = MemoryCluster(), settings.topics
    for topic in topics:
        cluster.create_topic(topic, partitions)
    load = Load(cluster, topics[0], codec.real)
    for given in tasks:
        load.produce(given)
    members = _Members(settings, handlers, codec, cluster, seconds)
    exit_code = members.run()
    load.note_follow_ups(topics)
    letters = [letter for topic in _dead_letter_topics(settings) for letter in cluster.records(topic)]
    return report_of(load, members.events, letters, codec.results, exit_code)


def _dead_letter_topics(settings: Settings) -> Iterable[str]:
    """Return the dead-letter topics of all topics, each once."""
    return dict.fromkeys(map(settings.dead_letter_topic_of, settings.topics))


class _Members:
    """Runs consumers of one group, one after another, until no further one makes progress.

    Args:
        settings: of each consumer.
        handlers: the application.
        codec: shared by all of them.
        cluster: what they consume from, in memory.
        seconds: time limit for all of them together.
    """

    def __init__(
        self, settings: Settings, handlers: Handlers, codec: Codec, cluster: MemoryCluster, seconds: float
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._codec = codec
        self._cluster = cluster
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self.events: list[Event] = []

    def run(self) -> int:
        """Return the exit code of the last one."""
        topics = self._settings.topics
        exit_code = self._run_to_end()
        # A consumer stops at the ends that the partitions had when it started.
        while not all(map(self._cluster.is_done, topics)):
            before = self._cluster.state()
            exit_code = self._run_to_end()
            if self._cluster.state() == before:  # the remaining tasks wait for branches that are dead letters
                break
        return exit_code

    def _run_to_end(self) -> int:
        source, sink = MemorySource(self._cluster, self._settings.topics), MemorySink(self._cluster)
        source.longest_wait = IDLE_SECONDS
        consumer = Consumer(self._settings, self._handlers, source, sink, self._codec, self.events.append)
        status = self._run_in_time(consumer)
        if status.recycle or not status.finished:
            raise ProcessorError(f"the consumer ended before the last task: {_why(self.events)}")
        return status.exit_code

    def _run_in_time(self, consumer: Consumer) -> ExitStatus:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            consumer.request_stop_now(f"not done within {self._seconds:g} s")

        timer = threading.Timer(self._deadline - time.monotonic(), give_up)
        timer.daemon = True
        timer.start()
        try:
            status = consumer.run()
        finally:
            timer.cancel()
        if late.is_set() and not status.finished:
            raise TimeoutError(f"not every task was settled within {self._seconds:g} seconds")
        return status


def _why(events: Sequence[Event]) -> str:
    reasons = [getattr(event, "reason", None) or getattr(event, "error", None) for event in events]
    return next((str(reason) for reason in reversed(reasons) if reason), "its log has no reason")


class _RememberingCodec:
    """The real codec, which also collects the return values of handlers."""

    def __init__(self, real: ValueCodec) -> None:
        self.real = real
        self.results: list[Any] = []
        self.passes_values = real.passes_values
        self.decode: Callable[[Record], Any] = real.decode

    def encode_result(self, task: Any, result: Any) -> bytes:
        encoded = self.real.encode_result(task, result)
        self.results.append(result)
        return encoded
