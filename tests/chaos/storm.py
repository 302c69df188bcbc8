"""One round of chaos: a stream of tasks, fleets that work on them, and what is done to both.

Faults are named functions of a storm; whatever they break they mend, so that a round can end.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
from confluent_kafka import KafkaException

from tests.chaos.scenes import NOTICED_SOON
from tests.support import cluster
from tests.support.java_broker import JavaBroker
from tests.support.ledger import Finding, Place
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.wire import Wire

BATCH = 120
BATCHES = 16
SESSIONS = 60
PARTITIONS = 8
ROUND_SECONDS = 90.0
"""How long everything may take to be done once the last fault is mended."""

REFUSALS = (3, 7, 12, 14, 15, 16, 22, 25, 27, 28, 30, -1)
"""Error codes of Kafka's protocol that a group coordinator answers to a commit."""


class World(NamedTuple):
    """What all rounds share: a broker, and the wire over which fleets reach it."""

    broker: JavaBroker
    wire: Wire


class Outcome(NamedTuple):
    """How a round ended."""

    tasks: int
    repeated: int
    faults: dict[str, list[Finding]]


class Storm:
    """A round. Everything random in it comes from its seed."""

    def __init__(self, world: World, name: str, seed: str, folder: Path, stack: ExitStack) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.protocol = self.chance.choice(("classic", "consumer"))
        topic = cluster.create_topic(world.broker.bootstrap_servers, name, PARTITIONS)
        cluster.create_topic(world.broker.bootstrap_servers, f"{name}.dlq", 1)

        def start(app: str, *options: str, **more: object) -> Fleet:
            return stack.enter_context(Fleet(app, *options, folder=folder, **more))  # type: ignore[arg-type]

        self.work = Scenario(world.broker, topic, topic, folder, start, servers_of_fleets=world.wire.address)
        self.fleets: list[Fleet] = []
        self.known: dict[Place, int] = {}
        """When the group was first seen to know that a task is done: nanoseconds of CLOCK_MONOTONIC."""
        self._rejected: set[Place] = set()
        self._weights = [1 / rank for rank in range(1, SESSIONS + 1)]
        self._over = threading.Event()

    # --- what faults use ---------------------------------------------------------------------------

    def start(self) -> Fleet:
        """One more fleet, which is up: before that a signal ends Python itself, and a broker that is away the fleet."""
        options: tuple[str, ...] = ("-w", "8", "--backoff", "0.02", "--group-protocol", self.protocol)
        options += ("--commit-interval", "0.2", "-p", str(self.chance.choice((1, 2))))
        options += NOTICED_SOON if self.protocol == "classic" else ()
        fleet = self.work.run("fail", *options, seconds=0.004)
        fleet.wait_for("fleet.started", ROUND_SECONDS)
        self.fleets.append(fleet)
        return fleet

    def drop(self, fleet: Fleet) -> None:
        """It is gone; another takes its place."""
        self.fleets.remove(fleet)
        self.start()

    def any_fleet(self) -> Fleet:
        return self.chance.choice(self.fleets)

    def any_consumer(self) -> psutil.Process | None:
        consumers = [pid for fleet in self.fleets for pid in fleet.consumers()]
        return psutil.Process(self.chance.choice(consumers)) if consumers else None

    def rest(self, least: float, most: float) -> None:
        """Time passes, as much as chance has it: this is no wait for anything."""
        time.sleep(self.chance.uniform(least, most))

    # --- the round ---------------------------------------------------------------------------------

    def play(self, fault: Fault, times: int) -> Outcome:
        """Two fleets, a stream of tasks, and the fault so many times; then everything must come to its end."""
        self.start()
        self.start()
        helpers = [threading.Thread(target=work, daemon=True) for work in (self._produce, self._watch)]
        for helper in helpers:
            helper.start()
        self.work.wait_begun(1, ROUND_SECONDS)
        for _ in range(times):
            self.rest(0.1, 1.0)
            fault.inject(self)
        helpers[0].join(ROUND_SECONDS)
        assert len(self.work.places) == BATCH * BATCHES, "the stream of tasks did not come to its end"
        self._await_end()
        self._over.set()
        helpers[1].join(ROUND_SECONDS)
        for fleet in self.fleets:
            assert fleet.stop() == 0, "a fleet did not stop in order"
        return self._outcome(fault)

    def _produce(self) -> None:
        for _ in range(BATCHES):
            rows = [(self._session(), self._payload()) for _ in range(BATCH)]
            first = len(self.work.places)
            self.work.produce(rows, seconds=ROUND_SECONDS, enable_idempotence=True, retries=1000)
            placed = zip(self.work.places[first:], rows, strict=True)
            self._rejected |= {place for place, (_, payload) in placed if payload == b"rejected"}
            time.sleep(0.1)

    def _session(self) -> bytes:
        return b"s%d" % self.chance.choices(range(SESSIONS), self._weights)[0]

    def _payload(self) -> bytes:
        return self.chance.choices((b"works", b"fails twice", b"rejected"), (96, 2, 2))[0]

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
        faults |= _some("dead-lettered without need", [Finding("it works", p) for p in letters - self._rejected])
        faults |= _some("no dead letter", [Finding("it was rejected", p) for p in self._rejected - letters])
        return Outcome(len(self.work.places), len(self.work.repeated()), faults)

    def _needless(self) -> list[Finding]:
        starts = [entry for entry in self.work.own_entries() if entry.kind == "start"]
        late = [entry for entry in starts if entry.at > self.known.get(entry.place, entry.at)]
        return [Finding("it ran though the group knew that it was done", entry.place, entry.session) for entry in late]


def _some(what: str, findings: list[Finding]) -> dict[str, list[Finding]]:
    return {what: findings[:10]} if findings else {}


# --- faults ----------------------------------------------------------------------------------------


def stop_and_start(storm: Storm) -> None:
    """A deployment: one fleet stops in order, another starts."""
    fleet = storm.any_fleet()
    assert fleet.stop() == 0
    storm.drop(fleet)


def churn(storm: Storm) -> None:
    """Consumers come and go every half second."""
    for _ in range(3):
        fleet = storm.start()
        time.sleep(0.5)
        fleet.signal(signal.SIGTERM)
        fleet.wait()
        storm.fleets.remove(fleet)


def sigterm_storm(storm: Storm) -> None:
    """Whoever is impatient signals again and again; the second one means: at once."""
    fleet = storm.any_fleet()
    for _ in range(4):
        try:
            fleet.signal(signal.SIGTERM)
        except ProcessLookupError:
            break
        storm.rest(0.0, 0.05)
    fleet.wait()
    storm.drop(fleet)


def kill_a_consumer(storm: Storm) -> None:
    """kill -9 of one consumer; its fleet replaces it."""
    consumer = storm.any_consumer()
    if consumer is not None:
        consumer.kill()
        storm.work.deaths[consumer.pid] = time.monotonic_ns()


def kill_a_fleet(storm: Storm) -> None:
    """kill -9 of a supervisor and all that it has."""
    fleet = storm.any_fleet()
    storm.work.kill(fleet)
    storm.drop(fleet)


def kill_all_fleets(storm: Storm) -> None:
    """kill -9 of everything that consumes."""
    for fleet in list(storm.fleets):
        storm.work.kill(fleet)
    for fleet in list(storm.fleets):
        storm.drop(fleet)


def pause_a_consumer(storm: Storm) -> None:
    """SIGSTOP for longer than the group waits, and SIGCONT."""
    consumer = storm.any_consumer()
    if consumer is not None:
        consumer.suspend()
        storm.rest(3.5, 6.5)
        storm.work.woken.append((consumer.pid, time.monotonic_ns()))
        consumer.resume()


def kill_the_broker(storm: Storm) -> None:
    """kill -9 of the only broker, coordinator and controller; it comes back on the same data."""
    storm.world.broker.kill()
    storm.rest(0.0, 1.0)
    storm.world.broker.start()


def a_minute_without_a_broker(storm: Storm) -> None:
    """Longer than any session: everybody has lost everything when it is back."""
    storm.world.broker.kill()
    time.sleep(60)
    storm.world.broker.start()


def pause_the_broker(storm: Storm) -> None:
    """SIGSTOP of the broker: its connections stay open and nobody answers."""
    storm.world.broker.pause()
    storm.rest(1.0, 5.0)
    storm.world.broker.resume()


def cut_the_wire(storm: Storm) -> None:
    """Every connection is closed, and none is taken."""
    with storm.world.wire.cut():
        storm.rest(0.5, 5.0)


def silence_the_wire(storm: Storm) -> None:
    """Nothing comes through any more, in either direction."""
    storm.world.wire.silent = True
    storm.rest(0.5, 5.0)
    storm.world.wire.silent = False


def slow_the_wire(storm: Storm) -> None:
    """Half a second on every request."""
    storm.world.wire.delay = 0.5
    storm.rest(3.0, 5.0)
    storm.world.wire.delay = 0.0


def refuse_commits(storm: Storm) -> None:
    """The coordinator refuses, for whatever reason it can have."""
    for _ in range(3):
        storm.world.wire.refuse_commits(storm.chance.choice(REFUSALS), 2)
        storm.rest(0.1, 0.4)


def everything(storm: Storm) -> None:
    """Any of the others."""
    others = {everything, pause_a_consumer, a_minute_without_a_broker}
    storm.chance.choice([fault.inject for fault in FAULTS if fault.inject not in others])(storm)


class Fault(NamedTuple):
    """A fault, and what it may lead to."""

    inject: Callable[[Storm], None]
    bound: str
    """What may run again."""
    in_process: bool = False
    """Whether a process that lives on may start again from what is committed: it lost its partitions for a while."""
    most: int = 3
    """How often in one round."""


UNCOMMITTED = "what ran since the last commit"

FAULTS: tuple[Fault, ...] = (
    Fault(stop_and_start, "nothing"),
    Fault(churn, "nothing"),
    Fault(sigterm_storm, UNCOMMITTED),
    Fault(kill_a_consumer, UNCOMMITTED),
    Fault(kill_a_fleet, UNCOMMITTED),
    Fault(kill_all_fleets, UNCOMMITTED),
    Fault(pause_a_consumer, UNCOMMITTED, in_process=True),
    Fault(kill_the_broker, UNCOMMITTED, in_process=True),
    Fault(a_minute_without_a_broker, UNCOMMITTED, in_process=True, most=1),
    Fault(pause_the_broker, UNCOMMITTED, in_process=True),
    Fault(cut_the_wire, UNCOMMITTED, in_process=True),
    Fault(silence_the_wire, UNCOMMITTED, in_process=True),
    Fault(slow_the_wire, UNCOMMITTED, in_process=True),
    Fault(refuse_commits, UNCOMMITTED, in_process=True),
    Fault(everything, UNCOMMITTED, in_process=True),
)
