"""Tasks that end their process; against a real broker, verified from a ledger outside the processes."""

from __future__ import annotations

import os
import signal

from tests.support import cluster
from tests.support.ledger import Place
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.until import until

TO_THE_END = ("--stop-at-end", "--commit-interval", "0.1")
SECONDS = 120.0
"""Within which a fleet ends: some five restarts of a process, on a machine that is busy."""


def letters(work: Scenario) -> dict[Place, tuple[str, str]]:
    """Of each dead letter: the place of its task, the type of the error, and the attempts."""
    found = {}
    for letter in cluster.read_all(work.servers, f"{work.topic}.dlq"):
        headers = {name: value.decode() for name, value in cluster.headers_of(letter).items()}
        place = Place(work.topic, int(headers["dlq-partition"]), int(headers["dlq-offset"]))
        assert place not in found
        found[place] = headers["dlq-error-type"], headers["dlq-attempts"]
    return found


def starts(work: Scenario, place: Place) -> list[int]:
    """The attempt numbers with which a task was begun."""
    return [entry.attempt for entry in work.ledger.entries() if entry.kind == "start" and entry.place == place]


def finish(fleet: Fleet) -> None:
    assert fleet.wait(SECONDS) == 0


def test_a_task_that_kills_its_process_becomes_a_dead_letter_and_concurrent_tasks_do_not(
    scenario: MakeScenario,
) -> None:
    work = scenario(partitions=2)
    fleet = work.run("deadly", *OUTLASTING, "--commit-interval", "0.1", "-p", "2", "-w", "4", seconds=0.02)
    until(lambda: {event["consumer"] for event in fleet.heard("consumer.assigned") if event["partitions"]} == {0, 1})
    work.produce_sessions(30, 10)
    work.produce([(b"deadly", b"os._exit"), (b"deadly", b"works")], partition=0)
    deadly = work.places[-2]
    work.produce_sessions(60, 30)
    work.wait_done(91)
    fleet.wait_for("task.dead_lettered", SECONDS)
    work.wait_lag(0, SECONDS)
    assert fleet.stop() == 0
    assert letters(work) == {deadly: ("processor.ProcessDied", "3")}
    assert work.faults([deadly]) == {}
    # The first process recorded nothing. The second one ran others beside it, as a rule; the third one did not.
    assert starts(work, deadly) in ([1, 1, 1, 3], [1, 1, 2, 3])
    died = fleet.heard("process.died")
    assert len({event["consumer"] for event in died}) == 1
    assert [event["running"] for event in (died[0], *died[2:])] == [0, 1, 1]
    suspected = fleet.heard("task.suspected")
    assert {(event["partition"], event["offset"]) for event in suspected} == {deadly[1:]}
    assert [event["deaths"] for event in suspected][-2:] == [2, 3]
    (letter,) = fleet.heard("task.dead_lettered")
    assert (letter["attempt"], letter["error_type"]) == (3, "processor.ProcessDied")


def test_with_exactly_once_two_coroutines_that_kill_their_process_are_both_identified(scenario: MakeScenario) -> None:
    work = scenario(partitions=2)
    work.produce_sessions(20, 10)
    work.produce([(b"one", b"segmentation fault"), (b"other", b"SIGKILL")], partition=1)
    deadly = work.places[-2:]
    work.produce_sessions(60, 30)
    options = ("--max-attempts", "2", "--delivery", "exactly-once")
    fleet = work.run("deadly_async", *TO_THE_END[:1], *options, "-w", "8", seconds=0.02)
    finish(fleet)
    assert letters(work) == dict.fromkeys(deadly, ("processor.ProcessDied", "2"))
    assert work.faults(deadly) == {}
    work.wait_lag(0)


def test_a_task_of_a_batch_that_kills_its_process_is_isolated(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    work.produce_sessions(60, 60)
    work.produce([(b"s7", b"SIGKILL")])
    deadly = work.places[-1]
    work.produce_sessions(60, 60)
    fleet = work.run("deadly_batches", *TO_THE_END, "-w", "4", "--max-attempts", "2", seconds=0.02)
    finish(fleet)
    assert letters(work) == {deadly: ("processor.ProcessDied", "2")}
    assert work.faults([deadly]) == {}
    work.wait_lag(0)


def test_processes_that_an_operator_kills_cost_no_task(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    work.produce_sessions(40, 40)
    fleet = work.run("wait_for_go", *TO_THE_END, "-w", "4", "--max-attempts", "1")
    for deaths, begun in enumerate((4, 8), start=1):
        work.wait_begun(begun)
        (consumer,) = fleet.consumers()
        os.kill(consumer, signal.SIGKILL)
        fleet.wait_for("process.died", count=deaths)
    assert fleet.wait_for("process.died", count=2)["running"] == 4
    work.go()
    finish(fleet)
    assert letters(work) == {}
    assert work.faults() == {}
    assert not fleet.heard("task.suspected")
