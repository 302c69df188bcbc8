"""One round of chaos: a stream of tasks, fleets that process them, and a fault from `faults`."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
from confluent_kafka import KafkaException

from tests.chaos.scenes import NOTICED_SOON
from tests.support import appearances, cluster, ledger
from tests.support.java_broker import JavaBroker
from tests.support.ledger import Finding, Place
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.until import until
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.chaos.faults import Fault

BATCH = 120
BATCHES = 8
"""The minimum number of batches: the stream continues while there are faults."""
BATCHES_AFTER = 3
"""The number of batches after the last fault is repaired."""
BACKLOG = 600
"""No batch is produced while this many tasks have not begun. Most waiting tasks belong to the busiest session, which
runs one task at a time. Without this bound, the tasks produced while fleets start would outlast the round."""
HANDLER_SECONDS = 0.02
"""So long that the busiest session has work nearly all the time: a fault at a random time meets a running handler."""
NEAR = 200_000_000
"""Nanoseconds. A fault met work if it occurred during a handler's run, or within this time before or after it."""
SESSIONS = 60
PARTITIONS = 8
EXACTLY_ONCE = 0.5
"""The share of rounds in which outputs are committed with offsets, and a reader of committed records checks them."""
IN_FLIGHT = (20, 10_000)
"""With few tasks in flight, most of a batch waits in the stock while partitions drain and move. With the default, the
whole batch is admitted at once."""
ROUND_SECONDS = 90.0
"""How long all tasks may take to complete after the last fault is repaired."""
SESSION_SECONDS = {"classic": 6.0, "consumer": 8.0}
"""How long the group waits for a silent member; see `NOTICED_SOON` and `PATIENT`."""

PATIENT = {"group.consumer.session.timeout.ms": "8000", "group.consumer.heartbeat.interval.ms": "1500"}
"""A client abandons a heartbeat that takes longer than its interval, and may never learn of a partition in the answer
(docs/RELIABILITY.md). So the interval is longer than the delay of a slow wire. The session timeout exceeds the
consumer's assumption by as much."""


class World(NamedTuple):
    """Shared by all rounds: a broker, and the wire through which fleets reach it."""

    broker: JavaBroker
    wire: Wire


class Outcome(NamedTuple):
    """The result of a round."""

    tasks: int
    met: int
    """Faults that occurred while handlers were running."""
    repeated: int
    faults: dict[str, list[Finding]]
    delivery: str = ""
    """The delivery guarantee of the round."""


class Storm:
    """A round. All its random choices come from its seed."""

    def __init__(self, world: World, name: str, seed: str, folder: Path, stack: ExitStack) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.protocol = self.chance.choice(("classic", "consumer"))
        self.session_seconds = SESSION_SECONDS[self.protocol]
        self.is_exactly_once = self.chance.random() < EXACTLY_ONCE
        """Whether the round runs with exactly-once delivery: each task must have one output."""
        topic = cluster.create_topic(world.broker.bootstrap_servers, name, PARTITIONS)
        cluster.create_topic(world.broker.bootstrap_servers, f"{name}.dlq", 1)

        def start(app: str, *options: str, **more: object) -> Fleet:
            return stack.enter_context(Fleet(app, *options, folder=folder, **more))  # type: ignore[arg-type]

        self.work = Scenario(world.broker, topic, topic, folder, start, servers_of_fleets=world.wire.address)
        self.fleets: list[Fleet] = []
        self.known: dict[Place, int] = {}
        """When each task was first seen committed as done by the group, in nanoseconds of CLOCK_MONOTONIC."""
        self._rejected: set[Place] = set()
        self._weights = [1 / rank for rank in range(1, SESSIONS + 1)]
        # For the thread that produces: it must not consume random numbers of the faults.
        self._tasks_of = random.Random(f"{seed}, its tasks")
        self._instants: list[int] = []
        self._calm = threading.Event()
        """Set once the last fault is repaired."""
        self._streamed = False
        self._over = threading.Event()

    # --- what faults use ---------------------------------------------------------------------------

    def start(self) -> Fleet:
        """Starts another fleet, and returns once it is up.

        Before that, a signal would end Python itself, and an unavailable broker would end the fleet.
        """
        options: tuple[str, ...] = ("-w", "8", "--backoff", "0.02", "--group-protocol", self.protocol)
        options += ("--commit-interval", "0.2", "-p", str(self.chance.choice((1, 2))))
        options += ("--max-in-flight", str(self.chance.choice(IN_FLIGHT)))
        options += NOTICED_SOON if self.protocol == "classic" else ()
        options += appearances.exactly_once(self.work) if self.is_exactly_once else ()
        handler = "fail_or_reply" if self.is_exactly_once else "fail"
        fleet = self.work.run(handler, *options, seconds=HANDLER_SECONDS)
        fleet.wait_for("fleet.started", ROUND_SECONDS)
        self.fleets.append(fleet)
        return fleet

    def drop(self, fleet: Fleet) -> None:
        """Removes a fleet that has ended, and starts another in its place."""
        self.fleets.remove(fleet)
        self.start()

    def any_fleet(self) -> Fleet:
        return self.chance.choice(self.fleets)

    def any_consumer(self) -> psutil.Process:
        """Returns a random consumer that is running. It waits for one, since a new fleet may have none yet."""
        consumers = until(lambda: [pid for fleet in self.fleets for pid in fleet.consumers()], "there is a consumer")
        return psutil.Process(self.chance.choice(consumers))

    def rest(self, least: float, most: float) -> None:
        """Sleeps for a random time. This does not wait for a condition."""
        time.sleep(self.chance.uniform(least, most))

    # --- the round ---------------------------------------------------------------------------------

    def play(self, fault: Fault, times: int) -> Outcome:
        """Runs two fleets and a stream of tasks, and injects the fault `times` times; then all tasks must complete."""
        self.start()
        self.start()
        helpers = [threading.Thread(target=work, daemon=True) for work in (self._produce, self._watch)]
        for helper in helpers:
            helper.start()
        self.work.wait_begun(1, ROUND_SECONDS)
        for _ in range(times):
            self.rest(0.1, 1.0)
            self._await_work()
            self._instants.append(time.monotonic_ns())
            fault.inject(self)
        self._calm.set()
        helpers[0].join(ROUND_SECONDS)
        assert self._streamed, "the stream of tasks did not come to its end"
        self._await_end()
        self._over.set()
        helpers[1].join(ROUND_SECONDS)
        for fleet in self.fleets:
            assert fleet.stop() == 0, "a fleet did not stop in order"
        return self._outcome(fault)

    def _await_work(self) -> None:
        """Waits until a handler is running, but at most 5 s: possibly no consumer has a partition."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            entries = self.work.ledger.entries()
            if 2 * sum(entry.kind == "end" for entry in entries) < len(entries):
                return
            time.sleep(0.02)

    def _produce(self) -> None:
        left = BATCHES_AFTER
        for number in count():
            while self._backlog() >= BACKLOG:
                time.sleep(0.1)
            if number >= BATCHES and not left:
                break
            left -= bool(left and self._calm.is_set())
            rows = [(self._session(), self._payload()) for _ in range(BATCH)]
            first = len(self.work.places)
            self.work.produce(rows, seconds=ROUND_SECONDS, enable_idempotence=True, retries=1000)
            placed = zip(self.work.places[first:], rows, strict=True)
            self._rejected |= {place for place, (_, payload) in placed if payload == b"rejected"}
            time.sleep(0.1)
        self._streamed = True

    def _backlog(self) -> int:
        """Return how many tasks have not begun."""
        begun = {entry.place for entry in self.work.ledger.entries() if entry.kind == "start"}
        return len(self.work.places) - len(begun)

    def _session(self) -> bytes:
        return b"s%d" % self._tasks_of.choices(range(SESSIONS), self._weights)[0]

    def _payload(self) -> bytes:
        return self._tasks_of.choices((b"works", b"fails twice", b"rejected"), (96, 2, 2))[0]

    def _watch(self) -> None:
        while not self._over.wait(0.3):
            try:
                known = self.work.known_done()
            except (KafkaException, TimeoutError):  # the broker is away
                continue
            now = time.monotonic_ns()
            for place in known:
                self.known.setdefault(place, now)

    def _await_end(self) -> None:
        deadline = time.monotonic() + ROUND_SECONDS
        while (lag := self.work.known_lag()) != 0:
            assert time.monotonic() < deadline, f"the lag is {lag} {ROUND_SECONDS:g} s after the last fault"
            time.sleep(0.1)

    def _outcome(self, fault: Fault) -> Outcome:
        letters = self.work.given_up()
        faults = self.work.faults(letters, replays_in_process=fault.in_process)
        faults |= _some("needlessly twice", self._needless())
        if self.is_exactly_once:
            faults |= {f"outputs {what}": found for what, found in appearances.wrong(self.work).items()}
        faults |= _some("dead-lettered without need", [Finding("it works", p) for p in letters - self._rejected])
        faults |= _some("no dead letter", [Finding("it was rejected", p) for p in self._rejected - letters])
        met = self._met()
        delivery = "exactly-once" if self.is_exactly_once else "at-least-once"
        faults |= _some("no fault met the work", [] if met else [Finding("nobody ran", Place(self.work.topic, -1, -1))])
        return Outcome(len(self.work.places), met, len(self.work.repeated()), faults, delivery)

    def _met(self) -> int:
        """Return how many faults occurred while a handler was running, or near a run."""
        runs = ledger.run_spans(self.work.ledger.entries())
        return sum(any(began - NEAR < at < ended + NEAR for began, ended in runs) for at in self._instants)

    def _needless(self) -> list[Finding]:
        starts = [entry for entry in self.work.own_entries() if entry.kind == "start"]
        late = [entry for entry in starts if entry.at > self.known.get(entry.place, entry.at)]
        return [Finding("it ran though the group knew that it was done", entry.place, entry.session) for entry in late]


def _some(what: str, findings: list[Finding]) -> dict[str, list[Finding]]:
    return {what: findings[:10]} if findings else {}
