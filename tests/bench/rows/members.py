"""The cost of members that join, leave and die under a steady load: how long tasks wait, and which tasks run again.

Every figure is read from the ledger that the handlers write. This process also produces the load, on the same cores as
brokers and consumers, so that while it measures it reads only new entries of the ledger.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.row import Row
from tests.bench.stage import ArmFailed, Stage
from tests.bench.statistics import Figures, Measure, figure
from tests.support import ledger
from tests.support.broker import GivenBroker
from tests.support.cluster import create_topic
from tests.support.ledger import Follower
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.steady_load import SteadyLoad, steady_load
from tests.support.until import until

OPTIONS = ("-w", "16", "--stats-interval", "10")
"""A scenario would set `--stats-interval 1`, which is more often than a consumer reports by default."""

PROTOCOLS = {"classic": "classic", "consumer": "KIP-848"}
RATE, PARTITIONS = 300, 12
JOIN_SECONDS = 90.0
"""A member that joins after a death waits until the dead member's session expires."""

LATER_SECONDS = 5.0
"""The time after a dead member's partitions are served again. Later waits are not due to its death."""


class Group(NamedTuple):
    """Fleets of one group, on a topic of twelve partitions whose tasks take 5 to 40 ms."""

    work: Scenario
    protocol: str

    def start(self, consumers: int) -> Fleet:
        """Starts a fleet, and returns at once."""
        return self.work.run("vary", "-p", str(consumers), *OPTIONS, "--group-protocol", self.protocol)

    def fleet(self, consumers: int = 1) -> Fleet:
        """Starts a fleet, and returns once all its consumers have partitions."""
        fleet = self.start(consumers)
        until(lambda: all(map(fleet.partitions_of, range(consumers))), "the fleet has partitions", JOIN_SECONDS, 0.05)
        return fleet

    def stop(self, fleet: Fleet) -> None:
        """Stops a fleet gracefully.

        Raises:
            ArmFailed: its exit code is not 0.
        """
        if code := fleet.stop():
            raise ArmFailed(f"a clean stop ended with exit code {code}; {fleet.last_words}")


@contextmanager
def _group(stage: Stage, protocol: str) -> Iterator[Group]:
    folder = Path(tempfile.mkdtemp(dir=stage.folder))
    topic = create_topic(stage.servers, stage.name("members"), PARTITIONS)
    with ExitStack() as fleets:

        def start(app: str, *options: str, **more: Any) -> Fleet:
            return fleets.enter_context(Fleet(app, *options, folder=folder, **more))

        yield Group(Scenario(GivenBroker(stage.servers), topic, topic, folder, start), protocol)


def _figures(work: Scenario, load: SteadyLoad, since: int, died: Collection[int] = ()) -> dict[str, float]:
    """Return the figures of a completed load: waits of the tasks produced after `since`, and tasks repeated or lost."""
    entries = work.ledger.entries()
    waits = load.waits(entries, since)
    return {
        "tasks": waits.tasks,
        "p99_s": waits.p99,
        "longest_s": waits.longest,
        "again": len(ledger.repeated(entries, died)),
        "again_after_death": len(ledger.repeated(entries)) - len(ledger.repeated(entries, died)),
        "lost": len(ledger.lost(entries, work.places)),
    }


# --- members that are replaced ---------------------------------------------------------------------------------------


def _replaced(stage: Stage, protocol: str) -> Figures:
    """Replaces two consumers one after the other; each leaves gracefully after its replacement has joined."""
    settled = stage.seconds(3.0, 1.5)
    with _group(stage, protocol) as group:
        fleets = [group.fleet(), group.fleet()]
        time.sleep(settled)
        with steady_load(group.work, RATE) as load:
            group.work.wait_begun(RATE)
            began = time.monotonic_ns()
            for place in range(2):
                replacement = group.fleet()
                time.sleep(settled)
                group.stop(fleets[place])
                fleets[place] = replacement
                time.sleep(settled)
        _finish(group, fleets)
        return _figures(group.work, load, began)


def _finish(group: Group, fleets: Collection[Fleet]) -> None:
    group.work.wait_done(len(group.work.places), JOIN_SECONDS)
    group.work.wait_lag(0)
    for fleet in fleets:
        group.stop(fleet)


# --- one consumer of a fleet that dies -------------------------------------------------------------------------------


def _killed(stage: Stage, protocol: str) -> Figures:
    """Kills one of a fleet's three consumers with SIGKILL, as the kernel does when memory runs out."""
    with _group(stage, protocol) as group:
        fleet = group.fleet(3)
        shared = partial(_is_shared, fleet)
        until(shared, "the consumers share the partitions", JOIN_SECONDS, 0.05)
        time.sleep(stage.seconds(3.0, 1.5))
        with steady_load(group.work, RATE) as load:
            group.work.wait_begun(RATE)
            mine = fleet.partitions_of(1)
            pid = fleet.heard("consumer.started", consumer=1)[-1]["pid"]
            died_at = time.monotonic_ns()
            os.kill(pid, signal.SIGKILL)
            served_at = _served(group.work, mine, died_at, {pid})
            time.sleep(LATER_SECONDS)
        _finish(group, [fleet])
        return _figures(group.work, load, died_at, {pid}) | _after_death(group.work, load, mine, died_at, served_at)


def _is_shared(fleet: Fleet) -> bool:
    return [len(fleet.partitions_of(consumer)) for consumer in range(3)] == [PARTITIONS // 3] * 3


def _served(work: Scenario, partitions: Collection[int], died_at: int, dead: Collection[int]) -> int:
    """Waits until living processes have begun a task of each partition since the death.

    Returns the time at which the last of these partitions was served again.
    """
    follower, begun = Follower(work.ledger.path), dict[int, int]()

    def are_served() -> bool:
        for entry in follower.read():
            if entry.kind == "start" and entry.at > died_at and entry.pid not in dead:
                begun[entry.partition] = min(entry.at, begun.get(entry.partition, entry.at))
        return begun.keys() >= set(partitions)

    until(are_served, "the partitions of the dead consumer are served", JOIN_SECONDS, 0.25)
    return max(begun[partition] for partition in partitions)


def _after_death(
    work: Scenario, load: SteadyLoad, partitions: Collection[int], died_at: int, served_at: int
) -> dict[str, float]:
    """Return how long the dead consumer's partitions were not served, and how long tasks of other partitions waited."""
    until_later = served_at + int(LATER_SECONDS * 1e9)
    others = [
        place for place, at in load.produced.items() if died_at < at < until_later and place.partition not in partitions
    ]
    waits = load.waits(work.ledger.entries(), places=others)
    return {
        "still_s": (served_at - died_at) / 1e9,
        "others_p99_s": waits.p99,
        "others_longest_s": waits.longest,
    }


# --- three fleets, all replaced, one of them dead --------------------------------------------------------------------


def _fleets(stage: Stage, protocol: str) -> Figures:
    """Replaces three fleets of two consumers within a minute; the second fleet is killed as a whole."""
    apart = stage.seconds(20.0, 4.0)
    with _group(stage, protocol) as group:
        fleets = [group.fleet(2) for _ in range(3)]
        time.sleep(stage.seconds(3.0, 1.5))
        mine: set[int] = set()
        with steady_load(group.work, RATE) as load:
            group.work.wait_begun(RATE)
            began = died_at = time.monotonic_ns()
            for place in range(3):
                due = time.monotonic() + apart
                if place == 1:
                    mine = fleets[place].partitions_of(0) | fleets[place].partitions_of(1)
                    died_at = time.monotonic_ns()
                    group.work.kill(fleets[place])
                    fleets[place] = group.start(2)
                else:
                    replacement = group.fleet(2)
                    group.stop(fleets[place])
                    fleets[place] = replacement
                time.sleep(max(0.0, due - time.monotonic()))
            served_at = _served(group.work, mine, died_at, group.work.deaths)
            time.sleep(LATER_SECONDS)
        _finish(group, fleets)
        died = group.work.deaths
        return _figures(group.work, load, began, died) | _after_death(group.work, load, mine, died_at, served_at)


SCENES: Mapping[str, Callable[[Stage, str], Figures]] = {"replaced": _replaced, "killed": _killed, "fleets": _fleets}


def _trials(stage: Stage) -> Mapping[str, Callable[[], Figures]]:
    return {
        f"{name} {protocol}": partial(scene, stage, protocol)
        for name, scene in SCENES.items()
        for protocol in PROTOCOLS
    }


def _measures(_: Stage) -> list[Measure]:
    return [measure for protocol in PROTOCOLS for measure in _measures_of(protocol)]


def _measures_of(protocol: str) -> list[Measure]:
    """A dead member's partitions are not served until its session expires.

    There is a bound for this only with the classic protocol, whose session timeout the consumer chooses.
    """
    within_a_fleet, of_a_fleet = (3.0, 23.0) if protocol == "classic" else (None, None)
    rows = [
        ("two replaced", "replaced", "p99", "p99_s", 1.0),
        ("two replaced", "replaced", "the longest", "longest_s", 1.5),
        ("two replaced", "replaced", "lost", "lost", 0.0),
        ("two replaced", "replaced", "run again", "again", 0.0),
        ("one of three killed", "killed", "its partitions stand still", "still_s", within_a_fleet),
        ("one of three killed", "killed", "p99 of the others", "others_p99_s", 1.0),
        ("one of three killed", "killed", "the longest of the others", "others_longest_s", None),
        ("one of three killed", "killed", "lost", "lost", 0.0),
        ("one of three killed", "killed", "run again, done by others", "again", 0.0),
        ("one of three killed", "killed", "run again, done by it", "again_after_death", None),
        ("three fleets, one killed", "fleets", "p99", "p99_s", None),
        ("three fleets, one killed", "fleets", "the longest", "longest_s", of_a_fleet),
        ("three fleets, one killed", "fleets", "its partitions stand still", "still_s", of_a_fleet),
        ("three fleets, one killed", "fleets", "p99 of the others from then on", "others_p99_s", None),
        ("three fleets, one killed", "fleets", "lost", "lost", 0.0),
        ("three fleets, one killed", "fleets", "run again, done by others", "again", 0.0),
        ("three fleets, one killed", "fleets", "run again, done by it", "again_after_death", None),
    ]
    return [
        Measure(
            name=f"{PROTOCOLS[protocol]}, {what}: {name}",
            unit="s" if of.endswith("_s") else "",
            of=figure(f"{scene} {protocol}", of),
            at_most=most,
        )
        for what, scene, name, of, most in rows
    ]


MEMBERS = Row(
    name="members",
    work="members that come, go and die: 300 tasks/s of 5 to 40 ms, 12 partitions",
    trials=_trials,
    measures=_measures,
)
