"""The outputs of a scenario that a reader of committed records sees: one result or dead letter per task.

A result identifies its task by the header `task-id`, which is TOPIC-PARTITION-OFFSET; a dead letter by its `dlq-`
headers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Message

from tests.support import cluster
from tests.support.ledger import Finding, Place
from tests.support.scenario import Scenario
from tests.support.until import until


class Appearance(NamedTuple):
    """One output of a task."""

    place: Place
    """The place of the task."""
    session: str


def results_topic(work: Scenario) -> str:
    """Return the name of the topic for the results of the scenario's fleets."""
    return f"{work.topic}-results"


def exactly_once(work: Scenario) -> tuple[str, ...]:
    """Return the options of a fleet that produces its outputs exactly once, for the checks in this module."""
    return ("--delivery", "exactly-once", "--results-topic", results_topic(work), "--backoff", "0.01")


def results(work: Scenario) -> list[Appearance]:
    """Return the results, by partition and offset."""
    return [_result(message) for message in cluster.read_all(work.servers, results_topic(work))]


def dead_letters(work: Scenario) -> list[Appearance]:
    """Return the dead letters, by partition and offset."""
    return [_dead_letter(message) for message in cluster.read_all(work.servers, f"{work.topic}.dlq")]


def wait_for_all(work: Scenario, seconds: float = 90.0) -> None:
    """Waits until each task has an output."""
    wanted = set(work.places)

    def there() -> bool:
        return wanted <= {output.place for output in results(work) + dead_letters(work)}

    until(there, "each task has an output", seconds, pause=0.2)


def wrong(work: Scenario) -> dict[str, list[Finding]]:
    """Return violations: tasks without an output or with more than one, and outputs of a session out of order."""
    seen = [results(work), dead_letters(work)]
    times: dict[Place, int] = defaultdict(int)
    for output in [output for outputs in seen for output in outputs]:
        times[output.place] += 1
    found = {
        "lost": [Finding("no output", place) for place in work.places if not times[place]],
        "twice": [Finding(f"{count} outputs", place) for place, count in times.items() if count > 1],
        "out of order": [finding for outputs in seen for finding in _out_of_order(outputs)],
    }
    return {what: findings[:10] for what, findings in found.items() if findings}


def _out_of_order(outputs: Sequence[Appearance]) -> list[Finding]:
    """Return the outputs that follow an output of a later task of the same session."""
    last: dict[tuple[str, int], int] = {}
    found = []
    for place, session in outputs:
        lane = session, place.partition
        if session and place.offset < last.get(lane, -1):
            found.append(Finding("it came after a later one", place, session))
        last[lane] = max(place.offset, last.get(lane, -1))
    return found


def _result(message: Message) -> Appearance:
    topic, partition, offset = cluster.headers_of(message)["task-id"].decode().rsplit("-", 2)
    return Appearance(Place(topic, int(partition), int(offset)), _session(message))


def _dead_letter(message: Message) -> Appearance:
    headers = cluster.headers_of(message)
    place = Place(headers["dlq-topic"].decode(), int(headers["dlq-partition"]), int(headers["dlq-offset"]))
    return Appearance(place, _session(message))


def _session(message: Message) -> str:
    key = message.key()
    return key.decode() if isinstance(key, bytes) else ""
