"""Distributions of load: by Zipf's law, half on one session, all behind one task, and on many moving partitions."""

from __future__ import annotations

import random
import signal
import time

from tests.chaos.scenes import NOTICED_SOON, PATIENT
from tests.support.scenario import MakeScenario
from tests.support.until import until


def test_with_one_stuck_task_a_crash_repeats_none_of_100_000_done_behind_it(scenario: MakeScenario) -> None:
    """The commit's metadata describes all tasks settled above the commit point, however many there are."""
    work = scenario(partitions=1)
    work.produce([(b"stuck", b"first")])
    work.produce_sessions(100_000, 1_000)
    options = ("-w", "16", "--max-in-flight", "120000", "--timeout", "600", "--commit-interval", "0.2", *NOTICED_SOON)
    fleet = work.run("stick", *options)
    work.wait_done(100_000, 200)
    until(lambda: len(work.known_done()) >= 100_000, "the group knows what is done", pause=0.1)
    work.kill(fleet)
    again = work.run("note", *options, "--stop-at-end")
    assert again.wait(120) == 0
    assert again.wait_for("consumer.assigned", settled_ahead=100_000)
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)


def test_zipf_distributed_sessions_and_one_with_half_of_the_load_keep_every_guarantee(scenario: MakeScenario) -> None:
    work = scenario()
    chance = random.Random(4)
    weights = [1 / rank for rank in range(1, 301)]
    by_zipf = [b"z%d" % n for n in chance.choices(range(300), weights, k=2_000)]
    work.produce((session, b"") for pair in zip(by_zipf, [b"hot"] * 2_000, strict=True) for session in pair)
    options = ("-p", "2", "-w", "8", "--commit-interval", "0.2", *PATIENT)
    fleet = work.run("note", *options, seconds=0.001)
    work.wait_done(1_500)
    assert fleet.stop() == 0
    assert work.run("note", *options, "--stop-at-end", seconds=0.001).wait(120) == 0
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)  # a commit while another consumer leaves becomes visible a moment later


def test_consumers_that_join_and_leave_every_half_second_neither_lose_nor_repeat_tasks_of_eighty_partitions(
    scenario: MakeScenario,
) -> None:
    work = scenario(partitions=80)
    work.produce_sessions(3_000, 200)
    options = ("-w", "4", "--group-protocol", "consumer", "--commit-interval", "0.2")
    stays = work.run("note", *options, seconds=0.005)
    stays.wait_for("consumer.assigned")
    for _ in range(6):
        comes = work.run("note", *options, seconds=0.005)
        comes.wait_for("fleet.started")
        time.sleep(0.5)  # not a wait: the test is how briefly it stays
        comes.signal(signal.SIGTERM)
        assert comes.wait() == 0
    work.wait_done(3_000)
    work.wait_lag(0)
    assert stays.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
