"""With exactly-once, readers of committed records see one output of each task, whatever is killed or refused."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.chaos.scenes import NOTICED_SOON
from tests.chaos.test_instants import dying
from tests.chaos.traps import TRANSACTION_TRAPS
from tests.support import appearances
from tests.support.appearances import exactly_once
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario

OPTIONS = ("-w", "8", *NOTICED_SOON)


def produce(work: Scenario, tasks: int = 320, sessions: int = 10) -> None:
    work.produce((b"s%d" % (n % sessions), b"rejected" if n % 20 == 0 else b"works") for n in range(tasks))


def check(work: Scenario, *fleets: Fleet) -> None:
    """Everything comes to its end, and each task has had one output."""
    appearances.wait_for_all(work)
    work.wait_lag(0)
    assert [fleet.stop() for fleet in fleets] == [0] * len(fleets)
    assert appearances.wrong(work) == {}


@pytest.mark.parametrize("trap", TRANSACTION_TRAPS)
def test_a_death_at_any_instant_of_a_transaction_loses_and_repeats_no_output(scenario: MakeScenario, trap: str) -> None:
    work = scenario()
    produce(work)
    fleet = work.run("reply", *OPTIONS, *exactly_once(work), env=dying(work, trap), seconds=0.02)
    ended = fleet.wait_for("fleet.consumer_exited")
    assert ended["exit_code"] == -signal.SIGKILL
    check(work, fleet)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_rebalances_between_and_in_the_middle_of_transactions_lose_and_repeat_no_output(
    scenario: MakeScenario, protocol: str
) -> None:
    """A transaction is nearly always under way: each one lasts longer than the pause between two."""
    work = scenario(8)
    produce(work, 2_000, 60)
    sessions = NOTICED_SOON if protocol == "classic" else ()
    options = ("-w", "8", "--group-protocol", protocol, *sessions, *exactly_once(work), "--commit-interval", "0.01")
    first = work.run("reply", *options, seconds=0.02)
    work.wait_begun()
    for _ in range(2):
        second = work.run("reply", *options, seconds=0.02)
        second.wait_for("consumer.assigned")
        assert second.stop() == 0
    check(work, first)
    assert work.repeated() == []


def test_a_consumer_that_was_paused_past_its_session_writes_no_output_of_what_others_do(
    scenario: MakeScenario,
) -> None:
    work = scenario()
    produce(work, 1_500, 40)
    sleeper = work.run("reply", *OPTIONS, *exactly_once(work), seconds=0.01)
    work.wait_done(200)
    (pid,) = sleeper.consumers()
    paused = psutil.Process(pid)
    paused.suspend()
    other = work.run("reply", *OPTIONS, *exactly_once(work), seconds=0.01)
    work.wait_done(800)
    work.wake(paused)
    check(work, sleeper, other)
