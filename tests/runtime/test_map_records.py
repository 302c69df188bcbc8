"""`--progress-topic`: skip maps that do not fit into a commit's metadata are records that the commits refer to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from functools import partial
from random import Random
from typing import Any

import pytest

from processor.engine import skipmap
from processor.engine.commit_note import Note
from processor.engine.progress_record import keys_of, reference_in, reference_to, settled_in
from processor.errors import DeliveryError
from processor.handlers.task import Task
from processor.runtime.commits import committer, map_records
from processor.runtime.ports import Commit, MapLog, MapRecord, Partition, Place
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerCommitFailed,
    ConsumerFailed,
    ConsumerProgressTopicFailed,
    ConsumerSkipMapCut,
    ConsumerSkipMapIgnored,
    ConsumerSkipMapRefused,
    ConsumerStats,
)
from processor.testing.memory.cluster import MemoryRecord
from processor.testing.memory.map_log import MemoryMapLog
from tests.runtime.fakes import PARTITION, TOPIC, FakeRecord
from tests.runtime.gate import Gate
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster
from tests.support.until import until

MAPS = "maps"
ALL = 200
DONE = frozenset(Random(7).sample(range(1, ALL), 100))
"""Which ones are done has no pattern, which would make maps short."""

Written = Future[Mapping[Partition, Place]]


@pytest.fixture(autouse=True)
def _short_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata has no room for the map of these tasks."""
    monkeypatch.setattr(skipmap, "MAX_CHARACTERS", 70)


def running(app: object, log: Any = MemoryMapLog, **options: Any) -> RunningConsumer:
    return RunningConsumer(app, map_log=lambda cluster: log(cluster, MAPS), workers=120, **options)


def tasks(first: int = 0, end: int = ALL) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % n, b"%d" % n) for n in range(first, end)]


def covered(cluster: ScriptedCluster) -> set[int]:
    """Return the offsets that would not run again: by the commit itself, or by the record that it refers to."""
    with cluster.changed:
        commit = cluster.committed.get(PARTITION)
        if commit is None:
            return set()
        reference = reference_in(commit.metadata, commit.offset)
        if reference is None:
            ranges = skipmap.decode(commit.metadata, commit.offset)
        else:
            record = cluster.logs[Partition(reference.topic, reference.number)].read(reference.offset, 1)[0]
            ranges = settled_in(reference, keys_of("g", *PARTITION), record.key(), record.value())
        return {*range(commit.offset), *(offset for low, high in ranges for offset in range(low, high))}


def gate_behind_done() -> Gate:
    return Gate(lambda task: task.offset not in DONE)


class Refusing(MemoryMapLog):
    """A topic that accepts no record until the test lets it."""

    refuses = True
    tries = 0

    def write(self, records: Mapping[Partition, MapRecord]) -> Written:
        type(self).tries += 1
        if not type(self).refuses:
            return super().write(records)
        written: Written = Future()
        written.set_exception(DeliveryError("maps: not authorized"))
        return written


class Silent(MemoryMapLog):
    """A topic whose acknowledgements do not come."""

    def write(self, records: Mapping[Partition, MapRecord]) -> Written:
        return Future()


class Late(MemoryMapLog):
    """A topic that acknowledges records once the test lets it."""

    def __init__(self, cluster: ScriptedCluster, topic: str) -> None:
        super().__init__(cluster, topic)
        self.waiting: list[tuple[Written, Written]] = []

    def write(self, records: Mapping[Partition, MapRecord]) -> Written:
        written: Written = Future()
        self.waiting.append((written, super().write(records)))
        return written

    def acknowledge(self) -> bool:
        """Acknowledges all that waits. Always returns False: nothing is left."""
        while self.waiting:
            written, result = self.waiting.pop(0)
            written.set_result(result.result())
        return False


def poll_twice(run: RunningConsumer) -> None:
    """Waits until the poller has completed two loops, with their commits."""
    for _ in range(2):
        before = run.consumer.pulse().last_loop_at
        until(lambda: run.consumer.pulse().last_loop_at > before)  # noqa: B023 — it is waited for


# --- nothing is repeated ------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_after_a_crash_only_what_was_unsettled_runs_again(delivery: str) -> None:
    gate = gate_behind_done()
    with running(gate.handle, delivery=delivery, results_topic="r") as first:
        first.push(*tasks())
        until(lambda: covered(first.cluster) == DONE)
        metadata = first.cluster.committed[PARTITION].metadata
        assert len(metadata) <= 70
        crashed = ScriptedCluster()  # what the brokers have at this moment
        with first.cluster.changed:
            crashed.logs, crashed.committed = dict(first.cluster.logs), dict(first.cluster.committed)
        gate.open()
    ran: list[int] = []
    with running(lambda task: ran.append(task.offset), cluster=crashed, delivery=delivery) as second:
        until(lambda: second.commit_point() == ALL)
        assert second.stop().exit_code == 0
    assert sorted(ran) == sorted(set(range(ALL)) - DONE)
    assert second.of(ConsumerAssigned)[0].settled_ahead == len(DONE)
    assert second.of(ConsumerStats)[-1].skipped == len(DONE)
    assert not first.of(ConsumerSkipMapCut)
    assert not first.of(ConsumerCommitFailed)


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_the_last_commit_of_a_stop_refers_to_a_record(delivery: str) -> None:
    def fail_others(task: Task) -> bytes:
        if task.offset not in DONE:
            raise ConnectionError("not yet")
        return b"done"

    options: dict[str, Any] = {"delivery": delivery, "results_topic": "r", "backoff": 60.0, "backoff_max": 60.0}
    with running(fail_others, commit_interval=60.0, **options) as first:
        first.push(*tasks())
        first.settled(len(DONE))
        assert first.stop().exit_code == 0
    assert covered(first.cluster) == DONE
    with running(lambda task: b"done", cluster=first.cluster, **{**options, "backoff": 0.0}) as second:
        until(lambda: second.commit_point() == ALL)
    if delivery == "exactly-once":
        assert len(second.cluster.records("r")) == ALL


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_revoke_commits_a_reference(delivery: str) -> None:
    def fail_others(task: Task) -> bytes:
        if task.offset not in DONE:
            raise ConnectionError("not yet")
        return b"done"

    options: dict[str, Any] = {"delivery": delivery, "results_topic": "r", "backoff": 60.0, "backoff_max": 60.0}
    with running(fail_others, commit_interval=60.0, **options) as run:
        run.push(*tasks())
        run.settled(len(DONE))
        assert run.source.revoke(PARTITION).wait(60)
        assert covered(run.cluster) == DONE


def test_each_record_contains_more_than_the_one_before() -> None:
    """Each record contains the ranges of those before it, and a map that fits follows the last one."""
    gate = gate_behind_done()
    with running(gate.handle, delivery="exactly-once") as run:
        run.push(*tasks(0, 120))
        until(lambda: covered(run.cluster) == {n for n in DONE if n < 120})
        run.push(*tasks(120))
        until(lambda: covered(run.cluster) == DONE)
        gate.open()
        until(lambda: run.commit_point() == ALL)
        assert reference_in(*_metadata(run.cluster)) is None


class Noting(Refusing):
    """A topic that accepts records until the test has it refuse them."""

    refuses = False


def until_a_map_is_written_that_no_commit_refers_to(run: RunningConsumer) -> set[int]:
    """Waits until one commit refers to a record, and the next one, which refers to another, is refused.

    Return what the group has as done.
    """
    run.push(*tasks(0, 180))
    known = {n for n in DONE if n < 180}
    until(lambda: covered(run.cluster) == known)
    assert reference_in(*_metadata(run.cluster)) is not None
    run.source.refusal = "the coordinator is loading"
    written = {record.value() for record in run.cluster.records(MAPS)}
    run.push(*tasks(180))
    run.until_event(ConsumerCommitFailed)
    until(lambda: {record.value() for record in run.cluster.records(MAPS)} > written)
    return known


def test_a_shorter_map_contains_what_the_group_has_although_a_later_record_was_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise, committed outputs would be written again after a crash."""

    monkeypatch.setattr(map_records, "AGAIN_SECONDS", 0.5)

    class Log(Noting):
        pass

    def is_all_committed() -> bool:
        done = covered(run.cluster)
        assert done >= known
        return done == DONE

    gate = gate_behind_done()
    with running(gate.handle, Log, delivery="exactly-once", results_topic="r") as run:
        known = until_a_map_is_written_that_no_commit_refers_to(run)
        Log.refuses = True
        run.until_event(ConsumerProgressTopicFailed)
        run.source.refusal = None
        Log.refuses = False  # it is tried again half a second later
        until(is_all_committed)
        gate.open()
        until(lambda: run.commit_point() == ALL)
        assert run.stop().exit_code == 0


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_compaction_keeps_the_map_that_is_committed_although_a_later_one_was_written(delivery: str) -> None:
    gate = gate_behind_done()
    with running(gate.handle, Noting, delivery=delivery) as run:
        known = until_a_map_is_written_that_no_commit_refers_to(run)
        with run.cluster.changed:
            for log in (log for partition, log in run.cluster.logs.items() if partition.topic == MAPS):
                log.records = sorted({each.key(): each for each in log.records}.values(), key=MemoryRecord.offset)
        assert covered(run.cluster) == known
        run.source.refusal = None
        until(lambda: covered(run.cluster) == DONE)
        gate.open()


def test_a_map_that_fits_is_not_written_as_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipmap, "MAX_CHARACTERS", 4096)
    gate = gate_behind_done()
    with running(gate.handle) as run:
        run.push(*tasks())
        until(lambda: covered(run.cluster) == DONE)
        gate.open()
    assert run.cluster.records(MAPS) == []


def test_a_record_is_acknowledged_before_the_commit_that_refers_to_it() -> None:
    gate = gate_behind_done()
    run = running(gate.handle, Late)
    log = run.consumer._map_log
    assert isinstance(log, Late)
    with run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        until(lambda: log.waiting)
        assert covered(run.cluster) < DONE
        assert reference_in(*_metadata(run.cluster)) is None
        until(lambda: log.acknowledge() or covered(run.cluster) == DONE)
        gate.open()
        until(lambda: log.acknowledge() or run.commit_point() == ALL)


def _metadata(cluster: ScriptedCluster) -> tuple[str, int]:
    commit = cluster.committed.get(PARTITION)
    return (commit.metadata, commit.offset) if commit is not None else ("", 0)


def test_a_commit_that_waits_for_its_record_goes_with_its_partition() -> None:
    """If it is acknowledged after the loss of the partition, it is not committed, even if the partition returns."""
    gate = gate_behind_done()
    run = running(gate.handle, Late, delivery="exactly-once")
    log = run.consumer._map_log
    assert isinstance(log, Late)
    with run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        until(lambda: log.waiting)
        assert run.source.lose(PARTITION).wait(60)
        before = run.cluster.committed.get(PARTITION)
        log.acknowledge()
        poll_twice(run)
        assert run.cluster.committed.get(PARTITION) == before
        gate.open()


def test_a_commit_that_waits_for_its_record_is_not_made_behind_the_one_of_a_revoke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "WRITE_SECONDS", 0.3)

    def fail_others(task: Task) -> None:
        if task.offset not in DONE:
            raise ConnectionError("not yet")

    run = running(fail_others, Late, backoff=60.0, backoff_max=60.0)
    log = run.consumer._map_log
    assert isinstance(log, Late)
    with run:
        run.push(*tasks())
        run.settled(len(DONE))
        assert run.source.revoke(PARTITION).wait(60)
        committed = run.cluster.committed[PARTITION]
        assert reference_in(committed.metadata, committed.offset) is None  # the topic did not answer
        log.acknowledge()
        poll_twice(run)
        assert run.cluster.committed[PARTITION] == committed


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_reference_that_the_brokers_refuse_delays_no_offset(delivery: str) -> None:
    gate = gate_behind_done()
    with running(gate.handle, delivery=delivery) as run:
        run.cluster.most_metadata = 20
        run.push(*tasks())
        gate.until_passed(len(DONE))
        refused = run.until_event(ConsumerSkipMapRefused)
        until(lambda: PARTITION in run.cluster.committed)
        gate.open()
        until(lambda: run.commit_point() == ALL)
        assert run.stop().exit_code == 0
    assert refused.refused_characters > 20
    assert not run.of(ConsumerCommitFailed)


def test_the_note_of_a_commit_stands_behind_its_reference() -> None:
    gate = gate_behind_done()
    with running(gate.handle) as run:
        run.push(*tasks())
        until(lambda: covered(run.cluster) == DONE)
        note = Note(4, 4_000_000_000)
        assert run.source.happens(lambda: run.consumer._committer.note(PARTITION, note)).wait(60)
        run.push(*tasks(ALL, ALL + 1))
        until(lambda: run.cluster.committed[PARTITION].metadata.endswith(str(note)))
        assert reference_in(*_metadata(run.cluster)) is not None
        gate.open()


# --- a topic that does not take records ---------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_commits_go_on_with_shorter_maps_while_the_topic_refuses(
    monkeypatch: pytest.MonkeyPatch, delivery: str
) -> None:
    monkeypatch.setattr(map_records, "AGAIN_SECONDS", 0.5)
    monkeypatch.setattr(map_records, "LONGEST_AGAIN_SECONDS", 0.5)

    class Log(Refusing):
        pass

    gate = gate_behind_done()
    with running(gate.handle, Log, delivery=delivery) as run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        until(lambda: 0 < len(covered(run.cluster)) < len(DONE))
        until(lambda: Log.tries > 2)
        Log.refuses = False
        until(lambda: covered(run.cluster) == DONE)
        Log.refuses = True
        gate.open()
        until(lambda: run.commit_point() == ALL)
        assert run.stop().exit_code == 0
    failed = run.of(ConsumerProgressTopicFailed)
    assert (failed[0].topic, failed[0].error) == (MAPS, "maps: not authorized")
    assert len(failed) <= 2  # once until a map was written, and perhaps once after that
    assert not run.of(ConsumerCommitFailed)


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_stop_and_a_revoke_do_not_need_the_topic(monkeypatch: pytest.MonkeyPatch, delivery: str) -> None:
    monkeypatch.setattr(map_records, "AGAIN_SECONDS", 60.0)
    gate = gate_behind_done()
    with running(gate.handle, Refusing, delivery=delivery, commit_interval=60.0) as run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        gate.open()
        assert run.source.revoke(PARTITION).wait(60)
        assert run.commit_point() is not None
        assert run.stop().exit_code == 0


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_commit_waits_for_an_acknowledgement_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, delivery: str
) -> None:

    monkeypatch.setattr(committer, "WRITE_SECONDS", 0.1)
    gate = gate_behind_done()
    with running(gate.handle, Silent, delivery=delivery) as run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        until(lambda: 0 < len(covered(run.cluster)) < len(DONE))
        assert "not acknowledged within" in run.until_event(ConsumerProgressTopicFailed).error
        gate.open()
        until(lambda: run.commit_point() == ALL)
        assert run.stop().exit_code == 0


def test_without_a_topic_to_write_to_the_map_is_cut() -> None:
    gate = gate_behind_done()
    with RunningConsumer(gate.handle, map_log=partial(MemoryMapLog, topic=None), workers=120) as run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        until(lambda: run.of(ConsumerSkipMapCut))
        gate.open()


def test_metadata_without_room_for_a_reference_has_a_shorter_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipmap, "MAX_CHARACTERS", 30)
    gate = gate_behind_done()
    with running(gate.handle) as run:
        run.push(*tasks())
        gate.until_passed(len(DONE))
        until(lambda: run.of(ConsumerSkipMapCut))
        gate.open()
    assert run.cluster.records(MAPS) == []


def test_a_map_that_took_long_to_encode_is_not_written_at_each_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_records, "SHARE_OF_TIME", 10**9)
    gate = gate_behind_done()
    with running(gate.handle) as run:
        run.push(*tasks(0, 190))
        until(lambda: run.cluster.records(MAPS))
        run.push(*tasks(190))
        gate.until_passed(len(DONE))
        poll_twice(run)
        assert len(run.cluster.records(MAPS)) == 1
        gate.open()
        assert run.stop().exit_code == 0  # the last commit is not delayed by the time that maps take
    assert run.commit_point() == ALL


# --- a reference that leads nowhere -------------------------------------------------------------------


def commit_with_a_record(run: RunningConsumer, gate: Gate) -> None:
    run.push(*tasks())
    until(lambda: covered(run.cluster) == DONE)
    gate.open()


class Other(MemoryMapLog):
    """A topic that has another record at each place."""

    found: MapRecord | str | None = None

    def read(self, places: Collection[Place], seconds: float) -> Mapping[Place, MapRecord | str]:
        return {} if self.found is None else dict.fromkeys(places, self.found)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "no broker has responded"),
        ("there is no record", "there is no record"),
        (MapRecord(None, None), "another record"),
        (MapRecord(keys_of("g", "t", 1)[0], b"p2:"), "another record"),
        (MapRecord(keys_of("g", *PARTITION)[0], skipmap.encode_record(0, [(1, 200)])[0]), "another record"),
    ],
)
def test_a_reference_that_does_not_match_its_record_is_reported_and_all_tasks_run_again(
    found: MapRecord | str | None, reason: str
) -> None:
    cluster = ScriptedCluster()
    cluster.create_topic(TOPIC, 1)
    cluster.append(*tasks(0, 20))
    log = Other(cluster, MAPS)
    place = log.write({PARTITION: MapRecord(keys_of("g", *PARTITION)[0], b"")}).result()[PARTITION]

    value = skipmap.encode_record(0, [(5, 9)])[0]
    reference = reference_to(MAPS, place.partition.number, place.offset, 0, value)
    cluster.committed[PARTITION] = Commit(PARTITION, 0, str(reference))
    log.found = found
    ran: list[int] = []
    with RunningConsumer(lambda task: ran.append(task.offset), cluster=cluster, map_log=lambda _: log) as run:
        until(lambda: run.commit_point() == 20)
    assert sorted(ran) == list(range(20))
    (ignored,) = run.of(ConsumerSkipMapIgnored)
    assert reason in ignored.reason


def test_with_exactly_once_no_output_is_repeated_because_a_broker_does_not_respond() -> None:
    cluster = ScriptedCluster()
    cluster.create_topic(TOPIC, 1)
    cluster.append(*tasks(0, 20))

    value = skipmap.encode_record(0, [(5, 9)])[0]
    cluster.committed[PARTITION] = Commit(PARTITION, 0, str(reference_to(MAPS, 0, 0, 0, value)))
    ran: list[int] = []
    log: MapLog = Other(cluster, MAPS)
    with RunningConsumer(
        lambda task: ran.append(task.offset), cluster=cluster, map_log=lambda _: log, delivery="exactly-once"
    ) as run:
        assert run.wait().exit_code != 0
    assert ran == []
    assert "no broker responds for maps[0]" in run.of(ConsumerFailed)[0].error
