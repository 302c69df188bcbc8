"""One round of chaos: a stream of tasks, fleets that work on them, and what is done to both, see `faults`."""

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
"""At least so many: the stream goes on while there are faults."""
BATCHES_AFTER = 3
"""So many begin once the last fault is mended."""
BACKLOG = 600
"""No batch begins while so many tasks have not begun. Most of what waits is of the busiest session, one task at a time.
Of a stream without this bound, what comes while fleets start would take longer to be done than a round may last."""
HANDLER_SECONDS = 0.02
"""With it the busiest session has work nearly all the time: a fault at a random instant meets a running handler."""
NEAR = 200_000_000
"""Nanoseconds: a fault met the work if it came during a handler's run, or so near to one."""
SESSIONS = 60
PARTITIONS = 8
EXACTLY_ONCE = 0.5
"""The part of the rounds in which outputs are committed with offsets, and a reader of committed records counts them."""
IN_FLIGHT = (20, 10_000)
"""With few in flight most of a batch waits in the stock, and partitions drain and move while it does; with the default
all of it is admitted at once."""
ROUND_SECONDS = 90.0
"""How long everything may take to be done once the last fault is mended."""
SESSION_SECONDS = {"classic": 6.0, "consumer": 8.0}
"""How long the group waits for a member that is silent: see `NOTICED_SOON`, and `PATIENT`."""

PATIENT = {"group.consumer.session.timeout.ms": "8000", "group.consumer.heartbeat.interval.ms": "1500"}
"""A client gives a heartbeat up that takes longer than its interval, and may never hear of the partition that was the
answer (docs/RELIABILITY.md): the interval is longer than what a slow wire adds. The session is longer by as much than
what a consumer takes it for."""


class World(NamedTuple):
    """What all rounds share: a broker, and the wire over which fleets reach it."""

    broker: JavaBroker
    wire: Wire


class Outcome(NamedTuple):
    """How a round ended."""

    tasks: int
    met: int
    """Faults that came while handlers ran."""
    repeated: int
    faults: dict[str, list[Finding]]
    delivery: str = ""
    """How often an output was to appear."""


class Storm:
    """A round. Everything random in it comes from its seed."""

    def __init__(self, world: World, name: str, seed: str, folder: Path, stack: ExitStack) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.protocol = self.chance.choice(("classic", "consumer"))
        self.session_seconds = SESSION_SECONDS[self.protocol]
        self.is_exactly_once = self.chance.random() < EXACTLY_ONCE
        """Whether each task of the round is to have one output."""
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
        # another thread's: it must not mix with the chance of the faults
        self._tasks_of = random.Random(f"{seed}, its tasks")
        self._instants: list[int] = []
        self._calm = threading.Event()
        """The last fault is mended."""
        self._streamed = False
        self._over = threading.Event()

    # --- what faults use ---------------------------------------------------------------------------

    def start(self) -> Fleet:
        """One more fleet, which is up: before that a signal ends Python itself, and a broker that is away the fleet."""
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
        """It is gone; another takes its place."""
        self.fleets.remove(fleet)
        self.start()

    def any_fleet(self) -> Fleet:
        return self.chance.choice(self.fleets)

    def any_consumer(self) -> psutil.Process:
        """One that is there: the first of a fleet may be on its way still."""
        consumers = until(lambda: [pid for fleet in self.fleets for pid in fleet.consumers()], "there is a consumer")
        return psutil.Process(self.chance.choice(consumers))

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
        """Wait until a handler runs; if no consumer has a partition now, the fault occurs then."""
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
        """Return the number of tasks that have not begun."""
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
        """Number of faults that occurred while a handler was running."""
        runs = ledger.run_spans(self.work.ledger.entries())
        return sum(any(began - NEAR < at < ended + NEAR for began, ended in runs) for at in self._instants)

    def _needless(self) -> list[Finding]:
        starts = [entry for entry in self.work.own_entries() if entry.kind == "start"]
        late = [entry for entry in starts if entry.at > self.known.get(entry.place, entry.at)]
        return [Finding("it ran though the group knew that it was done", entry.place, entry.session) for entry in late]


def _some(what: str, findings: list[Finding]) -> dict[str, list[Finding]]:
    return {what: findings[:10]} if findings else {}
