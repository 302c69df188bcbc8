"""Commits that the client answers late or never, and when which offsets are committed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import accumulate
from random import Random

import pytest

from processor.engine import lease
from processor.engine.lease import LEASE_SHARE
from processor.engine.skipmap import decode
from processor.handlers.task import Task
from processor.runtime.commits import committer
from processor.runtime.ports import Commit, NotSent
from processor.telemetry.events import (
    ConsumerCommitFailed,
    ConsumerLeaseLapsed,
    ConsumerSkipMapCut,
    ConsumerSkipMapRefused,
    ConsumerStats,
)
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import Gate
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSource
from tests.support.until import until

SESSION_SECONDS = 12.0
"""Long enough for a lease of which half is left when it is renewed: a machine that stands still for 3 s voids none."""


def ignore(task: Task) -> None:
    pass


def records(first: int, end: int) -> list[FakeRecord]:
    return [FakeRecord(offset, b"s") for offset in range(first, end)]


def keep_one(run: RunningConsumer) -> None:
    """The client holds back the commit of offset 10, and sends it once it has found its coordinator again."""

    def is_first_of_ten(commits: Sequence[Commit]) -> bool:
        return not run.source.kept and commits[0].offset == 10

    run.source.keeps = is_first_of_ten


def test_an_unanswered_commit_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No further record comes: without the second commit, the partition's lag would remain."""
    monkeypatch.setattr(committer, "UNANSWERED_SECONDS", 0.05)
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.commit_point() == 10)
        assert run.source.kept


def test_a_commit_that_arrives_after_a_later_one_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group has the earlier commit then. No further record comes, so the later commit must be made again."""
    monkeypatch.setattr(committer, "UNANSWERED_SECONDS", 0.05)
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.source.kept)
        run.push(*records(10, 20))
        until(lambda: run.commit_point() == 20)
        assert run.source.send_kept().wait(60)
        until(lambda: run.commit_point() == 20)


def test_a_stop_waits_for_a_commit_in_flight_so_that_the_last_commit_wins() -> None:
    """If it arrived after the last commit, settled tasks would run again after a clean stop."""
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.source.kept)
        run.push(*records(10, 20))
        run.settled(20)
        run.consumer.request_stop("the test is over")
        until(lambda: run.commit_point() == 20)
        run.source.send_kept()
        assert run.wait().exit_code == 0
        assert run.commit_point() == 20


# --- when -------------------------------------------------------------------------------------------


def test_a_partition_without_a_record_is_committed_at_its_start() -> None:
    """Otherwise the partition would look new to the next consumer."""
    with RunningConsumer(ignore, partitions=3) as run:
        until(lambda: [run.commit_point(number) for number in range(3)] == [0, 0, 0])


def test_offsets_without_a_record_are_committed_past() -> None:
    """Transaction markers and compacted records have offsets: without this, the lag would never be 0."""
    with RunningConsumer(ignore) as run:
        run.push(*records(0, 3))
        run.cluster.skip(PARTITION, 2)
        run.push(*records(5, 7))
        run.cluster.skip(PARTITION, 1)
        until(lambda: run.commit_point() == 8)


def test_nothing_is_committed_before_the_interval_ends_except_at_a_stop() -> None:
    with RunningConsumer(ignore, commit_interval=60.0) as run:
        until(lambda: run.commit_point() == 0)
        run.push(*records(0, 10))
        run.settled(10)
        now = run.consumer.pulse().last_loop_at
        until(lambda: run.consumer.pulse().last_loop_at > now + 0.2)
        assert run.commit_point() == 0
        assert run.stop().exit_code == 0
    assert run.commit_point() == 10


def test_very_many_settled_tasks_are_committed_before_the_interval_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "EARLY_COMMIT", 50)
    with RunningConsumer(ignore, commit_interval=600.0) as run:
        until(lambda: run.commit_point() == 0)
        run.push(*records(0, 49))
        run.settled(49)
        assert run.commit_point() == 0
        run.push(*records(49, 60))
        until(lambda: (run.commit_point() or 0) >= 50)  # the poller may look before the last of them have settled


def test_unchanged_offsets_are_not_committed_again() -> None:
    with RunningConsumer(ignore, partitions=2, stats_interval=0.1) as run:
        until(lambda: run.commit_point(0) == run.commit_point(1) == 0)
        sent: list[Sequence[Commit]] = []
        run.source.refuses = sent.append
        run.push(*records(0, 10))
        until(lambda: run.commit_point() == 10)
        before = run.until_event(ConsumerStats, lambda stats: stats.succeeded == 10)
        run.until_event(ConsumerStats, lambda stats: stats.uptime_seconds > before.uptime_seconds + 0.3)
    assert {commit.partition for commits in sent for commit in commits} == {PARTITION}
    assert [commits[0].offset for commits in sent][-1] == 10
    assert len({commits[0] for commits in sent}) == len(sent)


def test_while_a_commit_is_not_answered_no_other_is_sent() -> None:
    """A client that loses its coordinator sends a commit again, and it might arrive after a later one."""
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.source.kept)
        before = run.commit_point()
        run.push(*records(10, 20))
        run.settled(20)
        now = run.consumer.pulse().last_loop_at
        until(lambda: run.consumer.pulse().last_loop_at > now + 0.2)
        assert run.commit_point() == before
        run.source.send_kept()
        until(lambda: run.commit_point() == 20)


# --- refusals ---------------------------------------------------------------------------------------


def test_a_refused_commit_is_repeated_until_the_group_accepts_it() -> None:
    with RunningConsumer(ignore, stats_interval=0.1) as run:
        until(lambda: run.commit_point() == 0)
        run.source.refusal = "rebalance in progress"
        run.push(*records(0, 10))
        run.until_event(ConsumerStats, lambda stats: stats.commit_failures >= 3)
        assert run.commit_point() == 0
        run.source.refusal = None
        until(lambda: run.commit_point() == 10)


def test_a_commit_that_was_not_sent_is_made_again_and_is_no_failure() -> None:
    with RunningConsumer(ignore, stats_interval=0.1) as run:
        until(lambda: run.commit_point() == 0)
        answers = [NotSent("kept"), NotSent("kept again")]
        run.source.refuses = lambda _: answers.pop() if answers else None
        run.push(*records(0, 10))
        until(lambda: run.commit_point() == 10)
        assert run.stop().exit_code == 0
    assert answers == []
    assert run.of(ConsumerStats)[-1].commit_failures == 0
    assert run.of(ConsumerCommitFailed) == []


def test_a_reason_is_logged_once_until_a_commit_is_accepted_or_another_reason_comes() -> None:
    with RunningConsumer(ignore, stats_interval=0.1) as run:

        def refuse(reason: str) -> None:
            run.until_event(ConsumerStats)
            failures = run.of(ConsumerStats)[-1].commit_failures
            run.source.refusal = reason
            run.push(FakeRecord(run.cluster.logs[PARTITION].end, b"s"))
            run.until_event(ConsumerStats, lambda stats: stats.commit_failures >= failures + 3)

        refuse("away")
        refuse("moving")
        run.source.refusal = None
        until(lambda: run.commit_point() == 2)
        refuse("moving")
        run.source.refusal = None
        assert run.stop().exit_code == 0
    failed = run.of(ConsumerCommitFailed)
    assert [event.error for event in failed] == ["away", "moving", "moving"]
    assert failed[0].partitions == ["t[0]"]


def test_an_answer_that_comes_after_its_partition_was_given_up_changes_nothing() -> None:
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.source.kept)
        run.push(*records(10, 20))
        run.settled(20)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.commit_point() == 20
        late = run.source.kept.pop()
        assert run.source.happens(lambda: run.source.listener.on_committed(late, None)).wait(60)
        assert run.source.assign(PARTITION).wait(60)
        run.push(*records(20, 25))
        until(lambda: run.commit_point() == 25)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerStats)[-1].succeeded == 25


# --- skip maps --------------------------------------------------------------------------------------


def test_a_skip_map_that_does_not_fit_is_cut_and_the_rest_runs_again_in_the_next_consumer() -> None:
    """Settled and unsettled records alternate with gaps of random lengths, so that no encoding of them is short."""
    chance = Random(1)
    offsets = list(accumulate(chance.randrange(1, 10_000) for _ in range(8_000)))
    unsettled = set(offsets[::2])

    def fail_every_other(task: Task) -> None:
        if task.offset in unsettled:
            raise ConnectionError("not yet")

    with RunningConsumer(fail_every_other, backoff=60.0, backoff_max=60.0) as first:
        first.push(*[FakeRecord(offset, b"s%d" % offset) for offset in offsets])
        first.settled(4_000)
        assert first.stop().exit_code == 0
    commit = first.cluster.committed[PARTITION]
    assert commit.offset == offsets[0]
    assert 3000 < len(commit.metadata) <= 4096
    (cut, *more) = first.of(ConsumerSkipMapCut)
    assert not more
    assert cut.kept_until < cut.settled_until <= offsets[-1] + 1
    ran: list[int] = []
    with RunningConsumer(lambda task: ran.append(task.offset), cluster=first.cluster) as second:
        until(lambda: second.commit_point() == offsets[-1] + 1)
        assert second.stop().exit_code == 0
    skipped = second.of(ConsumerStats)[-1].skipped
    assert 500 < skipped < 4_000
    assert skipped + len(ran) == 8_000
    assert unsettled <= set(ran)


def test_a_member_whose_skip_map_is_refused_proves_its_membership_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a group that does not accept the metadata of its commits would stop it permanently."""
    monkeypatch.setattr(ScriptedSource, "session_seconds", SESSION_SECONDS)
    monkeypatch.setattr(lease, "ASLEEP_SECONDS", 60.0)
    gate = Gate(lambda task: task.offset == 0)
    with RunningConsumer(gate.handle) as run:
        run.source.refuses = lambda commits: "too large" if any("p2:" in c.metadata for c in commits) else None
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(10)])
        gate.until_passed(9)
        began = run.consumer.pulse().last_loop_at
        lapses = SESSION_SECONDS * LEASE_SHARE  # time is what is tested: a lease that is not renewed
        until(lambda: run.consumer.pulse().last_loop_at > began + lapses + 1.0)
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(10, 20)])
        gate.until_passed(19)
        gate.open()
        until(lambda: run.commit_point() == 20)
    assert run.of(ConsumerLeaseLapsed) == []
    assert run.of(ConsumerCommitFailed)


def group_that_takes(characters: int) -> ScriptedCluster:
    """A group whose brokers accept this many characters of metadata."""
    cluster = ScriptedCluster()
    cluster.create_topic(PARTITION.topic, 1)
    cluster.most_metadata = characters
    return cluster


@pytest.mark.parametrize("most", [60, 0])
def test_a_skip_map_that_the_brokers_refuse_is_made_shorter_until_they_take_it(most: int) -> None:
    go_on, ahead = threading.Event(), set(Random(1).sample(range(1, 200), 90))

    def handler(task: Task) -> None:
        if task.session_id == "stuck":
            go_on.wait(30)

    with RunningConsumer(handler, cluster=group_that_takes(most)) as run:
        run.push(*[FakeRecord(n, b"k%d" % n if n in ahead else b"stuck") for n in range(200)])
        until(lambda: run.of(ConsumerSkipMapRefused))
        until(
            lambda: run.commit_point() == 0 and bool(decode(run.cluster.committed[PARTITION].metadata, 0)) == bool(most)
        )
        metadata = run.cluster.committed[PARTITION].metadata
        assert len(metadata) <= most
        known = decode(metadata, 0)
        assert bool(known) == bool(most)
        assert {offset for low, high in known for offset in range(low, high)} <= ahead
        go_on.set()
        run.settled(200)
        assert run.stop().exit_code == 0
    assert run.commit_point() == 200
    assert len(run.of(ConsumerSkipMapRefused)) == 1
    assert not run.of(ConsumerCommitFailed)


def test_a_last_commit_is_made_with_a_shorter_map_at_once() -> None:
    """A skip map alone does not make the stop fail."""
    go_on = threading.Event()

    def handler(task: Task) -> None:
        if task.offset == 0:
            go_on.wait(30)

    with RunningConsumer(handler, cluster=group_that_takes(60), commit_interval=1000.0, drain_timeout=0.0) as run:
        run.push(*[FakeRecord(n, b"k%d" % n) for n in range(0, 200, 2)])
        until(lambda: run.consumer._desk.running == 1 and run.consumer._desk.waiting == 0)
        assert run.stop().exit_code == 3  # one task still ran
        go_on.set()
    assert run.commit_point() == 0
    assert decode(run.cluster.committed[PARTITION].metadata, 0) == [(1, 199)]
