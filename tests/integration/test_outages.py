"""An outage on a real broker: a member that joins and a consumer that is killed in the middle of it."""

from __future__ import annotations

import os
import signal
import time

from processor.engine.suspension import SUSPEND_AFTER
from tests.support.scenario import MakeScenario

WORKERS = 8
LONGEST_DELAY = 0.5
QUICK = ("-w", str(WORKERS), "--max-attempts", "1", "--backoff", "0.1", "--backoff-max", str(LONGEST_DELAY))


def test_an_outage_with_a_rebalance_and_a_kill_during_it_loses_no_task_and_keeps_the_order(
    scenario: MakeScenario,
) -> None:
    work = scenario()
    work.outage.touch()
    work.produce_sessions(600, 60)
    fleet = work.run("needy", *QUICK)
    fleet.wait_for("handler.suspended", handler="default", error="connection refused")
    other = work.run("needy", *QUICK)
    other.wait_for("handler.suspended", timeout=60.0)
    (pid,) = fleet.consumers()
    work.deaths[pid] = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    fleet.wait_for("handler.suspended", timeout=60.0, count=2)
    work.outage.unlink()
    entries = work.wait_done(600)
    assert fleet.stop() == other.stop() == 0
    assert work.faults() == {}
    assert work.given_up() == set()
    work.wait_lag(0)
    assert fleet.heard("handler.resumed")
    refused = [entry for entry in entries if entry.kind == "end" and not entry.succeeded]
    seconds = (refused[-1].at - refused[0].at) / 1e9
    probes = 3 * (seconds / (LONGEST_DELAY * 0.75) + 5)  # of three consumers; the first delays are shorter
    assert len(refused) <= 3 * (SUSPEND_AFTER + WORKERS) + probes
    assert {entry.attempt for entry in refused} == {1}
