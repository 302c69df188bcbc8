"""Tasks with a time, on a real broker: a member that joins and a consumer that is killed change none of it."""

from __future__ import annotations

import os
import signal
import time

from tests.support import cluster
from tests.support.scenario import MakeScenario

DELAYED = 40
DELAY_SECONDS = 25.0
"""Much longer than tasks take to arrive and to be reported, so that what waits is reported before its time comes."""


def test_delays_and_expiry_are_kept_across_a_rebalance_and_a_kill(scenario: MakeScenario) -> None:
    work = scenario()
    fleet = work.run("note", "-w", "8")
    fleet.wait_for("consumer.assigned", timeout=60.0)
    due_at = time.monotonic_ns() + int(DELAY_SECONDS * 1e9)  # it is never later than the other clock's
    due, expires = time.time() + DELAY_SECONDS, time.time() + DELAY_SECONDS / 2
    not_before = [("task-not-before", b"%d" % (due * 1000))]
    too_late = [("task-expires", b"%d" % (expires * 1000))]
    sessions = [b"delayed-%d" % n for n in range(DELAYED)]
    work.produce((session, b"", not_before) for session in sessions)
    work.produce((session, b"", too_late) for session in sessions[: DELAYED // 2])
    work.produce((session, b"") for session in sessions)
    delayed, expired, behind = (
        set(work.places[start:end])
        for start, end in ((0, DELAYED), (DELAYED, DELAYED * 3 // 2), (DELAYED * 3 // 2, DELAYED * 5 // 2))
    )
    work.produce((b"s%d" % (n % 20), b"") for n in range(400))
    fleet.wait_for("consumer.stats", delayed_sessions=DELAYED)
    other = work.run("note", "-w", "8")
    other.wait_for_partitions(60.0)
    (pid,) = fleet.consumers()
    work.deaths[pid] = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    entries = work.wait_done(len(work.places) - len(expired))
    work.wait_lag(0)
    assert fleet.stop() == other.stop() == 0
    assert work.faults(expired) == {}
    assert work.given_up() == expired
    letters = [cluster.headers_of(letter) for letter in cluster.read_all(work.servers, f"{work.topic}.dlq")]
    assert {(each["dlq-error-type"], each["dlq-attempts"]) for each in letters} == {(b"processor.Expired", b"0")}
    begun = {entry.place: entry.at for entry in entries if entry.kind == "start"}
    assert min(begun[place] for place in delayed | behind) >= due_at - 5_000_000, "the clocks may differ by that"
    others = [at for place, at in begun.items() if place not in delayed | behind]
    assert min(others) < due_at
