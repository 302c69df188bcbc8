"""Thousands of groups that wait at once: what they take, and that all of them go on once.

`OPEN_GROUPS=100000` is what docs/DEPENDENCIES.md has the figures of; they are printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from processor import Dispatcher, Step, group
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

GROUPS = int(os.environ.get("OPEN_GROUPS", "3000"))
SECONDS = 60.0 + GROUPS / 200
OPTIONS = ("-w", "16", "--max-in-flight", "2000")


def test_thousands_of_waiting_groups_each_continue_once(scenario: MakeScenario, topic: MakeTopic) -> None:
    """The second branch of each is in a topic that the group does not consume at first."""
    work, late, after = scenario(partitions=4), topic(4), topic(1)
    fleet = work.run("nothing", *OPTIONS)
    fleet.wait_for_partitions()
    before = memory_of(fleet)
    with Dispatcher(work.servers, work.topic, value_format="bytes") as dispatcher:
        for n in range(GROUPS):
            branches = [Step(f"a{n}", b""), Step(f"b{n}", b"", topic=late)]
            dispatcher.submit(group(branches, id=f"g-{n}", expires_in=86_400).then(Step(f"c{n}", b"", topic=after)))
    seconds = timed(lambda: fleet.heard("consumer.stats", open_joins=GROUPS))
    told = [f"{GROUPS} groups wait after {seconds:.1f} s, {(memory_of(fleet) - before) / GROUPS / 1000:.2f} KB each"]
    if "OPEN_GROUPS" in os.environ:
        told.append(f"a consumer with them takes {busy(work, fleet):.0%} of a core")
    seconds, verdicts = time.monotonic(), lag(work)
    told.append(f"processor lag takes {time.monotonic() - seconds:.1f} s: {verdicts}")
    assert verdicts.count("joining") == 4
    seconds = time.monotonic()
    assert fleet.stop() == 0
    told.append(f"it stops in {time.monotonic() - seconds:.1f} s")
    fleet = work.run("nothing", *OPTIONS, "-t", late)
    seconds = timed(lambda: sum(cluster.end_offsets(work.servers, after).values()) >= GROUPS)
    told.append(f"all have gone on after {seconds:.1f} s")
    seconds = timed(lambda: work.lag == 0 and cluster.lag(work.servers, work.group, late) == 0)
    told.append(f"and the group has committed that {seconds:.1f} s later")
    assert fleet.stop() == 0
    ids = [cluster.headers_of(record)["task-id"] for record in cluster.read_all(work.servers, after)]
    assert sorted(ids) == sorted(b"g-%d/then" % n for n in range(GROUPS))
    print("\n".join(told))


def memory_of(fleet: Fleet) -> int:
    """Return the resident bytes of its consumers."""
    return sum(psutil.Process(pid).memory_info().rss for pid in fleet.consumers())


def timed(condition: Callable[[], object]) -> float:
    """Waits for the condition. Return the seconds that it took."""
    begun = time.monotonic()
    until(condition, "it comes to that", SECONDS, pause=0.1)
    return time.monotonic() - begun


def busy(work: Scenario, fleet: Fleet) -> float:
    """Return what part of a core the consumer takes while a task comes now and then, so that it commits each second."""
    (pid,) = fleet.consumers()
    process, begun = psutil.Process(pid), time.monotonic()
    before = sum(process.cpu_times()[:2])
    while time.monotonic() < begun + 5:
        work.produce([(b"now and then", b"")])
        time.sleep(0.5)
    return float(sum(process.cpu_times()[:2]) - before) / (time.monotonic() - begun)


def lag(work: Scenario) -> list[str]:
    """Return the verdicts of `processor lag`, each cell's first word."""
    command = [sys.executable, "-m", "processor", "lag", "-b", work.servers, "-g", work.group, "-t", work.topic]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [word for word in table.split() if word in {"joining", "held", "ok", "behind", "stalled"}]
