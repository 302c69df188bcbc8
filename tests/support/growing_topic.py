"""A topic that gains partitions while tasks are produced to it, and the order in which each session's were produced."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from tests.support import cluster, ledger
from tests.support.ledger import Entry, Finding, Place
from tests.support.scenario import Scenario
from tests.support.until import until

FLUSH_SECONDS = 30.0


class Stream:
    """One producer with this project's partitioner, which detects by itself that its topic has new partitions."""

    def __init__(self, work: Scenario, sessions: int, refresh: float = 0.3) -> None:
        """`refresh` is the interval in seconds at which the producer requests the topic's partitions."""
        self.produced: dict[str, list[Place | None]] = defaultdict(list)
        """The places of each session's tasks, in the order in which they were produced."""
        self._work = work
        self._sessions = sessions
        self._count = 0
        self._producer = Producer(
            {
                "bootstrap.servers": work.servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
                "topic.metadata.refresh.interval.ms": int(refresh * 1000),
                "log_level": 0,
            }
        )

    def produce(self, tasks: int, value: bytes = b"") -> None:
        """Produces `tasks` tasks, the sessions in turn."""
        for _ in range(tasks):
            session = f"s{self._count % self._sessions}"
            self._count += 1
            places = self.produced[session]
            places.append(None)
            delivered = self._keep(places, len(places) - 1)
            self._producer.produce(self._work.topic, key=session, value=value, on_delivery=delivered)
            self._producer.poll(0)

    def flush(self) -> None:
        """Waits until all tasks are acknowledged, and sets the scenario's places to theirs."""
        assert self._producer.flush(FLUSH_SECONDS) == 0, "some tasks of the stream were not acknowledged"
        if any(place is None for places in self.produced.values() for place in places):
            self._find_repeats()
        self._work.places = self.places

    def _find_repeats(self) -> None:
        """Finds the tasks that were acknowledged without an offset because a broker detected a repeated request."""
        known = set(self.places)
        records = cluster.read_all(self._work.servers, self._work.topic)
        for record in sorted(records, key=lambda record: record.timestamp()):
            place = Place(self._work.topic, record.partition() or 0, record.offset() or 0)
            if place not in known:
                places = self.produced[(record.key() or b"").decode()]
                places[places.index(None)] = place

    def until_it_knows(self, partitions: int) -> None:
        """Waits until the producer itself knows this number of partitions."""

        def count() -> bool:
            self._producer.poll(0.05)
            return (
                len(self._producer.list_topics(self._work.topic, 30).topics[self._work.topic].partitions) == partitions
            )

        until(count, f"the producer knows {partitions} partitions", 60)

    @contextmanager
    def flowing(self, rate: float) -> Iterator[None]:
        """Produces `rate` tasks per second inside the `with` block."""
        ended = threading.Event()

        def produce() -> None:
            due = time.monotonic()
            while not ended.is_set():
                self.produce(1)
                due += 1 / rate
                time.sleep(max(0.0, due - time.monotonic()))

        thread = threading.Thread(target=produce)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.flush()

    @property
    def places(self) -> list[Place]:
        """The places of all tasks that were acknowledged."""
        return [place for places in self.produced.values() for place in places if place is not None]

    def moved(self) -> int:
        """Return how many sessions have tasks in more than one partition."""
        return sum(len({place.partition for place in places if place}) > 1 for places in self.produced.values())

    def faults(self, given_up: Collection[Place] = (), *, replays_in_process: bool = False) -> dict[str, list[Finding]]:
        """Return the tasks that were lost, out of order or overlapping, over all partitions of each session."""
        numbers = {p: n for places in self.produced.values() for n, p in enumerate(places) if p is not None}
        entries = [_of_session(entry, numbers[entry.place]) for entry in self._work.own_entries()]
        expected = {Place(f"{self._work.topic}/{s}", 0, n) for s, ps in self.produced.items() for n in range(len(ps))}
        dead = {
            Place(f"{self._work.topic}/{s}", 0, n)
            for s, places in self.produced.items()
            for n, place in enumerate(places)
            if place in given_up
        }
        found = {
            "lost": ledger.lost(entries, expected, dead),
            "out of order": ledger.out_of_order(entries, dead, replays_in_process=replays_in_process),
            "overlapping": ledger.overlapping(entries, self._work.deaths),
        }
        return {what: findings[:10] for what, findings in found.items() if findings}

    def _keep(self, places: list[Place | None], index: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            assert error is None, f"a task of the stream could not be produced: {error}"
            assert partition is not None, "a task was acknowledged without a partition"
            if offset is not None:
                places[index] = Place(self._work.topic, partition, offset)

        return delivered


def grow(work: Scenario, partitions: int) -> None:
    """Increases the topic's partitions to this number, and returns once the broker knows them."""
    cluster.grow(work.servers, work.topic, partitions)


def _of_session(entry: Entry, number: int) -> Entry:
    """Return the entry as if the session were its own partition."""
    return msgspec.structs.replace(entry, topic=f"{entry.topic}/{entry.session}", partition=0, offset=number)
