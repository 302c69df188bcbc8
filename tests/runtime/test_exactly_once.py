"""Exactly-once: outputs and offsets are committed together, and no session waits for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from processor.engine import skipmap
from processor.engine.commit_note import kept_in
from processor.engine.lease import Lease
from processor.engine.offsets import Progress
from processor.engine.outbox import Cut, Staged
from processor.engine.outcome import Succeeded
from processor.engine.skipmap import decode
from processor.handlers.exceptions import Reject
from processor.handlers.joins import Join
from processor.handlers.task import Task
from processor.runtime import outbox
from processor.runtime.attempt import Attempt
from processor.runtime.commits.metadata import Metadata
from processor.runtime.commits.staging import Staging
from processor.runtime.desk import Desk
from processor.runtime.outbox import Output
from processor.runtime.ports import Commit, OutputRecord, Partition
from processor.runtime.task_log import TaskLog
from processor.runtime.timers import Timers
from processor.settings import Settings
from processor.telemetry.events import (
    ConsumerCommitFailed,
    ConsumerSkipMapRefused,
    ConsumerStats,
    Event,
    TaskDeadLettered,
    TaskDeliveryFailed,
)
from tests.runtime.fakes import PARTITION, TOPIC, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_join_machine import Worker
from tests.runtime.test_joins import SHIP, arrival
from tests.support.until import until

OTHER = PARTITION._replace(number=1)
RESULTS, LETTERS = "r", "t.dlq"


def once(app: object, **options: Any) -> RunningConsumer:
    return RunningConsumer(app, **{"delivery": "exactly-once", "results_topic": RESULTS, **options})


def answer(task: Task) -> bytes:
    """Task 3 is rejected, every other one has a result."""
    if task.payload == b"3":
        raise Reject("no")
    payload: bytes = task.payload
    return payload


async def answer_async(task: Task) -> bytes:
    return answer(task)


def tasks(first: int, end: int, sessions: int = 3, partition: int = 0) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % (n % sessions), b"%d" % n, partition=partition) for n in range(first, end)]


def values(run: RunningConsumer, topic: str = RESULTS) -> list[int]:
    return [int(record.value() or b"") for record in run.cluster.records(topic)]


@pytest.mark.parametrize("comes", ["the borrower", "the watchdog", "the committer"])
def test_an_output_is_staged_by_the_thread_that_comes_to_the_desk_first(comes: str) -> None:
    """Its borrower may be busy with a long task."""
    lease, worker = Lease(45.0), Worker()
    lease.renew(float("inf"))
    desk = Desk(lease, Timers(), stages=True)
    desk.lending.enter_invited(worker)
    desk.partitions.assign(PARTITION, 0, [])
    desk.inflow.admit([(PARTITION, [FakeRecord(0, b"a"), FakeRecord(1, b"a")])])
    assert desk.lending.exchange(worker, 1)
    loan = worker.batch.popleft()
    desk.outcomes.stage(loan, "output", 10, dead_letter=False, result=True)
    assert (desk.running, desk.counts.results, desk.commits.has_staged) == (1, 0, False)
    if comes == "the borrower":
        desk.lending.exchange(worker, 0)
    elif comes == "the watchdog":
        desk.upkeep.tend(time.monotonic())
    else:
        (cut,) = desk.commits.cut(None, {})
        assert [staged.output for staged in cut.cut.outputs] == ["output"]
        assert cut.cut.progress.commit_point == 1
    assert (desk.running, desk.counts.results, desk.commits.has_staged) == (0, 1, True)
    assert (desk.ready, desk.waiting) == (1, 1)


def test_outputs_of_a_committed_transaction_leave_their_outboxes_although_the_line_of_one_fails() -> None:
    """An output that remained there would be sent again with the next transaction."""
    lease, worker = Lease(45.0), Worker()
    lease.renew(float("inf"))
    desk = Desk(lease, Timers(), stages=True)
    staging = Staging(desk, TaskLog(Settings(topics=(TOPIC,), group="g"), list[Event]().append))
    desk.lending.enter_invited(worker)
    for partition in (PARTITION, OTHER):
        desk.partitions.assign(partition, 0, [])
        desk.inflow.admit([(partition, [FakeRecord(0, b"a", partition=partition.number)])])
    assert desk.lending.exchange(worker, 2)

    def fail() -> None:
        raise RuntimeError("a fault")

    for loan in worker.batch:
        attempt = Attempt(loan, loan.records[0], 1, Succeeded(None))
        staging.send(Output(attempt, [OutputRecord(RESULTS, b"a", b"", [])], written=fail))
    for cut in desk.commits.cut(None, {}):
        staging.take(cut.ledger, cut.cut.outputs)
    assert len(staging.records()) == 2
    with pytest.raises(RuntimeError, match="a fault"):
        staging.conclude(None)
    assert not desk.commits.has_staged


def keep_next(run: RunningConsumer) -> None:
    """The next transaction lasts until the test ends it."""
    left = [True]
    run.source.keeps = lambda commits: bool(left) and left.pop()


# --- together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [answer, answer_async])
def test_each_task_has_one_output_and_none_goes_another_way(handler: Callable[[Task], Any]) -> None:
    with once(handler) as run:
        run.push(*tasks(0, 60))
        run.settled(60)
        assert run.stop().exit_code == 0
    assert sorted(values(run) + values(run, LETTERS)) == list(range(60))
    assert values(run, LETTERS) == [3]
    for session in range(3):
        of_session = [value for value in values(run) if value % 3 == session]
        assert of_session == sorted(of_session)
    assert run.commit_point() == 60
    assert run.sink.sent == []
    stats = run.of(ConsumerStats)[-1]
    assert (stats.succeeded, stats.results, stats.dead_lettered) == (59, 59, 1)


class Watched:
    """Checks every transaction of a consumer, and records violations."""

    def __init__(self, run: RunningConsumer) -> None:
        self.transactions = 0
        self.wrong: list[str] = []
        self._outputs: dict[Partition, set[int]] = {}
        self._commit = run.source.commit
        run.source.commit = self.commit  # type: ignore[method-assign]

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        """Each task has an output: offset and skip map must list exactly the tasks whose outputs are committed."""
        self.transactions += 1
        for output in outputs:
            _, partition, offset = dict(output.headers)["task-id"].decode().rsplit("-", 2)  # type: ignore[union-attr]
            self._outputs.setdefault(PARTITION._replace(number=int(partition)), set()).add(int(offset))
        for partition, offset, metadata in commits:
            ranges = [(0, offset), *decode(metadata, offset)]
            settled = {at for low, high in ranges for at in range(low, high)}
            if settled != self._outputs.get(partition, set()):
                self.wrong.append(f"{partition}: {sorted(settled ^ self._outputs.get(partition, set()))}")
        self._commit(commits, outputs)


def test_every_transaction_commits_as_settled_exactly_the_tasks_whose_outputs_it_and_earlier_ones_contain() -> None:
    def dawdle(task: Task) -> bytes:
        time.sleep(task.offset % 5 / 1000)
        return b"%d" % task.offset

    run = once(dawdle, partitions=2)
    watched = Watched(run)
    with run:
        for first in range(0, 400, 40):
            run.push(*tasks(first, first + 40, 20), *tasks(first, first + 40, 20, partition=1))
            until(lambda made=watched.transactions: watched.transactions > made)  # type: ignore[misc]
        run.settled(800)
        assert run.stop().exit_code == 0
    assert watched.wrong == []
    assert watched.transactions > 5
    assert len(values(run)) == 800


def test_a_task_without_an_output_is_committed_as_well() -> None:
    with once(lambda task: None) as run:
        run.push(*tasks(0, 10))
        until(lambda: run.commit_point() == 10)
    assert values(run) == []


# --- nothing waits for a transaction -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_goes_on_while_its_result_waits_for_a_transaction(kind: str) -> None:
    ran: list[int] = []

    def note(task: Task) -> bytes:
        ran.append(task.offset)
        return b"%d" % task.offset

    async def note_async(task: Task) -> bytes:
        return note(task)

    with once(note if kind == "plain" else note_async) as run:
        keep_next(run)
        run.push(*tasks(0, 1))
        until(lambda: run.source.kept)
        run.push(*tasks(1, 30, 1))
        run.settled(30)
        assert values(run) == []
        run.source.send_kept()
        until(lambda: run.commit_point() == 30)
    assert ran == list(range(30)) == values(run)


def test_there_is_one_transaction_at_a_time_and_a_stop_waits_for_it() -> None:
    with once(answer) as run:
        keep_next(run)
        run.push(*tasks(0, 1))
        until(lambda: run.source.kept)
        run.push(*tasks(4, 10))
        run.settled(7)
        run.consumer.request_stop("the test is over")
        assert values(run) == []
        run.source.send_kept()
        assert run.wait().exit_code == 0
    assert values(run) == [0, 4, 5, 6, 7, 8, 9]
    assert run.commit_point() == 10


def test_what_an_aborted_transaction_had_goes_with_the_next_one_and_no_handler_runs_again() -> None:
    ran: list[int] = []

    def note(task: Task) -> bytes:
        ran.append(task.offset)
        return b"%d" % task.offset

    with once(note) as run:
        run.source.refusal = "Transaction timed out"
        run.push(*tasks(0, 9))
        run.until_event(ConsumerCommitFailed)
        run.push(*tasks(9, 20))
        run.settled(20)
        run.source.refusal = None
        until(lambda: run.commit_point() == 20)
    assert sorted(ran) == sorted(values(run)) == list(range(20))
    for session in range(3):
        of_session = [value for value in values(run) if value % 3 == session]
        assert of_session == sorted(of_session)


def test_a_dead_letter_is_reported_once_it_is_committed() -> None:
    with once(answer) as run:
        keep_next(run)
        run.push(*tasks(3, 4))
        until(lambda: run.source.kept)
        assert run.of(TaskDeadLettered) == []
        run.source.send_kept()
        run.until_event(TaskDeadLettered)
    assert values(run, LETTERS) == [3]


# --- the group ---------------------------------------------------------------------------------------


def test_a_revoke_ends_with_the_outputs_of_all_that_the_drain_waited_for() -> None:
    gate = Gate()

    def held(task: Task) -> bytes:
        gate.handle(task)
        return b"%d" % task.offset

    with once(held, commit_interval=60.0) as run:
        run.push(*tasks(0, 3))
        gate.until_begun(3)
        revoked = run.source.revoke(PARTITION)
        gate.open()
        assert revoked.wait(60)
        assert sorted(values(run)) == [0, 1, 2]
        assert run.commit_point() == 3


def test_a_revoke_tries_a_transaction_that_was_aborted_again() -> None:
    refusals = ["generation", "sequence numbers"]
    with once(answer, commit_interval=60.0) as run:
        run.push(*tasks(0, 3))
        run.settled(3)
        run.source.refuses = lambda commits: refusals.pop(0) if refusals else None
        assert run.source.revoke(PARTITION).wait(60)
        assert sorted(values(run)) == [0, 1, 2]
        assert run.commit_point() == 3
    assert [event.error for event in run.of(ConsumerCommitFailed)] == ["generation", "sequence numbers"]


def test_a_revoke_of_a_member_that_is_refused_each_time_ends() -> None:
    with once(answer, commit_interval=60.0) as run:
        run.push(*tasks(0, 3))
        run.settled(3)
        run.source.refuses = lambda commits: "generation"
        assert run.source.revoke(PARTITION).wait(60)
        run.source.refuses = lambda commits: None
    assert values(run) == []


def test_the_outputs_of_a_partition_that_is_lost_are_not_sent() -> None:
    with once(answer, partitions=2, commit_interval=60.0) as run:
        until(lambda: run.commit_point(1) == 0)
        run.push(*tasks(0, 3), *tasks(5, 9, partition=1))
        run.settled(7)
        lost = run.source.lose(PARTITION)
        assert lost.wait(60)
        run.push(*tasks(9, 10, partition=1))
        assert run.stop().exit_code == 0
    assert not {0, 1, 2} & set(values(run))
    assert run.commit_point() in (None, 0)


# --- what is refused ---------------------------------------------------------------------------------


def test_an_output_that_its_topic_rejects_blocks_only_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_RESEND_SECONDS", 0.02)
    monkeypatch.setattr(outbox, "LAST_RESEND_SECONDS", 0.05)
    with once(answer) as run:
        run.source.refuses_output = lambda output: "too large" if output.value == b"6" else None
        run.push(*tasks(0, 20))
        until(lambda: len(values(run)) == 14)
        failed = run.until_event(TaskDeliveryFailed, lambda event: event.offset == 6)
        assert (failed.target_topic, failed.error) == (RESULTS, "too large")
        until(lambda: run.commit_point() == 6)  # task 3 may be committed after the tasks of the other sessions
        assert sorted(values(run)) == [0, *(n for n in range(20) if n % 3)]
        run.source.refuses_output = lambda output: None
        until(lambda: run.commit_point() == 20)
    assert [value for value in values(run) if value % 3 == 0] == [0, 6, 9, 12, 15, 18]
    assert values(run, LETTERS) == [3]
    assert run.of(ConsumerCommitFailed) == []


def test_a_stop_does_not_wait_longer_than_the_drain_timeout_for_an_output_that_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("processor.runtime.membership.LAST_COMMIT_SECONDS", 0.2)
    with once(answer, drain_timeout=0.2) as run:
        run.source.refuses_output = lambda output: "too large" if output.value == b"1" else None
        run.push(*tasks(0, 3))
        run.until_event(TaskDeliveryFailed)
        until(lambda: sorted(values(run)) == [0, 2])
        assert run.stop().exit_code == 3
    assert sorted(values(run)) == [0, 2]
    assert run.commit_point() == 1


def test_outputs_wait_while_no_skip_map_that_the_brokers_accept_covers_their_tasks() -> None:
    """If they were sent, a crash would repeat them. Tasks settle without a pattern, so that no short map exists."""
    done = set(Random(7).sample(range(1, 200), 100))
    gate = Gate(lambda task: task.offset not in done)

    def held(task: Task) -> bytes:
        gate.handle(task)
        return b"%d" % task.offset

    def covered() -> set[int]:
        commit = run.cluster.committed[PARTITION]
        ranges = decode(commit.metadata, commit.offset)
        return {offset for low, high in ranges for offset in range(low, high)}

    with once(held, workers=120) as run:
        until(lambda: run.commit_point() == 0)
        run.cluster.most_metadata = 60
        run.push(*[FakeRecord(n, b"s%d" % n, b"") for n in range(200)])
        gate.until_passed(100)
        run.until_event(ConsumerSkipMapRefused)
        until(lambda: 0 < len(covered()) < 100)
        with run.cluster.changed:
            assert set(values(run)) == covered()
        gate.open()
        until(lambda: run.commit_point() == 200)
    assert sorted(values(run)) == list(range(200))


def test_a_commit_notes_nothing_as_settled_whose_output_waits_for_room_in_the_skip_map() -> None:
    """Otherwise a new partition would begin with a later task of a session whose earlier output is not committed."""
    waiting = {0, *Random(7).sample(range(1, 1000), 500)}
    stuck = min(set(range(500, 1000)) - waiting)
    groups = {offset: Join(f"{offset}/then", "t-0-0", TOPIC, 2, [SHIP]) for offset in waiting}

    def handler(task: Task) -> bytes:
        if task.offset == stuck:
            raise ConnectionError("not yet")
        payload: bytes = task.payload
        return payload

    with once(handler, commit_interval=60.0, drain_timeout=3.0, backoff=60.0, backoff_max=60.0) as run:
        until(lambda: run.commit_point() == 0)
        run.cluster.most_metadata = 200
        run.push(*[arrival(n, 0, groups[n]) if n in groups else FakeRecord(n, None, b"%d" % n) for n in range(1000)])
        run.settled(1000 - len(waiting) - 1)
        assert run.stop().exit_code == 3  # outputs are left
    commit, sent = run.cluster.committed[PARTITION], set(values(run))
    settled = set(range(commit.offset, commit.offset + kept_in(commit.metadata))) - waiting
    assert settled == set(range(stuck)) - waiting
    assert settled <= sent


def test_outputs_of_tasks_behind_groups_that_wait_need_no_room_in_the_skip_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipmap, "MAX_CHARACTERS", 200)
    waiting = {0, *Random(7).sample(range(1, 1000), 500)}
    groups = {offset: Join(f"{offset}/then", "t-0-0", TOPIC, 2, [SHIP]) for offset in waiting}
    with once(lambda task: task.payload, drain_timeout=20.0) as run:
        run.push(*[arrival(n, 0, groups[n]) if n in groups else FakeRecord(n, None, b"%d" % n) for n in range(1000)])
        until(lambda: len(values(run)) == 1000 - len(waiting))
        assert run.stop().exit_code == 0
    assert run.commit_point() == 0


def test_a_refused_skip_map_is_not_cut_below_the_one_that_the_group_has() -> None:
    """A shorter map would lack tasks whose outputs are committed, so that no commit would be possible."""
    metadata, unsettled = Metadata(lambda _: None), sorted({0, *Random(2).sample(range(1, 60_000), 30_000)})
    cut = Cut(Progress(0, unsettled, 60_000, ()), [])
    known = Commit(PARTITION, 0, skipmap.encode(0, cut.progress.settled_ranges(), 990)[0])
    metadata.accept([known])
    encoded = metadata.of_cut(PARTITION, cut, known)
    while encoded is not None and len(encoded[0].metadata) > 1000:  # what the brokers accept
        other = Commit(OTHER, 0, "p2:short")
        metadata.shorten([encoded[0], other], frozenset([PARTITION, OTHER]))
        encoded = metadata.of_cut(PARTITION, cut, known)
    assert encoded is not None
    assert set(decode(known.metadata, 0)) <= set(decode(encoded[0].metadata, 0))
    encoded = metadata.of_cut(OTHER, cut, None)
    assert encoded is not None
    assert len(encoded[0].metadata) > 4000, "a transaction was refused for another partition's map"


def test_a_skip_map_that_was_full_before_the_first_group_waited_leaves_room_for_the_note() -> None:
    """The unsettled arrivals in it may wait for hours, so it does not get shorter by itself."""
    metadata, unsettled = Metadata(lambda _: None), sorted({0, *Random(2).sample(range(1, 60_000), 30_000)})
    progress = Progress(0, unsettled, 60_000, ())
    encoded = metadata.of_cut(PARTITION, Cut(progress, []), None)
    assert encoded is not None
    full, made, _ = encoded
    assert not made.is_whole
    cut = Cut(progress._replace(kept_until=60_000), [Staged(59_999, None, "output", 1)])
    encoded = metadata.of_cut(PARTITION, cut, full)
    assert encoded is not None
    commit, made, whole = encoded
    assert whole.covered(made.kept) == cut.outputs
    assert kept_in(commit.metadata) == 60_000


def test_outputs_that_wait_count_as_bytes_in_flight() -> None:
    with once(lambda task: bytes(10_000), max_in_flight_bytes=100_000) as run:
        keep_next(run)
        run.push(*tasks(0, 1))
        until(lambda: run.source.kept)
        run.push(*tasks(1, 30))
        run.settled(30)
        run.push(*tasks(30, 300))
        assert run.source.happens(lambda: None).wait(60)  # the transaction has taken them
        assert run.source.happens(lambda: None).wait(60)
        assert run.consumer.pulse().settled == 30
        run.source.send_kept()
        until(lambda: run.commit_point() == 300)
