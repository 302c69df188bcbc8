"""`--delivery exactly-once`: results and dead letters appear once to readers of committed records."""

from __future__ import annotations

import pytest

from tests.support import appearances
from tests.support.appearances import exactly_once
from tests.support.scenario import MakeScenario, Scenario


def produce(work: Scenario, tasks: int = 1000, sessions: int = 40) -> None:
    rows = [(b"s%d" % (n % sessions), b"rejected" if n % 29 == 0 else b"%d" % n) for n in range(tasks)]
    work.produce(rows)


@pytest.mark.parametrize(("handler", "protocol"), [("reply", "consumer"), ("reply_async", "classic")])
def test_each_task_has_one_output_in_the_order_of_its_session(
    scenario: MakeScenario, handler: str, protocol: str
) -> None:
    work = scenario()
    produce(work)
    fleet = work.run(handler, "--stop-at-end", "-p", "2", "--group-protocol", protocol, *exactly_once(work))
    assert fleet.wait() == 0
    assert appearances.wrong(work) == {}
    assert len(appearances.dead_letters(work)) == 35
    assert work.repeated() == []
    work.wait_lag(0)
