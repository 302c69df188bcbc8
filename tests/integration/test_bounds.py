"""Memory is bounded, and no session starves: against a real broker."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.support.run import Fleet
from tests.support.scenario import MakeScenario


def most_memory(fleet: Fleet) -> int:
    """The largest resident size of a consumer now, in MB."""
    sizes = []
    for pid in fleet.consumers():
        try:
            sizes.append(psutil.Process(pid).memory_info().rss // 1_000_000)
        except psutil.NoSuchProcess:
            continue
    return max(sizes, default=0)


def watch(fleet: Fleet) -> int:
    """The most memory that a consumer of the fleet had until it ended by itself."""
    most = 0
    while fleet.consumers():
        most = max(most, most_memory(fleet))
        time.sleep(0.05)  # between two samples
    return most


def test_three_hundred_thousand_sessions_leave_nothing_behind(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce((b"session-%d" % n, b"x" * 50) for n in range(300_000))
    fleet = work.run("nothing", "--stop-at-end", "-w", "8")
    fleet.wait_for("consumer.assigned")
    most = watch(fleet)
    assert fleet.wait() == 0
    work.wait_lag(0)
    last = fleet.heard("consumer.stats")[-1]
    assert (last["succeeded"], last["active_sessions"], last["in_flight"]) == (300_000, 0, 0)
    assert most < 200


def test_large_records_under_a_slow_handler_are_bounded_in_bytes(scenario: MakeScenario) -> None:
    work = scenario(partitions=2)
    work.produce(((b"s%d" % (n % 50), b"x" * 10_000) for n in range(20_000)), seconds=120.0)  # 200 MB
    fleet = work.run("note", "-w", "4", "--max-in-flight-bytes", "8000000", seconds=0.02)
    work.wait_done(500)
    most = 0
    for _ in range(40):
        most = max(most, most_memory(fleet))
        time.sleep(0.05)  # between two samples
    held = [stats["in_flight_bytes"] for stats in fleet.heard("consumer.stats")]
    assert fleet.stop() == 0
    assert max(held) < 10_000_000
    assert most < 200


@pytest.mark.parametrize("limit", ["200", "10000"])
def test_a_stuck_session_stops_neither_its_partition_nor_the_others(scenario: MakeScenario, limit: str) -> None:
    """Partition 0 has a session that hangs, with more waiting tasks than may be held; the others go on."""
    work = scenario(partitions=4)
    work.produce([(b"stuck", b"")], partition=0)
    work.produce([(b"stuck", b"%d" % n) for n in range(int(limit) * 2)], partition=0)
    behind = len(work.places)
    for partition in (1, 2, 3):
        work.produce([(b"s%d" % (n % 20), b"%d" % n) for n in range(1000)], partition=partition)
    fleet = work.run("stick", "-w", "8", "--timeout", "600", "--max-in-flight", limit, "--drain-timeout", "0.5")
    others = len(work.places) - behind
    work.wait_done(others)
    work.wait_begun(others + 1)  # the stuck one, too: the client may fetch its partition last
    assert fleet.stop() == 3


def test_a_consumer_at_its_in_flight_limit_stays_in_the_group(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    work.produce_sessions(400, 20)
    quick = ("-X", "session.timeout.ms=6000", "-X", "max.poll.interval.ms=6000")
    fleet = work.run("stick", "-w", "1", "--max-in-flight", "5", *quick, seconds=0.05)
    work.wait_done(150)
    assert len(fleet.heard("consumer.assigned")) == 1
    assert not fleet.heard("consumer.lost")
    assert fleet.stop() == 0
    assert work.repeated() == []
