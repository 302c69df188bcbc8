"""A real consumer on fake ports, in a thread of its own."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, TypeVar

from processor.processor import Processor
from processor.runtime.consumer import Consumer, ExitStatus
from processor.settings import Settings
from processor.telemetry.events import Event
from tests.runtime.fakes import PARTITION, FakeCodec, FakeRecord, FakeSink, FakeSource
from tests.support.until import until

E = TypeVar("E", bound=Event)


class RunningConsumer:
    """Runs from entering to leaving; partition 0 of topic `t` is assigned at its start."""

    def __init__(self, app: object, **options: Any) -> None:
        chosen: dict[str, Any] = {
            "topics": ("t",), "group": "g", "workers": 8, "backoff": 0.0, "backoff_max": 0.0,
            "commit_interval": 0.01, "drain_timeout": 10.0,
        }  # fmt: skip
        self.source, self.sink, self.codec = FakeSource(), FakeSink(), FakeCodec()
        self.events: list[Event] = []
        self.ending: ExitStatus | None = None
        self.consumer = Consumer(
            Settings(**(chosen | options)), Processor.of(app), self.source, self.sink, self.codec, self.events.append
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> RunningConsumer:
        self.source.assign()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.ending is None:
            self.stop()

    def stop(self) -> ExitStatus:
        """Stops in order."""
        self.consumer.request_stop("the test is over")
        return self.wait()

    def wait(self) -> ExitStatus:
        """Waits until it ends by itself."""
        self._thread.join(30)
        assert self.ending is not None, "the consumer did not end"
        return self.ending

    def push(self, *records: FakeRecord) -> None:
        self.source.push(*records)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def settled(self, count: int) -> None:
        """Waits until so many tasks are settled and nothing is in flight."""
        until(lambda: self._collected() >= count and self.consumer._desk.in_flight == 0)

    def commit_point(self) -> int | None:
        commit = self.source.committed_now.get(PARTITION)
        return commit.offset if commit else None

    def _collected(self) -> int:
        desk = self.consumer._desk
        desk.commit_points(())  # settles what is done
        return desk.counts.settled

    def _run(self) -> None:
        self.ending = self.consumer.run()
