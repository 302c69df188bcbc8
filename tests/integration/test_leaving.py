"""A partition that leaves holds back none that stays, against a real coordinator; by the order of events only."""

from __future__ import annotations

import pytest

from tests.support.ledger import Entry
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

PARTITIONS = 4
ROUNDS = 20


def produce_rounds(work: Scenario, session: str) -> None:
    """A task of this session in each partition, some times."""
    for partition in range(PARTITIONS):
        work.produce([(b"%s-%d" % (session.encode(), partition), b"")] * ROUNDS, partition=partition)


def done_of(work: Scenario, session: str) -> list[Entry]:
    """The ends of these sessions' tasks, in their order."""
    ends = [entry for entry in work.ledger.entries() if entry.succeeded and entry.session.startswith(session)]
    return sorted(ends, key=lambda entry: entry.at)


def numbers_in(names: list[str]) -> set[int]:
    return {int(name.split("[")[1].split("]")[0]) for name in names}


def partitions_assigned(fleet: Fleet) -> set[int]:
    return {n for event in fleet.heard("consumer.assigned") for n in numbers_in(event["partitions"])}


@pytest.mark.parametrize(
    ("protocol", "handler", "options"),
    [
        ("classic", "wait_if_slow", ()),
        ("consumer", "wait_if_slow_async", ()),
        ("classic", "wait_if_slow", ("--delivery", "exactly-once")),
    ],
)
def test_retained_partitions_make_progress_while_a_slow_task_of_a_revoked_partition_runs(
    scenario: MakeScenario, protocol: str, handler: str, options: tuple[str, ...]
) -> None:
    """A second consumer comes while a task that does not end runs in each partition."""
    work = scenario(partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        work.produce([(b"slow-%d" % partition, b"")], partition=partition)
    chosen = ("-w", "16", "--group-protocol", protocol, "--drain-timeout", "60", *options)
    first = work.run(handler, *chosen)
    work.wait_begun(PARTITIONS)
    second = work.run(handler, *chosen)
    stays = numbers_in(first.wait_for("consumer.reading_on")["partitions"])
    assert len(stays) == PARTITIONS // 2
    produce_rounds(work, "during")
    until(lambda: len(done_of(work, "during")) == ROUNDS * len(stays), lambda: str(done_of(work, "during")), 60)
    assert {entry.place.partition for entry in done_of(work, "during")} == stays
    assert not done_of(work, "slow")
    assert not first.heard("consumer.revoked")
    assert not partitions_assigned(second)
    work.go()
    produce_rounds(work, "around")  # both clients read
    entries = work.wait_done(len(work.places))
    produce_rounds(work, "after")
    work.wait_done(len(work.places))
    work.wait_lag(0)
    (revoked,) = first.heard("consumer.revoked")
    assert numbers_in(revoked["partitions"]) == partitions_assigned(second) == set(range(PARTITIONS)) - stays
    assert revoked["abandoned"] == 0
    assert not first.heard("consumer.reading_on_failed") + first.heard("consumer.lost")
    assert {e.pid for e in entries if e.session.startswith("during") and e.partition in stays} == {
        e.pid for e in entries if e.session.startswith("slow")
    }
    assert work.faults() == {}
    assert work.repeated() == []
    assert first.stop() == 0
    assert second.stop() == 0
