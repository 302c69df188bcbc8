"""The log of a real fleet answers the operator's question when `processor monitor` or `report` reads it."""

from __future__ import annotations

import json
import time

from processor.observe.lines import ReadStats, events
from processor.observe.report.findings import findings
from processor.observe.report.text import text
from processor.observe.watch import Watch
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario

SECONDS = 30.0


def watched(fleet: Fleet) -> Watch:
    """The state of the fleet, from its log so far."""
    watch, stats = Watch(window=3), ReadStats()
    for event in events([json.dumps(fields).encode() for fields in list(fleet.events)], "", stats):
        watch.handle(event)
    assert stats.foreign == 0
    watch.finish()
    return watch


def test_the_log_of_a_real_fleet_has_the_session_that_blocks_a_partition_with_time_and_reason(
    scenario: MakeScenario,
) -> None:
    run = scenario(partitions=2)
    run.produce([(b"stuck", b"0")], partition=1)
    run.produce(((f"s{n % 20}".encode(), b"%d" % n) for n in range(200)), partition=1)
    before = time.time()
    fleet = run.run("stick", "--log-sessions", "plain", "--stats-interval", "0.5", seconds=0.01)
    deadline = time.monotonic() + SECONDS
    while not (blocks := [one for one in watched(fleet).current_blocks() if one.seconds > 3 and one.gap == 201]):
        assert time.monotonic() < deadline, fleet.events[-1]
        time.sleep(0.2)
    (block,) = blocks
    assert (block.topic, block.partition, block.offset, block.session_id) == (run.topic, 1, 0, "stuck")
    assert block.state == "running"
    assert before < block.since < time.time() - 3
    watch = watched(fleet)
    worst = findings(watch, watch.now)[0]
    assert (worst.partition.number, worst.word) == (1, "stalled")
    assert "session stuck, offset 0" in text(watch, watch.now, ReadStats())
    assert watch.load.counts.succeeded == 200
