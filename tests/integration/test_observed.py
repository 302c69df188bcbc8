"""What a real fleet logs answers the operator's question: read as `processor monitor` and `processor report` do."""

from __future__ import annotations

import json
import time

from processor.observe.lines import Passed, events
from processor.observe.report.findings import findings
from processor.observe.report.text import text
from processor.observe.watch import Watch
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario

SECONDS = 30.0


def watched(fleet: Fleet) -> Watch:
    """What the fleet's log tells by now."""
    watch, passed = Watch(window=3), Passed()
    for event in events([json.dumps(told).encode() for told in list(fleet.events)], "", passed):
        watch.hear(event)
    assert passed.foreign == 0
    watch.finish()
    return watch


def test_the_log_of_a_real_fleet_tells_which_session_holds_a_partition_since_when_and_why(
    scenario: MakeScenario,
) -> None:
    run = scenario(partitions=2)
    run.produce([(b"stuck", b"0")], partition=1)
    run.produce(((f"s{n % 20}".encode(), b"%d" % n) for n in range(200)), partition=1)
    before = time.time()
    fleet = run.run("stick", "--log-sessions", "plain", "--stats-interval", "0.5", seconds=0.01)
    deadline = time.monotonic() + SECONDS
    while not (holds := [hold for hold in watched(fleet).current_holds() if hold.seconds > 3 and hold.gap == 201]):
        assert time.monotonic() < deadline, fleet.events[-1]
        time.sleep(0.2)
    (hold,) = holds
    assert (hold.topic, hold.partition, hold.offset, hold.session_id) == (run.topic, 1, 0, "stuck")
    assert hold.state == "running"
    assert before < hold.since < time.time() - 3
    watch = watched(fleet)
    worst = findings(watch, watch.now)[0]
    assert (worst.partition.number, worst.word) == (1, "stalled")
    assert "session stuck, offset 0" in text(watch, watch.now, Passed())
    assert watch.load.counts.succeeded == 200
