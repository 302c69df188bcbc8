"""A backlog in one partition holds back no other: against a real broker, counted in tasks and not in seconds."""

from __future__ import annotations

import pytest

from tests.support.ledger import Entry
from tests.support.scenario import MakeScenario, Scenario

BACKLOG = 3_000
SECONDS = 0.03
"""What a task of the backlog takes: the quiet ones are produced while most of it waits, on a slow machine as well."""

QUIET = 10
"""Tasks of each quiet partition, which are produced together: a producer takes a while to connect."""


def done_before(entries: list[Entry], partition: int) -> int:
    """How many tasks of the backlog, in partition 0, had ended when the last task of `partition` did."""
    ends = [entry for entry in entries if entry.succeeded]
    last = max(index for index, entry in enumerate(ends) if entry.place.partition == partition)
    return sum(entry.place.partition == 0 for entry in ends[:last])


def beside_a_backlog(work: Scenario, handler: str, *options: str) -> list[Entry]:
    work.produce(((b"s%d" % (n % 300), b"x" * 100) for n in range(BACKLOG)), partition=0)
    fleet = work.run(handler, "-w", "8", *options, seconds=SECONDS)
    work.wait_begun(50)
    for partition in (1, 2, 3):
        work.produce([(b"q%d" % number, b"") for number in range(QUIET)], partition=partition)
    entries = work.wait_done(BACKLOG + 3 * QUIET)
    assert fleet.stop() == 0
    assert work.faults() == {}
    work.wait_lag(0)
    return entries


@pytest.mark.parametrize("handler", ["note", "note_async"])
def test_quiet_partitions_finish_long_before_the_backlog_of_another_partition(
    scenario: MakeScenario, handler: str
) -> None:
    entries = beside_a_backlog(scenario(), handler)
    for partition in (1, 2, 3):
        assert done_before(entries, partition) < BACKLOG * 2 / 3


def test_quiet_partitions_finish_before_the_backlog_with_a_low_in_flight_limit(scenario: MakeScenario) -> None:
    entries = beside_a_backlog(scenario(), "note", "--max-in-flight", "100")
    for partition in (1, 2, 3):
        assert done_before(entries, partition) < BACKLOG * 2 / 3


def test_backlogs_of_several_partitions_are_processed_concurrently(scenario: MakeScenario) -> None:
    work = scenario(partitions=6)
    for partition in range(6):
        work.produce(((b"s%d-%d" % (partition, n % 50), b"x" * 100) for n in range(3_000)), partition=partition)
    fleet = work.run("note", "-w", "16", seconds=0.002)
    entries = [entry for entry in work.wait_done(12_000) if entry.succeeded]
    assert fleet.stop() == 0
    assert work.faults().keys() <= {"lost"}  # it was stopped before the end, where the stop was fast enough
    # The first records of a partition may come later than those of another: it cannot be served before.
    began = max(next(at for at, entry in enumerate(entries) if entry.place.partition == p) for p in range(6))
    assert began < 6_000, "a partition had no turn"
    for done in range(3_000, 12_000 - began, 1_000):
        counts = [sum(entry.place.partition == p for entry in entries[began : began + done]) for p in range(6)]
        assert min(counts) >= 0.6 * done / 6, f"after {done} tasks: {counts}"
