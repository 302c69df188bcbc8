"""A network that is slow, cut or silent, and commits that the coordinator refuses."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from tests.chaos.scenes import NOTICED_SOON
from tests.conftest import Wired
from tests.support import cluster
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

BOTH = pytest.mark.parametrize("protocol", ["classic", "consumer"])

MAY_REPEAT = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH}
"""After these errors the client gives up its membership, and tasks that were not committed may run again."""

REFUSALS = (
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.INVALID_COMMIT_OFFSET_SIZE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.UNKNOWN,
)
"""The errors with which a group coordinator answers OffsetCommit, from `OffsetCommitResponse.json` and its source."""


@pytest.mark.parametrize("code", REFUSALS, ids=lambda code: KafkaError(code).name())
def test_refused_commits_lose_no_task(wired: Wired, wired_scenario: MakeScenario, code: int) -> None:
    """If the client gives up its membership, the group waits until the session of the old member times out."""
    work = wired_scenario(partitions=2)
    work.produce_sessions(1_000, 20)
    refused_before = wired.wire.refused
    options = ("-X", "session.timeout.ms=6000") if code in MAY_REPEAT else ()
    fleet = work.run("note", "-w", "8", "--commit-interval", "0.1", *options, seconds=0.005)
    work.wait_done(100)
    times = 1 if code in MAY_REPEAT else 5
    wired.wire.refuse_commits(code, times)
    work.wait_done(1_000)
    while wired.wire.refused < refused_before + times:
        work.produce_sessions(20, 20)
        work.wait_done(len(work.places))
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults(replays_in_process=code in MAY_REPEAT) == {}
    if code not in MAY_REPEAT:
        assert work.repeated() == []


def test_a_fenced_consumer_reports_the_conflicting_instance_id_and_is_replaced(
    wired: Wired, wired_scenario: MakeScenario
) -> None:
    """The client cannot continue after this error; the consumer's process is replaced as if it had died."""
    work = wired_scenario(partitions=1)
    work.produce_sessions(200, 5)
    fleet = work.run("note", "--commit-interval", "0.1", "-X", "group.instance.id=box")
    work.wait_done(200)
    wired.wire.refuse_commits(KafkaError.FENCED_INSTANCE_ID, 1)
    work.produce_sessions(20, 5)
    ended = fleet.wait_for("fleet.consumer_exited", exit_code=1)
    assert ended["reason"] == "fenced: another consumer of this group has the same group.instance.id"
    fleet.wait_for("consumer.assigned", count=2)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}


@BOTH
def test_half_a_second_of_latency_on_every_request_loses_and_repeats_no_task(
    wired: Wired, wired_scenario: MakeScenario, protocol: str
) -> None:
    work = wired_scenario()
    work.produce_sessions(1_000, 50)
    wired.wire.delay = 0.5
    try:
        fleet = work.run("note", "-p", "2", "-w", "8", "--group-protocol", protocol, seconds=0.002)
        work.wait_done(1_000)
        assert fleet.stop() == 0
    finally:
        wired.wire.delay = 0.0
    assert work.faults() == {}
    assert work.repeated() == []
    # The last commit may be a transaction, which the coordinator confirms a moment before it shows the offsets.
    work.wait_lag(0)


@BOTH
@pytest.mark.parametrize("fault", ["cut", "silent"])
def test_a_network_outage_longer_than_a_session_loses_no_task(
    wired: Wired, wired_scenario: MakeScenario, fault: str, protocol: str
) -> None:
    """The outage ends once the group has evicted its only member. With no second member, no task may overlap."""
    work = wired_scenario()
    work.produce_sessions(2_000, 30)
    options: tuple[str, ...] = ("-w", "4", "--group-protocol", protocol, "-X", "socket.timeout.ms=2000")
    options += NOTICED_SOON if protocol == "classic" else ()
    fleet = work.run("note", *options, seconds=0.005)
    work.wait_done(300)
    if fault == "cut":
        with wired.wire.cut():
            wait_for_eviction(work)
    else:
        wired.wire.silent = True
        wait_for_eviction(work)
        wired.wire.silent = False
    fleet.wait_for("consumer.lost")
    work.wait_done(2_000)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults(replays_in_process=True) == {}


def wait_for_eviction(work: Scenario) -> None:
    """Waits until the group has no members."""
    until(lambda: not cluster.members(work.servers, work.group), "the group evicts its member", pause=0.1)
