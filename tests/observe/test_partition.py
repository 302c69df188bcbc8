"""One partition, from the reports of its consumers."""

from __future__ import annotations

from typing import Any

import pytest

from processor.observe.consumer import ConsumerNow
from processor.observe.head_blocks import HeadBlocks
from processor.observe.partition import PartitionNow
from processor.observe.window import Status
from tests.support.stats import head_of_line, partition_stats

KEY = ("shop", "orders", 3)


class Reported:
    """A partition and what its consumers report."""

    def __init__(self, window: int = 3) -> None:
        self.consumer = ConsumerNow("web", 0, 7, at=0.0)
        self.other = ConsumerNow("web", 1, 8, at=0.0)
        self.blocks = HeadBlocks()
        self.partition = PartitionNow(KEY, partition_stats(topic="orders"), window)

    def at(self, at: float, consumer: ConsumerNow | None = None, **fields: Any) -> PartitionNow:
        usual: dict[str, Any] = {"topic": "orders", "committed": 100, "commit_point": 100, "lag": 5, "head": None}
        usual |= {"in_flight": 0, "fetched_ahead": 0, "gap": 0}
        self.partition.update(partition_stats(**(usual | fields)), at, consumer or self.consumer, self.blocks)
        return self.partition


def test_a_partition_is_named_as_in_the_tools_of_kafka() -> None:
    assert Reported().partition.name == "orders[3]"


def test_the_lag_counts_from_the_committed_offset_as_other_tools_do() -> None:
    assert Reported().at(0, committed=90, commit_point=100, lag=5).lag_now == 15


def test_the_lag_of_a_partition_that_was_never_committed_counts_from_its_commit_point() -> None:
    assert Reported().at(0, committed=None, commit_point=100, lag=5).lag_now == 5


def test_an_unknown_lag_leaves_the_last_one() -> None:
    reported = Reported()
    reported.at(0, lag=5)
    assert reported.at(10, lag=None).lag_now == 5


def test_the_lag_of_a_held_partition_is_known_although_nothing_of_it_is_committed() -> None:
    held = Reported().at(10.0, committed=None, commit_point=None, lag=7, waits_for=["orders[0]@4"])
    assert (held.lag_now, held.waits_for) == (7, "orders[0]@4")
    assert [point.most for point in held.lag.points()] == [7]
    assert held.judge(10.0) is Status.EARLY


def test_of_what_a_partition_waits_for_the_first_ones_are_named() -> None:
    held = Reported().at(10.0, waits_for=[f"orders[{n}]@4" for n in range(5)])
    assert held.waits_for == "orders[0]@4, orders[1]@4, orders[2]@4 and 2 more"


def test_the_time_of_the_last_move_is_that_of_the_committed_offset() -> None:
    reported = Reported()
    for at, committed in ((0, 90), (10, 100), (20, 100), (30, 100)):
        reported.at(at, committed=committed)
    assert reported.partition.moved_at == 10


def test_an_offset_that_moves_back_is_kept_with_the_one_before() -> None:
    reported = Reported()
    reported.at(0, committed=100)
    partition = reported.at(10, committed=20, commit_point=20)
    assert partition.rewound == (100, 20)
    assert partition.judge(10) is Status.REWOUND


def test_rates_are_of_the_window() -> None:
    reported = Reported()
    for at in (0, 10, 20):
        reported.at(at, committed=100 + 3 * at, commit_point=100 + 3 * at, lag=5 + 2 * at)
    assert reported.partition.rates == (3.0, 5.0)
    assert reported.partition.span == 20


@pytest.mark.parametrize("reports", [0, 1])
def test_there_is_no_rate_without_two_reports(reports: int) -> None:
    reported = Reported()
    for at in range(reports):
        reported.at(at)
    assert reported.partition.rates == (0.0, 0.0)


def test_the_worst_verdict_is_remembered_and_too_early_is_none() -> None:
    reported = Reported()
    assert [reported.at(at).worst for at in (0, 10, 20)] == [Status.OK, Status.OK, Status.STALLED]
    reported.at(30, lag=0)
    assert (reported.partition.judge(30), reported.partition.worst) == (Status.OK, Status.STALLED)
    assert [int(point.most) for point in reported.partition.verdicts.points()] == [1, 1, 4, 0]


def test_a_partition_whose_oldest_task_is_paused_is_paused_and_not_stalled() -> None:
    reported = Reported()
    paused: dict[str, Any] = {"head": head_of_line(state="paused"), "head_paused": True}
    assert [reported.at(at, **paused).worst for at in (0, 10, 20)] == [Status.OK, Status.OK, Status.PAUSED]
    assert reported.partition.judge(20) is Status.PAUSED
    assert not Status.PAUSED.is_fault
    assert reported.partition.judge(100) is Status.STOPPED
    assert reported.at(30).judge(30) is Status.STALLED
    assert Status.STALLED.is_fault


def test_a_pause_does_not_explain_the_stall_of_a_consumer_that_is_cut_off() -> None:
    reported = Reported()
    for at in (0, 10, 20):
        reported.at(at, head=head_of_line(state="paused"), head_paused=True)
    reported.consumer.state = "cut off"
    assert reported.partition.judge(20) is Status.STALLED


def test_a_task_blocks_the_partition_once_it_was_seen_long_enough() -> None:
    reported = Reported()
    head = head_of_line(offset=100, state_seconds=0.5)
    assert reported.at(0, head=head, in_flight=1).head_block is None
    block = reported.at(10, head=head_of_line(offset=100, state_seconds=10.5), in_flight=1).head_block
    assert block is not None
    assert (block.seconds, block.seen) == (10.5, 2)


def test_a_release_ends_the_block_and_keeps_it_until_there_is_an_owner() -> None:
    reported = Reported()
    for at in (0, 10):
        reported.at(at, head=head_of_line(offset=100, state_seconds=at + 1.0), in_flight=1)
    reported.partition.release(reported.blocks)
    assert reported.partition.head_block is None
    assert reported.partition.released_with is not None
    assert [block.offset for block in reported.blocks.longest()] == [100]
    reported.at(20, reported.other)
    assert reported.partition.released_with is None


def test_a_second_release_keeps_what_blocked_at_the_first() -> None:
    reported = Reported()
    reported.at(0, head=head_of_line(offset=100, state_seconds=60.0), in_flight=1)
    for _ in range(2):
        reported.partition.release(reported.blocks)
    assert reported.partition.released_with is not None


def test_the_last_owner_is_known_after_a_release() -> None:
    reported = Reported()
    partition = reported.at(0)
    partition.release(reported.blocks)
    assert partition.consumer is None
    assert partition.last_consumer is reported.consumer
    assert reported.consumer.owned == set()


def test_each_consumer_has_the_partitions_that_it_owns() -> None:
    reported = Reported()
    reported.at(0)
    assert (reported.consumer.owned, reported.other.owned) == ({KEY}, set())
    reported.at(10, reported.other)
    assert (reported.consumer.owned, reported.other.owned) == (set(), {KEY})


def test_only_an_idle_partition_with_an_owner_is_confirmed() -> None:
    reported = Reported()
    reported.at(0, lag=5).confirm_idle(10, reported.blocks)
    assert reported.partition.at == 0
    reported.at(10, lag=0).confirm_idle(20, reported.blocks)
    assert reported.partition.at == 20
    reported.partition.confirm_idle(15, reported.blocks)
    assert reported.partition.at == 20
    reported.partition.release(reported.blocks)
    reported.partition.confirm_idle(30, reported.blocks)
    assert reported.partition.at == 20
