"""What is done to fleets, brokers and the wire between them: named functions of a storm.

Whatever they break they mend, so that a round can end.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.storm import Storm
from tests.support.until import until

REFUSALS = (3, 7, 12, 14, 15, 16, 22, 25, 27, 28, 30, -1)
"""Error codes of Kafka's protocol that a group coordinator answers to a commit."""


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
    storm.work.deaths[consumer.pid] = time.monotonic_ns()
    consumer.kill()


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
    consumer.suspend()
    storm.rest(storm.session_seconds + 0.5, storm.session_seconds + 3.5)
    storm.work.wake(consumer)


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
    """SIGSTOP of the broker: its connections stay open without a response."""
    storm.world.broker.pause()
    storm.rest(1.0, 10.0)
    storm.world.broker.resume()


def cut_the_wire(storm: Storm) -> None:
    """Every connection is closed, and none is taken."""
    with storm.world.wire.cut():
        storm.rest(0.5, 10.0)


def silence_the_wire(storm: Storm) -> None:
    """Nothing comes through any more, in either direction."""
    storm.world.wire.silent = True
    storm.rest(0.5, 10.0)
    storm.world.wire.silent = False


def slow_the_wire(storm: Storm) -> None:
    """Half a second on every request."""
    storm.world.wire.delay = 0.5
    storm.rest(3.0, 5.0)
    storm.world.wire.delay = 0.0


def refuse_commits(storm: Storm) -> None:
    """The coordinator refuses, for whatever reason it can have."""
    wire = storm.world.wire
    for _ in range(3):
        wire.refuse_commits(storm.chance.choice(REFUSALS), 2)
        storm.rest(0.1, 0.4)
    until(lambda: not wire.has_refusals, "commits come, and are refused")


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
