"""Faults of fleets, brokers and the wire between them, as functions of a storm.

Each function repairs the damage that it does, so that a round can end.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.storm import Storm
from tests.support.until import until

REFUSALS = (3, 7, 12, 14, 15, 16, 22, 25, 27, 28, 30, -1)
"""Error codes of Kafka's protocol with which a group coordinator can answer a commit."""


def stop_and_start(storm: Storm) -> None:
    """A deployment: one fleet stops gracefully, another starts."""
    fleet = storm.any_fleet()
    assert fleet.stop() == 0
    storm.drop(fleet)


def churn(storm: Storm) -> None:
    """Consumers join, and leave after half a second."""
    for _ in range(3):
        fleet = storm.start()
        time.sleep(0.5)
        fleet.signal(signal.SIGTERM)
        fleet.wait()
        storm.fleets.remove(fleet)


def sigterm_storm(storm: Storm) -> None:
    """Repeated signals of an impatient operator: the second one stops the fleet immediately."""
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
    """SIGKILL for one consumer, which its fleet replaces."""
    consumer = storm.any_consumer()
    storm.work.deaths[consumer.pid] = time.monotonic_ns()
    consumer.kill()


def kill_a_fleet(storm: Storm) -> None:
    """SIGKILL for a supervisor and all its consumers."""
    fleet = storm.any_fleet()
    storm.work.kill(fleet)
    storm.drop(fleet)


def kill_all_fleets(storm: Storm) -> None:
    """SIGKILL for all fleets."""
    for fleet in list(storm.fleets):
        storm.work.kill(fleet)
    for fleet in list(storm.fleets):
        storm.drop(fleet)


def pause_a_consumer(storm: Storm) -> None:
    """SIGSTOP for longer than the group waits for a silent member, then SIGCONT."""
    consumer = storm.any_consumer()
    consumer.suspend()
    storm.rest(storm.session_seconds + 0.5, storm.session_seconds + 3.5)
    storm.work.wake(consumer)


def kill_the_broker(storm: Storm) -> None:
    """SIGKILL for the only broker, which is coordinator and controller; it restarts with the same data."""
    storm.world.broker.kill()
    storm.rest(0.0, 1.0)
    storm.world.broker.start()


def a_minute_without_a_broker(storm: Storm) -> None:
    """A broker outage longer than any session: all consumers have lost their partitions when the broker returns."""
    storm.world.broker.kill()
    time.sleep(60)
    storm.world.broker.start()


def pause_the_broker(storm: Storm) -> None:
    """SIGSTOP for the broker: its connections stay open, but it does not respond."""
    storm.world.broker.pause()
    storm.rest(1.0, 10.0)
    storm.world.broker.resume()


def cut_the_wire(storm: Storm) -> None:
    """Every connection is closed, and no new one is accepted."""
    with storm.world.wire.cut():
        storm.rest(0.5, 10.0)


def silence_the_wire(storm: Storm) -> None:
    """No data are forwarded in either direction."""
    storm.world.wire.silent = True
    storm.rest(0.5, 10.0)
    storm.world.wire.silent = False


def slow_the_wire(storm: Storm) -> None:
    """Half a second of delay on every request."""
    storm.world.wire.delay = 0.5
    storm.rest(3.0, 5.0)
    storm.world.wire.delay = 0.0


def refuse_commits(storm: Storm) -> None:
    """The coordinator refuses commits, for any reason that it can have."""
    wire = storm.world.wire
    for _ in range(3):
        wire.refuse_commits(storm.chance.choice(REFUSALS), 2)
        storm.rest(0.1, 0.4)
    until(lambda: not wire.has_refusals, "commits come, and are refused")


def everything(storm: Storm) -> None:
    """One of the other faults at random, except `pause_a_consumer` and `a_minute_without_a_broker`."""
    others = {everything, pause_a_consumer, a_minute_without_a_broker}
    storm.chance.choice([fault.inject for fault in FAULTS if fault.inject not in others])(storm)


class Fault(NamedTuple):
    """A fault and its permitted consequences."""

    inject: Callable[[Storm], None]
    bound: str
    """A description of the tasks that may run again."""
    in_process: bool = False
    """Whether a surviving process may step back to the committed offsets, since it lost its partitions for a while."""
    most: int = 3
    """How often the fault occurs in one round at most."""


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
