"""Joins in a real consumer: what is repeated after a crash, what holds the commit point, and what waits for what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from processor.engine import skipmap
from processor.engine.record import Headers
from processor.errors import BrokerError
from processor.handlers.exceptions import Reject
from processor.handlers.joins import Branch, Join, Path, read_join, write_branch, write_join, write_joined
from processor.handlers.links import Planned, read_inputs, write_plan
from processor.handlers.task import Task
from processor.runtime.join_markers import Committed
from processor.runtime.ports import Commit, Survey
from processor.telemetry.events import (
    ConsumerSkipMapCut,
    ConsumerStats,
    ConsumerSurveyFailed,
    PartitionStats,
    TaskDeadLettered,
)
from processor.testing.memory.cluster import MemoryRecord
from processor.testing.memory.reader import MemoryReader
from tests.runtime.fakes import PARTITION, TOPIC
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSource
from tests.support.until import until

SHIP = Planned("parcels", b"ship it", [("task-name", b"ship")], "next")
JOIN = Join("8/then", "t-0-0", TOPIC, 2, [SHIP])
"""Its arrivals belong to the first of two partitions."""


def branch(offset: int, index: int, join: Join = JOIN, key: bytes = b"s") -> MemoryRecord:
    """A task that is a branch."""
    links: Headers = [("task-join", write_join(join)), ("task-branch", write_branch(Branch(index)))]
    return MemoryRecord(PARTITION, offset, key, b"work", [("task-id", b"8/%d" % (index + 1)), *links])


def arrival(
    offset: int, index: int, join: Join = JOIN, path: Path | None = None, expires: int | str = 0
) -> MemoryRecord:
    """The record of an arrival: a branch has succeeded."""
    headers: Headers = [
        ("task-name", b"processor.join"),
        ("task-id", b"8/%d" % (index + 1)),
        ("task-join", write_join(join)),
        ("task-arrival", write_branch(Branch(index, path or {}))),
    ]
    if expires:
        headers.append(("task-expires", str(expires).encode()))
    return MemoryRecord(PARTITION, offset, join.id.encode(), b'{"json":%d}' % index, headers)


def marker(offset: int, path: Path, join: Join = JOIN) -> MemoryRecord:
    """The record of a marker: the join is complete."""
    headers: Headers = [("task-name", b"processor.join"), ("task-joined", write_joined(join, path))]
    return MemoryRecord(PARTITION, offset, join.id.encode(), None, headers)


def task(offset: int, key: bytes = b"s") -> MemoryRecord:
    return MemoryRecord(PARTITION, offset, key, b"task")


def shipped(run: RunningConsumer) -> list[list[Any]]:
    """The inputs of each task that followed from a join."""
    return [read_inputs(dict(each.headers() or ())["task-inputs"]) for each in run.cluster.records("next")]


def test_a_branch_that_succeeds_arrives_at_its_join_with_what_it_returned() -> None:
    with RunningConsumer(lambda task: {"n": task.offset}) as run:
        run.push(branch(0, 1))
        until(lambda: len(run.cluster.records(TOPIC)) == 2)
        _, sent = run.cluster.records(TOPIC)
        headers = dict(sent.headers() or ())
        assert (sent.key(), sent.value()) == (b"8/then", b'{"json":{"n":0}}')
        assert (headers["task-name"], headers["task-id"]) == (b"processor.join", b"8/2")
        assert headers["task-join"] == write_join(JOIN)
        assert headers["task-arrival"] == b'{"index":1,"path":{"t":{"0":[0]}}}'
        run.stop()


def test_a_waiting_join_holds_only_the_commit_point() -> None:
    ran: list[int] = []
    with RunningConsumer(lambda task: ran.append(task.offset), max_in_flight=2) as run:
        run.push(*(arrival(n, 0, Join(f"{n}/then", "t-0-0", TOPIC, 2, [SHIP])) for n in range(50)))
        run.push(*(task(n) for n in range(50, 60)))
        until(lambda: len(ran) == 10)
        until(lambda: run.commit_point() == 0)
        run.push(*(arrival(60 + n, 1, Join(f"{n}/then", "t-0-0", TOPIC, 2, [SHIP])) for n in range(50)))
        until(lambda: run.commit_point() == 110)
        assert shipped(run) == [[0, 1]] * 50
        assert run.stop().exit_code == 0


def test_an_arrival_may_have_its_expiry_in_iso_8601() -> None:
    with RunningConsumer(lambda _: None) as run:
        run.push(*(arrival(n, n, expires="2100-01-01T00:00:00Z") for n in range(2)))
        until(lambda: run.commit_point() == 2)
        assert run.stop().exit_code == 0
    assert shipped(run) == [[0, 1]]


def test_a_stop_does_not_wait_for_a_join_and_the_next_consumer_completes_it() -> None:
    with RunningConsumer(lambda task: None) as first:
        first.push(arrival(0, 0), task(1))
        until(lambda: first.consumer.pulse().settled == 1)
        assert first.stop().exit_code == 0
    assert first.commit_point() == 0
    with RunningConsumer(lambda task: None, cluster=first.cluster) as second:
        second.push(arrival(2, 1))
        until(lambda: second.commit_point() == 3)
        second.stop()
    assert shipped(second) == [[0, 1]]


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_repeated_arrival_counts_once(delivery: str) -> None:
    with RunningConsumer(lambda task: None, delivery=delivery) as run:
        run.push(arrival(0, 0), arrival(1, 0), arrival(2, 1), arrival(3, 0), arrival(4, 1))
        until(lambda: run.commit_point() == 5)
        run.stop()
    assert shipped(run) == [[0, 1]]


def test_a_marker_follows_what_a_join_leads_to_and_lasts_until_its_branches_are_committed() -> None:
    """A branch that runs again after a crash arrives where the join is complete."""
    path: Path = {TOPIC: {0: [3], 1: [0]}}
    with RunningConsumer(lambda task: None, partitions=2) as run:
        run.push(arrival(0, 0, path=path), arrival(1, 1))
        until(lambda: len(run.cluster.records(TOPIC)) == 3)
        until(lambda: run.commit_point() == 2)
        run.stop()
    assert shipped(run) == [[0, 1]]
    with RunningConsumer(lambda task: None, cluster=run.cluster) as again:
        again.push(arrival(3, 0, path=path))  # of the branch that ran again
        until(lambda: again.commit_point() == 2 and again.consumer.pulse().settled >= 1)
        again.push(MemoryRecord(PARTITION._replace(number=1), 0, b"s", b"task"))
        until(lambda: again.commit_point() == 4)
        again.stop()
    assert shipped(again) == [[0, 1]]


def test_a_marker_does_not_wait_for_a_branch_of_a_topic_outside_the_group() -> None:
    with RunningConsumer(lambda task: None) as run:
        run.push(marker(0, {"elsewhere": {7: [12]}}))
        until(lambda: run.commit_point() == 1)
        run.stop()


def test_a_survey_that_markers_need_and_that_fails_is_logged_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ScriptedSource, topics: list[str]) -> None:
        self.happens(lambda: self.listener.on_survey(None, "no broker answers"))

    with RunningConsumer(lambda task: None) as run:
        until(lambda: run.commit_point() == 0, "the partition has begun")
        monkeypatch.setattr(ScriptedSource, "survey", fail)
        run.push(task(0), marker(1, {TOPIC: {0: [0]}}))
        assert run.until_event(ConsumerSurveyFailed).error == "no broker answers"
        until(lambda: run.commit_point() == 1)
        monkeypatch.undo()
        until(lambda: run.commit_point() == 2)
        run.stop()


def test_a_marker_completes_a_join_of_which_a_crash_left_some_arrivals() -> None:
    with RunningConsumer(lambda task: None) as run:
        run.push(arrival(0, 1), marker(1, {}))
        until(lambda: run.commit_point() == 2)
        run.stop()
    assert shipped(run) == []


def test_exactly_once_needs_no_marker() -> None:
    with RunningConsumer(lambda task: 5, delivery="exactly-once") as run:
        run.push(branch(0, 0), branch(1, 1))
        until(lambda: run.commit_point() == 4)
        run.stop()
    assert shipped(run) == [[5, 5]]
    arrivals = [dict(each.headers() or ()).get("task-arrival") for each in run.cluster.records(TOPIC)]
    assert arrivals == [None, None, b"{}", b'{"index":1}']


def test_what_follows_is_sent_again_until_it_is_accepted_and_the_arrivals_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.runtime.outbox.FIRST_RESEND_SECONDS", 0.02)
    with RunningConsumer(lambda task: None) as run:
        run.sink.refusals = 2
        run.push(arrival(0, 0), arrival(1, 1))
        until(lambda: run.commit_point() == 2)
        run.stop()
    assert shipped(run) == [[0, 1]]


def late(run: RunningConsumer) -> list[TaskDeadLettered]:
    return [event for event in run.of(TaskDeadLettered) if event.error_type == "processor.Expired"]


def test_a_join_whose_time_is_over_when_it_is_read_is_completed_by_what_stands_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The consumer was down meanwhile, and no branch was late."""
    monkeypatch.setattr("processor.runtime.joining.LATE_SECONDS", 30.0)
    with RunningConsumer(lambda task: None) as run:
        run.push(arrival(0, 0, expires=1000), *(task(n) for n in range(1, 40)), arrival(40, 1, expires=1000))
        until(lambda: run.commit_point() == 41)
        run.stop()
    assert (shipped(run), late(run)) == ([[0, 1]], [])


def test_a_join_whose_time_is_over_is_a_dead_letter_for_each_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.runtime.joining.LATE_SECONDS", 2.0)
    join = Join("8/then", "t-0-0", TOPIC, 4, [SHIP])
    with RunningConsumer(lambda task: None) as run:
        run.push(*(arrival(n, index, join, expires=1000) for n, index in enumerate((0, 2))))
        until(lambda: run.commit_point() == 2)
        run.stop()
    assert [event.error.partition(" and waited for ")[2] for event in late(run)] == ["8/2, 8/4"] * 2
    letters = [dict(each.headers() or ()) for each in run.cluster.records("t.dlq")]
    assert [each["dlq-attempts"] for each in letters] == [b"0"] * 3
    assert [each["task-id"] for each in letters if each["dlq-error-type"] == b"processor.DependencyFailed"] == [
        b"8/then"
    ]


def test_a_branch_that_is_replayed_from_the_dead_letters_lets_the_join_go_on() -> None:
    def work(task: Task) -> None:
        if task.offset == 1:
            raise Reject("the card has expired")

    with RunningConsumer(work) as run:
        run.push(branch(0, 0), branch(1, 1, key=b"u"))
        run.until_event(TaskDeadLettered)
        letter, unmet = run.cluster.records("t.dlq")
        assert dict(unmet.headers() or ())["task-after"] == b"8/2"
        until(lambda: len(run.cluster.records(TOPIC)) == 3)
        again = [(name, value) for name, value in letter.headers() or () if not name.startswith("dlq-")]
        run.push(MemoryRecord(PARTITION, 3, letter.key(), letter.value(), again))
        until(lambda: shipped(run) == [[None, None]])
        run.stop()


def write_of(**members: Any) -> msgspec.Raw:
    """A header `task-join` with these members, which no consumer writes."""
    plan = [{"key": "k"}]
    return msgspec.Raw(msgspec.json.encode({"id": "a", "run": "b", "topic": TOPIC, "of": 1, "then": plan, **members}))


def branch_of(**members: Any) -> Headers:
    """The headers of a branch of such a join."""
    return [("task-join", bytes(write_of(**members))), ("task-branch", b"{}")]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("task-arrival", b"{}")], "without task-join or task-then"),
        ([("task-arrival", b"?"), ("task-join", write_join(JOIN))], "task-arrival cannot be read"),
        ([("task-arrival", b'{"index":2}'), ("task-join", write_join(JOIN))], "has 2 branches"),
        ([("task-arrival", b"{}"), ("task-join", write_join(JOIN))], "the value of an arrival"),
        ([("task-joined", b"{}")], "task-joined cannot be read"),
        ([("task-join", write_join(JOIN))], "there is only one"),
        ([("task-branch", b"{}")], "there is only one"),
        ([("task-branch", b"{}"), ("task-join", b'{"id":"a","run":"b","topic":"t","of":1}')], "nothing follows"),
        ([("task-branch", b"{}"), ("task-join", b'{"id":"a","run":"b","topic":"t","of":1,"branch":{}}')], "belong"),
        ([("task-arrival", b"{}"), ("task-then", b'[{"topic":"t"}]')], 'one member, "key" or "group"'),
        (branch_of(partition=2**31), "partition must be an integer <= 2147483647"),
        (branch_of(topic="no/topic"), "'no/topic' is not a valid topic name"),
        (branch_of(expires=-1), "expires must be an integer >= 0"),
        (branch_of(expires=10**15), "expires must be an integer <= 999999999999999"),
        (branch_of(of=10**12), "of must be an integer <= 262144"),
        (branch_of(run=f"t-0-{'9' * 5000}"), "run must be text of length <= 300"),
        (branch_of(outer=write_of(topic="no/topic"), branch=msgspec.Raw(b"{}")), "'no/topic' is not a valid"),
    ],
)
def test_headers_of_a_join_that_cannot_be_read_make_a_dead_letter(headers: Headers, reason: str) -> None:
    ran: list[int] = []
    with RunningConsumer(lambda task: ran.append(task.offset)) as run:
        run.push(MemoryRecord(PARTITION, 0, b"s", b"?", headers))
        event = run.until_event(TaskDeadLettered)
        until(lambda: run.commit_point() == 1)
        run.stop()
    assert not ran
    assert event.error_type == "processor.InvalidHeader"
    assert reason in event.error


def stats_of(run: RunningConsumer, condition: Callable[[PartitionStats], object]) -> PartitionStats:
    return run.until_event(PartitionStats, condition)


def test_the_statistics_name_the_join_that_holds_the_commit_point_and_count_no_arrival_as_in_flight() -> None:
    with RunningConsumer(lambda task: None, stats_interval=0.1) as run:
        run.push(arrival(0, 0), task(1))
        stats = stats_of(
            run, lambda event: event.head is not None and event.head.state == "joining" and event.succeeded == 1
        )
        head = stats.head
        assert head is not None
        assert (head.session_id, head.offset, head.error) == ("8/then", 0, "the join 8/then waits for 8/2")
        assert stats.in_flight == 0
        run.until_event(ConsumerStats, lambda event: event.open_joins == 1)
        run.push(arrival(2, 1))
        until(lambda: run.commit_point() == 3)
        run.stop()
    last = run.of(ConsumerStats)[-1]
    assert (last.in_flight, last.succeeded, last.dead_lettered, last.open_joins) == (0, 3, 0, 0)


def test_a_join_waits_in_the_partition_where_its_group_began() -> None:
    """The topic may grow while it waits, and another partition would belong to its ID then."""
    join = Join("8/then", "t-0-0", TOPIC, 2, [SHIP], partition=1)
    with RunningConsumer(lambda task: None, partitions=2) as run:
        run.push(branch(0, 0, join))
        until(lambda: len(run.cluster.records(TOPIC)) == 2)
        run.push(start(1))
        until(lambda: run.cluster.records("next"))
        run.stop()
    _, _, arrived = run.cluster.records(TOPIC)
    assert (arrived.partition(), arrived.key()) == (1, b"8/then")
    (begun,) = run.cluster.records("next")
    assert read_join(dict(begun.headers() or ())["task-join"]).partition == 0


def start(offset: int) -> MemoryRecord:
    """A group of one branch begins."""
    headers: Headers = [("task-arrival", b"{}"), ("task-then", write_plan([Planned(group=[[SHIP]]), SHIP]))]
    return MemoryRecord(PARTITION, offset, b"9", None, headers)


def test_a_marker_goes_to_the_partition_of_its_arrivals() -> None:
    path: Path = {TOPIC: {0: [9]}}
    keys = (b"8/then", b"9/then", b"10/then", b"11/then")
    with RunningConsumer(lambda task: None, partitions=4) as run:
        run.push(
            *(arrival(n, 0, Join(key.decode(), "t-0-0", TOPIC, 1, [SHIP]), path=path) for n, key in enumerate(keys))
        )
        until(lambda: len(run.cluster.records(TOPIC)) == 8)
        run.stop()
    assert {record.partition() for record in run.cluster.records(TOPIC)} == {0}


def complete_join() -> ScriptedCluster:
    """A consumer that has completed a join and, since the branch is committed, no longer needs its marker."""
    with RunningConsumer(lambda task: None) as run:
        run.push(task(0), arrival(1, 0, path={TOPIC: {0: [0]}}), arrival(2, 1))
        until(lambda: run.commit_point() == 4)
        assert run.stop().exit_code == 0
    assert shipped(run) == [[0, 1]]
    return run.cluster


def test_a_copy_of_a_branch_that_arrives_at_another_consumer_after_its_join_was_complete_is_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The task before it in the branch had run twice."""
    monkeypatch.setattr("processor.runtime.look_back.LOOK_AFTER_SECONDS", 0.05)
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0), arrival(5, 0, Join("9/then", "t-0-0", TOPIC, 2, [SHIP])))
        until(lambda: run.commit_point() == 5)
        run.push(arrival(6, 1), arrival(7, 1, Join("9/then", "t-0-0", TOPIC, 2, [SHIP])))
        until(lambda: run.commit_point() == 8)
        assert run.stop().exit_code == 0
    assert shipped(run) == [[0, 1], [0, 1]]
    assert not late(run)


def test_a_look_back_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.runtime.look_back.LOOK_AFTER_SECONDS", 0.05)
    monkeypatch.setattr("processor.runtime.look_back.AGAIN_SECONDS", 0.01)
    failures: list[ScriptedSource] = []

    def fail_once(source: ScriptedSource) -> MemoryReader:
        if not failures:
            failures.append(source)
            raise BrokerError("no broker answers")
        return MemoryReader(source._cluster)

    monkeypatch.setattr(ScriptedSource, "open_reader", fail_once)
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0))
        until(lambda: run.commit_point() == 5)
        run.stop()
    assert len(failures) == 1


def test_joins_that_come_to_a_look_back_while_it_reads_are_looked_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would read the same part of the log for each of them, and fall behind."""
    monkeypatch.setattr("processor.runtime.look_back.LOOK_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("processor.runtime.look_back.TICK_SECONDS", 0.0)
    passes, goes_on = list[ScriptedSource](), threading.Event()

    def open_late(source: ScriptedSource) -> MemoryReader:
        passes.append(source)
        assert goes_on.wait(60)
        return MemoryReader(source._cluster)

    monkeypatch.setattr(ScriptedSource, "open_reader", open_late)
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        look_back = run.consumer._look_back
        run.push(arrival(4, 0))
        until(lambda: passes)
        run.push(arrival(5, 0, Join("5/then", "t-0-0", TOPIC, 2, [SHIP])))
        until(lambda: look_back._tasks.qsize() == 1, "it is to be looked up")
        run.push(arrival(6, 0, Join("6/then", "t-0-0", TOPIC, 2, [SHIP])))
        until(lambda: look_back._tasks.qsize() == 2, "it is to be looked up")
        goes_on.set()
        until(lambda: run.commit_point() == 5 and not look_back._tasks.qsize())
        until(lambda: len(passes) == 2)
        run.stop()
    assert len(passes) == 2


def test_a_look_back_whose_log_was_deleted_in_part_or_ends_early_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.runtime.look_back.LOOK_AFTER_SECONDS", 0.05)
    cluster = complete_join()
    cluster.delete_below(PARTITION, 3)
    with RunningConsumer(lambda task: None, cluster=cluster) as run:
        run.push(arrival(4, 0), arrival(5, 0, Join("9/then", "t-0-1", TOPIC, 2, [SHIP])))
        until(lambda: run.commit_point() == 5)
        run.stop()


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_task_behind_waiting_groups_does_not_run_again_although_the_skip_map_has_no_room(
    monkeypatch: pytest.MonkeyPatch, delivery: str
) -> None:
    """With exactly-once, its result does not wait for the groups either."""
    monkeypatch.setattr(skipmap, "MAX_CHARACTERS", 64)
    waiting = {0: 200} | {offset: 201 + n for n, offset in enumerate(Random(7).sample(range(1, 200), 99))}
    joins = {offset: Join(f"{offset}/then", "t-0-0", TOPIC, 2, [SHIP]) for offset in waiting}
    tasks = [offset for offset in range(200) if offset not in waiting]
    ran: list[int] = []

    def handler(task: Task) -> bytes:
        ran.append(task.offset)
        return b"done"

    with RunningConsumer(handler, delivery=delivery, results_topic="r") as first:
        first.push(*(arrival(n, 0, joins[n]) if n in joins else task(n, b"s%d" % n) for n in range(200)))
        until(lambda: len(first.cluster.records("r")) == len(tasks), "the results are written")
        first.until_event(ConsumerSkipMapCut)
        assert first.stop().exit_code == 0
    assert first.cluster.committed[PARTITION].offset == 0
    with RunningConsumer(handler, cluster=first.cluster, delivery=delivery, results_topic="r") as second:
        second.push(*(arrival(last, 1, joins[offset]) for offset, last in waiting.items()), task(300))
        until(lambda: len(shipped(second)) == len(joins), "the groups are complete")
        until(lambda: len(second.cluster.records("r")) == len(tasks) + 1)
        second.stop()
    assert sorted(ran) == [*tasks, 300]


def test_a_task_is_committed_for_good_whose_offset_a_commit_notes_as_settled() -> None:
    commit = Commit(PARTITION, 2, f"{skipmap.encode_base(2)};+5")
    committed = Committed(Survey({PARTITION: (0, 9)}, {PARTITION: commit}))
    assert committed.has_all({TOPIC: {0: [1, 6]}})
    assert not committed.has_all({TOPIC: {0: [7]}})
