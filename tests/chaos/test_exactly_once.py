"""With exactly-once, readers of committed records see one output per task, whatever is killed or refused."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.chaos.scenes import NOTICED_SOON, PATIENT
from tests.chaos.test_instants import dying
from tests.chaos.traps import TRANSACTION_TRAPS
from tests.conftest import MakeBroker, Wired
from tests.support import appearances, cluster
from tests.support.appearances import exactly_once
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.until import until

OPTIONS = ("-w", "8", *NOTICED_SOON)


def produce(work: Scenario, tasks: int = 320, sessions: int = 10) -> None:
    work.produce((b"s%d" % (n % sessions), b"rejected" if n % 20 == 0 else b"works") for n in range(tasks))


def check(work: Scenario, *fleets: Fleet) -> None:
    """Waits until all tasks are settled, and checks that each has exactly one output."""
    work.wait_lag(0, 90)
    appearances.wait_for_all(work)
    assert [fleet.stop() for fleet in fleets] == [0] * len(fleets)
    assert appearances.wrong(work) == {}


@pytest.mark.parametrize("trap", TRANSACTION_TRAPS)
def test_a_death_at_any_instant_of_a_transaction_loses_and_repeats_no_output(scenario: MakeScenario, trap: str) -> None:
    work = scenario()
    produce(work)
    fleet = work.run("reply", *OPTIONS, *exactly_once(work), env=dying(work, trap), seconds=0.02)
    supply_until_death(work, fleet)
    assert fleet.wait_for("fleet.consumer_exited")["exit_code"] == -signal.SIGKILL
    check(work, fleet)


def supply_until_death(work: Scenario, fleet: Fleet) -> None:
    """Adds tasks until a consumer has died. With slow transactions, two could contain any fixed number of tasks."""

    def is_dead() -> bool:
        entries = work.ledger.entries()
        if sum(entry.kind == "start" for entry in entries) > len(work.places) - 100:
            produce(work, 100)
        return bool(fleet.heard("fleet.consumer_exited"))

    until(is_dead, lambda: f"no consumer has died; {fleet.last_words}", pause=0.1)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_rebalances_between_and_during_transactions_lose_and_repeat_no_output(
    scenario: MakeScenario, protocol: str
) -> None:
    """A transaction is nearly always in progress: each one lasts longer than the pause between two."""
    work = scenario(8)
    produce(work, 2_000, 60)
    members = PATIENT if protocol == "classic" else ()
    options = ("-w", "8", "--group-protocol", protocol, *members, *exactly_once(work), "--commit-interval", "0.01")
    first = work.run("reply", *options, seconds=0.02)
    work.wait_begun()
    for _ in range(2):
        second = work.run("reply", *options, seconds=0.02)
        second.wait_for_partitions()
        assert second.stop() == 0
    check(work, first)
    assert work.repeated() == []


OFFSETS_REFUSED = (14, 15, 16, 22, 25, 27, 28, 30, -1)
"""Error codes of a group coordinator for the offsets of a transaction: it moves, refuses the member, or otherwise."""

ENDS_REFUSED = (14, 15, 16, 51, 48, 90)
"""Error codes of a transaction coordinator for an end: it moves, is busy, has aborted, or has fenced the producer."""


def test_transactions_refused_with_any_error_code_lose_and_repeat_no_output(
    wired: Wired, wired_scenario: MakeScenario
) -> None:
    work = wired_scenario(2)
    produce(work, 200)
    fleet = work.run("reply", *OPTIONS, *exactly_once(work), seconds=0.005)
    for refuse, codes in ((wired.wire.refuse_commits, OFFSETS_REFUSED), (wired.wire.refuse_ends, ENDS_REFUSED)):
        for code in codes:
            refuse(code, 1)
            produce(work, 20)
            until(lambda: not wired.wire.has_refusals, f"a transaction is refused with {code}", 60)
    check(work, fleet)


def test_a_broker_that_dies_and_restarts_causes_no_lost_or_repeated_output(
    own_broker: MakeBroker, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    broker = own_broker()
    name = cluster.create_topic(broker.bootstrap_servers, "orders", 4)
    work = Scenario(broker, name, name, tmp_path, start_fleet)
    produce(work, 400, 40)
    fleet = work.run("reply", "-w", "8", *exactly_once(work), *OUTLASTING, seconds=0.02)
    work.wait_done(100)
    broker.kill()
    broker.start()
    check(work, fleet)


def test_a_consumer_suspended_past_its_session_writes_no_output_of_tasks_that_others_run(
    scenario: MakeScenario,
) -> None:
    work = scenario()
    produce(work, 1_500, 40)
    sleeper = work.run("reply", *OPTIONS, *exactly_once(work), seconds=0.01)
    work.wait_done(200)
    (pid,) = sleeper.consumers()
    paused = psutil.Process(pid)
    paused.suspend()
    other = work.run("reply", "-w", "8", *PATIENT, *exactly_once(work), seconds=0.01)
    other.wait_for_partitions()  # it is up, even if the other has done all tasks
    work.wait_done(800)
    work.wake(paused)
    check(work, sleeper, other)
