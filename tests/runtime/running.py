"""A real consumer on the in-memory Kafka, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from processor.processor import Processor
from processor.runtime.consumer import Consumer, ExitStatus
from processor.runtime.ports import MapLog
from processor.settings import Settings
from processor.telemetry.events import Event
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, TOPIC, FakeCodec
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSink, ScriptedSource
from tests.support.until import until

E = TypeVar("E", bound=Event)

SECONDS = 60.0
"""How long a test waits for anything."""


class RunningConsumer:
    """Runs from entering to leaving. It is its group's only member, of a topic `t`, which has one partition."""

    def __init__(
        self,
        app: object,
        *,
        cluster: ScriptedCluster | None = None,
        partitions: int = 1,
        codec: FakeCodec | None = None,
        events: list[Event] | None = None,
        map_log: Callable[[ScriptedCluster], MapLog] | None = None,
        **options: Any,
    ) -> None:
        """`cluster` has the topic already. Events are appended to `events`.

        `map_log` opens its progress topic.
        """
        chosen: dict[str, Any] = {
            "topics": (TOPIC,), "group": "g", "workers": 8, "backoff": 0.0, "backoff_max": 0.0,
            "commit_interval": 0.01, "drain_timeout": 10.0,
        }  # fmt: skip
        settings = Settings(**(chosen | options))
        self.cluster = cluster or ScriptedCluster()
        if cluster is None:
            self.cluster.create_topic(TOPIC, partitions)
        self.source = ScriptedSource(self.cluster, settings.topics)
        self.sink, self.codec = ScriptedSink(self.cluster), codec or FakeCodec()
        self.events: list[Event] = [] if events is None else events
        self.status: ExitStatus | None = None
        self.consumer = Consumer(settings, Processor.of(app), self.source, self.sink, self.codec, self.events.append)
        if map_log is not None:
            self.consumer.write_maps_to(map_log(self.cluster))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.status is None:
            self.stop()

    def stop(self) -> ExitStatus:
        """Requests an orderly stop, and waits for the end."""
        self.consumer.request_stop("the test is over")
        return self.wait()

    def wait(self) -> ExitStatus:
        """Waits until it ends by itself."""
        self._thread.join(SECONDS)
        assert self.status is not None, "the consumer did not end"
        return self.status

    def push(self, *records: MemoryRecord) -> None:
        """Appends records to the topic."""
        self.cluster.append(*records)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def until_event(self, kind: type[E], condition: Callable[[E], object] = lambda event: True) -> E:
        """Waits for an event of this kind that meets the condition, and returns the first."""
        return until(lambda: next(filter(condition, self.of(kind)), None), kind.__name__, SECONDS)

    def settled(self, count: int) -> None:
        """Waits until this many tasks are settled and none runs."""
        until(lambda: self.consumer.pulse().running == 0 and self.consumer.pulse().settled >= count)

    def until_settled(self, count: int) -> None:
        """Waits until this many tasks are settled. Others may still run."""
        until(lambda: self.consumer.pulse().settled >= count, f"{count} tasks settle", SECONDS)

    def until_it_drains(self) -> None:
        """Waits until a stop keeps every assigned partition from beginning a task. `ConsumerStopping` comes before."""
        ledgers = self.consumer._desk._shared.assignment.ledgers
        until(lambda: ledgers and not any(ledger.may_begin for ledger in list(ledgers.values())), "it drains", SECONDS)

    def commit_point(self, partition: int = 0) -> int | None:
        """Return the offset that the group has committed."""
        commit = self.cluster.committed.get(PARTITION._replace(number=partition))
        return commit.offset if commit else None

    def _run(self) -> None:
        self.status = self.consumer.run()
