"""Many tasks that are delayed for long, on a real broker: through a kill, from the handlers' ledger."""

from __future__ import annotations

import os
import signal
import time

from processor.cli.main import main
from tests.support.scenario import MakeScenario

SESSIONS = 600
DELAY_SECONDS = 22.0
"""What is due in more than nine seconds is set aside; the rest is for a slow machine."""

SPREAD_SECONDS = 2.0


def test_a_kill_while_delayed_tasks_are_set_aside_loses_none_and_keeps_the_order_of_each_session(
    scenario: MakeScenario,
) -> None:
    """Most sessions are set aside; others go on; the consumer is killed when some of the delayed ones have run."""
    work = scenario(partitions=1)
    options = ("-w", "8", "--max-in-flight", "200", "--commit-interval", "0.2", "--stats-interval", "0.5")
    fleet = work.run("note", *options)
    fleet.wait_for("consumer.assigned", timeout=60.0)
    due_at = time.monotonic_ns() + int(DELAY_SECONDS * 1e9)  # it is never later than the other clock's
    due = time.time() + DELAY_SECONDS
    dues = [int(1000 * (due + SPREAD_SECONDS * n / SESSIONS)) for n in range(SESSIONS)]
    work.produce((b"delayed-%d" % n, b"", [("task-not-before", b"%d" % dues[n])]) for n in range(SESSIONS))
    work.produce((b"delayed-%d" % n, b"") for n in range(SESSIONS))
    delayed = set(work.places)
    work.produce((b"s%d" % (n % 50), b"") for n in range(400))
    fleet.wait_for("consumer.set_aside", because="delays")
    work.wait_done(400)
    work.wait_done(400 + SESSIONS // 4)
    (pid,) = fleet.consumers()
    work.deaths[pid] = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    entries = work.wait_done(len(work.places))
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    begun = {entry.place: entry.at for entry in entries if entry.kind == "start"}
    assert min(begun[place] for place in delayed) >= due_at - 5_000_000, "the clocks may differ by that"
    assert max(begun[place] for place in set(begun) - delayed) < due_at


def test_cancelled_tasks_set_aside_for_an_hour_are_settled_at_once(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    control = ("--control-topic", f"{work.topic}.control")
    fleet = work.run("note", "-w", "4", "--max-in-flight", "100", "--commit-interval", "0.2", *control)
    fleet.wait_for("consumer.assigned", timeout=60.0)
    due = b"%d" % int(1000 * (time.time() + 3600))
    work.produce((b"s%d" % (n % 300), b"", [("task-not-before", due)]) for n in range(600))
    fleet.wait_for("consumer.set_aside", because="delays")
    target = ("-b", work.servers, "-g", work.group, *control)
    assert main(["control", "cancel", *target, "--session", "s200"]) == 0
    assert main(["control", "cancel", *target, "--task", f"{work.topic}-0-250"]) == 0
    for offset in (200, 500, 250):
        fleet.wait_for("task.cancelled", offset=offset)
    assert fleet.stop() == 0
    assert not work.ledger.entries()
