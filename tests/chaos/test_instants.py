"""A consumer dies at a chosen instant, another takes over, and all tasks complete."""

from __future__ import annotations

import signal

import pytest

from tests.chaos.scenes import QUICK, verdict
from tests.chaos.traps import TRAPS, arm
from tests.support.scenario import MakeScenario, Scenario


def dying(work: Scenario, trap: str) -> dict[str, str]:
    return {"TEST_TRAP": trap, "TEST_TRAP_FILE": str(arm(work.ledger.path.parent))}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_death_at_any_instant_loses_nothing(scenario: MakeScenario, trap: str) -> None:
    work = scenario()
    options = ("-w", "8", "--backoff", "0.01", *QUICK)
    for _ in range(8):
        work.produce([(b"bad", b"rejected"), (b"worse", b"rejected")])
        work.produce_sessions(40, 10)
    fleet = work.run("fail", *options, env=dying(work, trap), seconds=0.02)
    others = []
    if "revoke" in trap:
        work.wait_begun()
        others.append(work.run("fail", *options, seconds=0.02))
    work.known_done()  # connects the client early, since a successor commits within seconds
    ended = fleet.wait_for("fleet.consumer_exited")
    # The successor may itself have committed the tasks that it has already run again.
    known = work.known_done() - {finding.place for finding in work.repeated()}
    assert ended["exit_code"] == -signal.SIGKILL
    work.wait_done(320)
    work.wait_lag(0)
    assert [running.stop() for running in (fleet, *others)] == [0] * (1 + len(others))
    letters = work.given_up()
    assert len(letters) == 16
    assert verdict(work, known, letters) == {}
