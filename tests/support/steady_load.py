"""A steady stream of tasks, and how long each task waited for its handler."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from tests.support import cluster
from tests.support.ledger import Entry, Place
from tests.support.scenario import Scenario
from tests.support.stalls import Stalls

SESSIONS = 300
FLUSH_SECONDS = 30.0


class Waits(NamedTuple):
    """Seconds from the production of tasks to the first start of their handlers."""

    tasks: int
    p50: float
    p99: float
    longest: float


class SteadyLoad:
    """Produces `rate` tasks per second in `SESSIONS` sessions from its own thread, until it is stopped."""

    def __init__(self, work: Scenario, rate: float, stalls: Stalls | None = None) -> None:
        """With `stalls`, waits do not include the time in which the machine was stalled."""
        self.produced: dict[Place, int] = {}
        """When each task was handed to the client, in nanoseconds of CLOCK_MONOTONIC."""
        self._work = work
        self._rate = rate
        self._stalls = stalls
        self._chance = random.Random(1)
        self._unplaced: list[int] = []
        """When tasks with unknown offsets were produced: a broker detected a repeated request."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._produce)
        self._producer = Producer(
            {
                "bootstrap.servers": work.servers,
                "partitioner": "murmur2_random",
                "linger.ms": 1,
                "log_level": 0,
                "enable.idempotence": True,
            }
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stops the stream, and adds its tasks to the scenario's."""
        self._ended.set()
        self._thread.join()
        assert self._producer.flush(FLUSH_SECONDS) == 0, "some tasks of the stream were not acknowledged"
        if self._unplaced:
            self._find_repeats()
        self._work.places += list(self.produced)

    def _find_repeats(self) -> None:
        """Finds the tasks with unknown offsets: they are the only records in the topic that are not known."""
        known = {*self.produced, *self._work.places}
        records = cluster.read_all(self._work.servers, self._work.topic)
        records.sort(key=lambda record: record.timestamp())
        places = [Place(self._work.topic, record.partition() or 0, record.offset() or 0) for record in records]
        found = [place for place in places if place not in known]
        self.produced.update(zip(found, sorted(self._unplaced), strict=True))

    def waits(self, entries: Iterable[Entry], since: int = 0, places: Sequence[Place] | None = None) -> Waits:
        """Return how long the tasks waited that were produced after `since` (nanoseconds of CLOCK_MONOTONIC)."""
        began: dict[Place, int] = {}
        for entry in entries:
            if entry.kind == "start":
                began.setdefault(entry.place, entry.at)
        chosen = self.produced if places is None else places
        waits = sorted(self._seconds(self.produced[p], began[p]) for p in chosen if self.produced[p] >= since)
        return Waits(len(waits), waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1])

    def _seconds(self, produced: int, began: int) -> float:
        stalled = self._stalls.seconds(produced, began) if self._stalls is not None else 0.0
        return (began - produced) / 1e9 - stalled

    def _produce(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            key = b"s%d" % self._chance.randrange(SESSIONS)
            self._producer.produce(self._work.topic, key=key, value=b"", on_delivery=self._note(time.monotonic_ns()))
            self._producer.poll(0)
            due += 1 / self._rate
            time.sleep(max(0.0, due - time.monotonic()))

    def _note(self, at: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            assert error is None, f"a task of the stream could not be produced: {error}"
            assert partition is not None
            if offset is None:
                self._unplaced.append(at)
            else:
                self.produced[Place(self._work.topic, partition, offset)] = at

        return delivered


@contextmanager
def steady_load(work: Scenario, rate: float, stalls: Stalls | None = None) -> Iterator[SteadyLoad]:
    """Produce a stream of tasks inside the `with` block."""
    load = SteadyLoad(work, rate, stalls)
    load.start()
    try:
        yield load
    finally:
        load.stop()
