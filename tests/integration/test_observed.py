"""The log of a real fleet answers the operator's question when `processor monitor` or `report` reads it."""

from __future__ import annotations

import json
import time

from processor.observe.head_blocks import HeadBlock
from processor.observe.lines import ReadStats, events
from processor.observe.report.findings import findings
from processor.observe.report.text import text
from processor.observe.watch import Watch
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario
from tests.support.until import until

SECONDS = 60.0


def watched(fleet: Fleet) -> Watch:
    """The state of the fleet, from its log so far."""
    watch, stats = Watch(window=3), ReadStats()
    for event in events([json.dumps(fields).encode() for fields in list(fleet.events)], "", stats):
        watch.handle(event)
    assert stats.foreign == 0
    watch.finish()
    return watch


def test_the_log_of_a_fleet_names_the_session_that_blocks_a_partition_with_duration_and_reason(
    scenario: MakeScenario,
) -> None:
    run = scenario(partitions=2)
    run.produce([(b"stuck", b"0")], partition=1)
    run.produce(((f"s{n % 20}".encode(), b"%d" % n) for n in range(200)), partition=1)
    before = time.time()
    fleet = run.run("stick", "--log-sessions", "plain", "--stats-interval", "0.5", seconds=0.01)

    def long_blocks() -> list[HeadBlock]:
        return [one for one in watched(fleet).current_blocks() if one.seconds > 3 and one.gap == 201]

    (block,) = until(long_blocks, lambda: fleet.events[-1], SECONDS, 0.2)
    assert (block.topic, block.partition, block.offset, block.session_id) == (run.topic, 1, 0, "stuck")
    assert block.state == "running"
    assert before < block.since < time.time() - 3
    watch = watched(fleet)
    worst = findings(watch, watch.now)[0]
    assert (worst.partition.number, worst.word) == (1, "stalled")
    assert "session stuck, offset 0" in text(watch, watch.now, ReadStats())
    assert watch.load.counts.succeeded == 200


PARTITIONS = 100


def test_an_idle_fleet_logs_each_partition_once_and_the_observer_shows_all_of_them(scenario: MakeScenario) -> None:
    run = scenario(partitions=PARTITIONS)
    run.produce([(b"s", b"0")], partition=7)
    fleet = run.run("note", "--stats-interval", "0.5")
    run.wait_done(1)
    until(lambda: watched(fleet).load.counts.succeeded == 1 and is_idle(fleet), "the fleet is idle", SECONDS)
    rounds, logged = len(fleet.heard("consumer.stats")), len(fleet.heard("partition.stats"))
    fleet.wait_for("consumer.stats", count=rounds + 2)  # each is a repeat, six intervals after the last
    assert len(fleet.heard("partition.stats")) == logged
    assert logged <= 4 * PARTITIONS  # with the assignment, its end, its first commit, and the task
    watch = watched(fleet)
    assert len(watch.partitions) == PARTITIONS
    assert {one.word for one in findings(watch, watch.now)} == {"ok"}
    assert all(one.consumer is not None and one.lag_now == 0 for one in watch.partitions.values())
    assert fleet.stop() == 0


def is_idle(fleet: Fleet) -> bool:
    """Whether the last report of the consumer was repeated, and is the last line."""
    names = [fields["event"] for fields in list(fleet.events) if fields["event"] != "fleet.stats"]
    return names[-2:] == ["consumer.stats"] * 2
