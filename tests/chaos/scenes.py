"""Short scenes with one fault each, and a verdict: tasks lost, out of order, overlapping or needlessly repeated.

Each scene must have an empty verdict with the real code, and a non-empty one with a bug planted in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.support import cluster, ledger
from tests.support.ledger import Finding, Place
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, Scenario
from tests.support.until import until

Verdict = dict[str, list[Finding]]
Scene = Callable[[Scenario], Verdict]

NOTICED_SOON = ("-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=300")
"""The group removes a dead member after 6 s. It also removes a living one that a busy machine does not schedule for so
long; then the tasks that this member has not committed run again."""
QUICK = ("--commit-interval", "0.2", *NOTICED_SOON)
PATIENT = ("-X", "heartbeat.interval.ms=300", *OUTLASTING)
"""For a group in which no member dies: members learn of changes soon, and one that a busy machine delays stays."""


def verdict(
    work: Scenario,
    known_done: Iterable[Place] = (),
    given_up: Iterable[Place] = (),
    *,
    replays_in_process: bool = False,
) -> Verdict:
    """Return the faults, including tasks that ran again although the group had committed them as done."""
    known = set(known_done)
    needless = [finding for finding in ledger.repeated(work.own_entries()) if finding.place in known]
    found: Verdict = work.faults(given_up, replays_in_process=replays_in_process)
    if needless:
        found["needlessly twice"] = needless[:10]
    if lag := work.lag_left():
        found["left behind"] = [Finding(f"the lag is {lag}", Place(work.topic, -1, -1))]
    return found


def clean_run(work: Scenario) -> Verdict:
    """Tasks arrive while the previous task of their session is running, which exposes two running tasks of a session.

    A handler takes several times as long as a round of tasks takes to arrive, even on a slow machine.
    """
    work.produce_sessions(6, 6)
    fleet = work.run("note", "-w", "16", "--commit-interval", "0.2", *PATIENT, seconds=0.5)
    work.wait_begun()
    for _ in range(6):
        work.produce_sessions(6, 6)
    work.wait_done(len(work.places))
    work.wait_lag(0)
    assert fleet.stop() == 0
    return verdict(work, work.places)


def kill_at_work(work: Scenario) -> Verdict:
    """SIGKILL while every worker has a task. The tasks last for seconds, since reading the commits may take one."""
    work.produce_sessions(4_000, 40)
    fleet = work.run("note", "-w", "16", *QUICK, seconds=0.02)
    work.wait_done(400)
    until(work.known_done, "the group knows some of it", pause=0.05)
    work.kill(fleet)
    known = work.known_done()
    assert work.run("note", "-w", "16", *QUICK, "--stop-at-end").wait(120) == 0
    return verdict(work, known)


def kill_behind_a_stuck_task(work: Scenario) -> Verdict:
    """One task hangs while the tasks behind it complete: only the skip map prevents a crash from repeating them."""
    work.produce([(b"stuck", b"first")])
    work.produce_sessions(1_000, 20)
    fleet = work.run("stick", "-w", "16", "--timeout", "600", *QUICK)
    work.wait_done(1_000)
    until(lambda: len(work.known_done()) >= 1_000, "the group knows what is done", pause=0.05)
    work.kill(fleet)
    known = work.known_done()
    assert work.run("note", "-w", "16", *QUICK, "--stop-at-end").wait(120) == 0
    return verdict(work, known)


def kill_in_a_stream(work: Scenario) -> Verdict:
    """Frequent commits while tasks arrive and complete: a commit's offset and map must be from the same instant."""
    fleet = work.run("note", "-w", "8", "--commit-interval", "0.01", *NOTICED_SOON, seconds=0.02)
    with ThreadPoolExecutor() as pool:
        stream = pool.submit(_stream, work)
        foreign = _foreign_maps_until(work, 600)
        work.kill(fleet)
        stream.result()
    known = work.known_done()
    again = work.run("note", "-w", "16", *QUICK, "--stop-at-end")
    assert again.wait(120) == 0
    found = verdict(work, known)
    if foreign:
        found["maps of other offsets"] = foreign
    if ignored := again.heard("consumer.skip_map_ignored"):
        found["maps ignored"] = [Finding(told["reason"], Place(work.topic, told["partition"], -1)) for told in ignored]
    return found


def _foreign_maps_until(work: Scenario, tasks: int) -> list[Finding]:
    """Checks each commit that it sees until `tasks` tasks are done, and returns the first with a map of another offset.

    It does not check only the last commits before the kill, since they seldom have a map.
    """
    foreign: list[Finding] = []

    def are_done() -> bool:
        foreign.extend(work.foreign_maps())
        return bool(foreign) or sum(entry.succeeded for entry in work.ledger.entries()) >= tasks

    until(are_done, f"{tasks} tasks are done", 60, pause=0.01)
    return foreign


def _stream(work: Scenario) -> None:
    for _ in range(50):
        work.produce_sessions(60, 30)


def supply_until(work: Scenario, condition: Callable[[], object], what: str, least: int = 200) -> int:
    """Adds tasks while fewer than `least` are left, until the condition holds. Returns how many are done by then.

    A process may take longer to start than any fixed number of tasks lasts.
    """

    def done() -> int:
        return sum(entry.succeeded for entry in work.ledger.entries())

    def holds() -> object:
        if len(work.places) - done() < least:
            work.produce_sessions(least // 2, 24)
        return condition()

    until(holds, what, 60, pause=0.05)
    return done()


def has_partitions(fleet: Fleet) -> bool:
    """Return whether a consumer has been assigned partitions; a classic group assigns none in the first round."""
    return any(event["partitions"] for event in fleet.heard("consumer.assigned"))


def come_and_go(work: Scenario) -> Verdict:
    """A second consumer joins and leaves while every worker has a slow task."""
    work.produce_sessions(300, 24)
    options = ("-w", "8", "--commit-interval", "0.2", *PATIENT)
    first = work.run("note", *options, seconds=0.1)
    work.wait_begun()
    second = work.run("note", *options, seconds=0.1)
    done = supply_until(work, lambda: has_partitions(second), "the second consumer has partitions")
    work.produce_sessions(100, 24)  # enough tasks, however slow the last check was
    work.wait_done(done + 50)
    assert second.stop() == 0
    work.wait_done(len(work.places))
    work.wait_lag(0)
    assert first.stop() == 0
    return verdict(work, work.places)


def die_with_a_stock(work: Scenario) -> Verdict:
    """A second consumer joins and leaves, and the first is killed, while few tasks are in flight and many in the stock.

    There are enough tasks for the seconds in which the second one starts, and for those in which it stops.
    """
    few = ("-w", "8", "--max-in-flight", "40", *QUICK)
    work.produce_sessions(6_000, 60)
    first = work.run("note", *few, seconds=0.02)
    work.wait_done(200)
    second = work.run("note", *few, seconds=0.02)
    done = supply_until(work, lambda: has_partitions(second), "the second consumer has partitions", 3_000)
    work.wait_done(done + 400)
    assert second.stop() == 0
    work.kill(first)
    known = work.known_done()
    assert work.run("note", *few, "--stop-at-end").wait(120) == 0
    return verdict(work, known)


def pause_past_the_session(work: Scenario) -> Verdict:
    """SIGSTOP until another consumer has the partitions: the resumed one holds thousands of tasks it no longer owns."""
    work.produce_sessions(4_000, 40)
    sleeper = work.run("note", "-w", "8", *QUICK, seconds=0.01)
    work.wait_done(200)
    (pid,) = sleeper.consumers()
    paused = psutil.Process(pid)
    paused.suspend()
    other = work.run("note", "-w", "8", "--commit-interval", "0.2", *PATIENT, seconds=0.01)
    other.wait_for_partitions()
    done = sum(entry.succeeded for entry in work.ledger.entries())
    work.wait_done(min(done + 400, 4_000))
    work.wake(paused)
    work.wait_done(4_000)
    work.wait_lag(0)
    assert [sleeper.stop(), other.stop()] == [0, 0]
    return verdict(work, replays_in_process=True)


def refused_dead_letters(work: Scenario) -> Verdict:
    """The dead-letter topic refuses records for a while, and the consumer stops meanwhile."""
    letters = cluster.create_topic(work.servers, f"{work.topic}.dlq", 1, max_message_bytes=100)
    work.produce([(b"bad", b"fails always")])
    work.produce_sessions(100, 10)
    options = ("-w", "8", "--backoff", "0.01", "--drain-timeout", "1", *QUICK)
    fleet = work.run("fail", *options)
    work.wait_done(100)
    until(
        lambda: fleet.heard("task.delivery_failed") or fleet.heard("task.dead_lettered"), "its end is told", pause=0.05
    )
    fleet.stop()
    raise_limit(work, letters)
    assert work.run("fail", *options, "--stop-at-end").wait(120) == 0
    return verdict(work, given_up=work.given_up())


def raise_limit(work: Scenario, topic: str) -> None:
    """Sets the topic's limit to records of 100,000 bytes."""
    entry = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    cluster.admin_of(work.servers).incremental_alter_configs([resource])[resource].result(30)


SCENES: tuple[Scene, ...] = (
    clean_run,
    kill_at_work,
    kill_behind_a_stuck_task,
    kill_in_a_stream,
    come_and_go,
    die_with_a_stock,
    pause_past_the_session,
    refused_dead_letters,
)
