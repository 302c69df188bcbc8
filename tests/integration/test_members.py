"""Members that come, go, die and pause while tasks come in, against a real coordinator: what that costs in time."""

from __future__ import annotations

import time

import pytest

from tests.support.run import Fleet
from tests.support.scenario import MakeScenario
from tests.support.steady_load import steady_load

BOTH = pytest.mark.parametrize("protocol", ["classic", "consumer"])

SETTLED_SECONDS = 3.0
"""Between two changes of the group: longer than one of them takes."""


@BOTH
def test_a_rolling_replacement_delays_tasks_by_a_second_at_most(scenario: MakeScenario, protocol: str) -> None:
    """Two consumers are replaced one by one under 300 tasks a second."""
    work = scenario(partitions=12)

    def start() -> Fleet:
        fleet = work.run("vary", "-w", "16", "--group-protocol", protocol)
        fleet.wait_for("consumer.assigned")
        return fleet

    fleets = [start(), start()]
    time.sleep(SETTLED_SECONDS)
    with steady_load(work, rate=300) as load:
        work.wait_begun(300)
        began = time.monotonic_ns()
        for place in range(2):
            replacement = start()
            time.sleep(SETTLED_SECONDS)
            assert fleets[place].stop() == 0
            fleets[place] = replacement
            time.sleep(SETTLED_SECONDS)
    waits = load.waits(work.wait_done(len(work.places)), since=began)
    work.wait_lag(0)
    assert all(fleet.stop() == 0 for fleet in fleets)
    assert waits.tasks > 3000
    assert waits.p99 <= 1.0, waits
    assert waits.longest <= 1.5, waits
    assert work.faults() == {}
    assert work.repeated() == []
