"""The contract of `Source` in `processor/runtime/ports.py`, checked on every implementation.

What only a broker has (transactions, retention, limits, eviction of a member) is not checked on the client's mock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from processor.kafka import member_offsets
from processor.kafka.embedded import EmbeddedBroker
from processor.runtime.ports import Commit, End, Lost, MetadataTooLarge, Partition, Survey
from processor.testing.memory.source import MemorySource
from tests.conftest import MakeTopic
from tests.ports.clusters import Cluster, FullCluster, InMemory, KafkaCluster
from tests.ports.member import SECONDS, Answer, Member
from tests.support.broker import Broker
from tests.support.scripted_kafka import ScriptedSource
from tests.support.until import until

PARTITIONS = 4

Rows = list[tuple[str, str]]


@pytest.fixture
def embedded(embedded_broker: EmbeddedBroker, group: str) -> Iterator[KafkaCluster]:
    embedded_broker.create_topics([group])
    cluster = KafkaCluster(embedded_broker.bootstrap_servers, group, group, "consumer")
    yield cluster
    cluster.close()


@pytest.fixture
def kafka_classic(broker: Broker, topic: MakeTopic, group: str) -> Iterator[KafkaCluster]:
    cluster = KafkaCluster(broker.bootstrap_servers, topic(PARTITIONS), group, "classic")
    yield cluster
    cluster.close()


@pytest.fixture
def kafka_consumer(broker: Broker, topic: MakeTopic, group: str) -> Iterator[KafkaCluster]:
    cluster = KafkaCluster(broker.bootstrap_servers, topic(PARTITIONS), group, "consumer")
    yield cluster
    cluster.close()


@pytest.fixture
def in_memory() -> InMemory:
    return InMemory(MemorySource, PARTITIONS)


@pytest.fixture
def scripted() -> InMemory:
    return InMemory(ScriptedSource, PARTITIONS)


IN_MEMORY = ("in_memory", "scripted")
KAFKA = [pytest.param(name, marks=pytest.mark.broker) for name in ("kafka_classic", "kafka_consumer")]


@pytest.fixture(params=[*IN_MEMORY, "embedded", *KAFKA])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(params=[*IN_MEMORY, *KAFKA])
def full_cluster(request: pytest.FixtureRequest) -> FullCluster:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def places(cluster: Cluster) -> list[Partition]:
    return [Partition(cluster.topic, number) for number in range(PARTITIONS)]


def rows(first: int, end: int) -> Rows:
    return [("k", str(n)) for n in range(first, end)]


def produce_to_all(cluster: Cluster, count: int) -> None:
    for place in places(cluster):
        cluster.produce(place, rows(0, count))


def joined(cluster: Cluster) -> Member:
    """A member that has all partitions."""
    member = cluster.join()
    member.take_until_assigned(PARTITIONS)
    return member


def take_to_ends(member: Member) -> None:
    """Takes until each partition's end was reported: then no record is in transit."""
    member.take_until(lambda: all(member.ends.get(place) for place in member.assigned))


def commit_accepted(member: Member, *commits: Commit) -> None:
    assert member.source.commit_now(commits, SECONDS) is None


# --- assign -----------------------------------------------------------------------------------------


def test_a_first_assignment_has_every_partition_once_with_no_offset_and_no_metadata(cluster: Cluster) -> None:
    member = joined(cluster)
    assert sorted(member.assigned) == places(cluster)
    assert {(start.offset, start.metadata) for start in member.assigned.values()} == {(None, "")}
    assert sum(map(len, member.calls_of("assign"))) == PARTITIONS
    assert not member.calls_of("revoke") + member.calls_of("lose")


def test_no_record_comes_before_its_partition_was_assigned(cluster: Cluster) -> None:
    produce_to_all(cluster, 3)
    member = cluster.join()
    while len(member.records) < 3 * PARTITIONS:
        before = len(member.records)
        member.take_until(lambda: len(member.records) > before)  # noqa: B023
        came = {Partition(r.topic(), r.partition()) for r in member.records}
        assert came <= member.assigned.keys()


def test_an_assignment_continues_at_the_committed_offset_with_its_metadata(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_offsets, "END_SECONDS", SECONDS)  # a busy broker may take longer than a second
    produce_to_all(cluster, 10)
    at_start, inside, at_end, without = places(cluster)
    long = "m" * 4000
    first = joined(cluster)
    commits = [Commit(at_start, 0, "none yet"), Commit(inside, 4, long), Commit(at_end, 10, "")]
    commit_accepted(first, *commits)
    first.source.close()
    second = joined(cluster)
    assert {s[:3] for s in second.assigned.values()} == {*commits, (without, None, "")}
    assert {place: second.assigned[place].end for place in (at_start, inside)} == {at_start: 10, inside: 10}
    take_to_ends(second)
    expected = {at_start: range(10), inside: range(4, 10), at_end: (), without: range(10)}
    assert {place: second.offsets(place) for place in places(cluster)} == {p: [*at] for p, at in expected.items()}


# --- take -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_take_returns_at_most_limit_records_and_in_all_each_record_once_in_order(cluster: Cluster, limit: int) -> None:
    produce_to_all(cluster, 25)
    member = joined(cluster)
    deadline = time.monotonic() + SECONDS
    while len(member.records) < 25 * PARTITIONS:
        assert len(member.take(limit)) <= limit
        assert time.monotonic() < deadline
    take_to_ends(member)
    assert all(member.offsets(place) == list(range(25)) for place in places(cluster))


def test_a_record_has_the_produced_key_value_and_headers(cluster: Cluster) -> None:
    place, headers = places(cluster)[2], [("twice", b"1"), ("null", None), ("twice", b"\xff"), ("empty", b"")]
    before = time.time_ns() // 1_000_000
    cluster.produce(place, [(b"\xff\x00", b"\x00\xfe", headers), (b"", b""), (None, None)])
    member = joined(cluster)
    take_to_ends(member)
    told = [(r.topic(), r.partition(), r.offset(), r.key(), r.value(), r.headers() or []) for r in member.records]
    assert told == [
        (*place, 0, b"\xff\x00", b"\x00\xfe", headers),
        (*place, 1, b"", b"", []),
        (*place, 2, None, None, []),
    ]
    kinds, times = zip(*[r.timestamp() for r in member.records], strict=True)
    assert set(kinds) == {1}
    assert all(before <= at <= time.time_ns() // 1_000_000 for at in times)


def test_take_waits_its_seconds_if_no_record_comes_and_never_longer(
    cluster: Cluster,
) -> None:
    member = joined(cluster)
    take_to_ends(member)
    began = time.monotonic()
    assert [len(member.take(100, 0.2)) for _ in range(3)] == [0] * 3
    assert 0.5 <= time.monotonic() - began < 5.0
    began = time.monotonic()
    assert [len(member.take(100, 0.0)) for _ in range(50)] == [0] * 50
    assert time.monotonic() - began < 5.0, "50 times 0.2 s are 10 s"


def test_take_returns_with_the_first_record_and_does_not_wait_for_more(cluster: Cluster) -> None:
    member = joined(cluster)
    take_to_ends(member)
    late = threading.Timer(0.3, cluster.produce, (places(cluster)[0], rows(0, 1)))  # while the take below waits
    late.start()
    began = time.monotonic()
    assert member.take(100, SECONDS)
    assert len(member.records) == 1
    assert time.monotonic() - began < SECONDS / 2
    late.join()


# --- ends -------------------------------------------------------------------------------------------


def test_the_end_of_a_partition_is_reported_behind_its_last_record_and_again_behind_later_ones(
    cluster: Cluster,
) -> None:
    place, *empty = places(cluster)
    cluster.produce(place, rows(0, 5))
    member = joined(cluster)

    def take_to_end(offset: int) -> None:
        member.take_until(lambda: offset in member.ends.get(place, ()), limit=2)
        assert member.offsets(place) == list(range(offset))

    take_to_end(5)
    cluster.produce(place, rows(5, 8))
    take_to_end(8)
    take_to_ends(member)
    assert {offset for other in empty for offset in member.ends[other]} == {0}


def test_ends_are_those_of_all_non_empty_partitions(cluster: Cluster) -> None:
    first, second, *_ = places(cluster)
    cluster.produce(first, rows(0, 3))
    cluster.produce(second, rows(0, 1))
    member = joined(cluster)
    assert member.source.ends() == {first: 3, second: 1}


def test_a_high_watermark_is_the_end_once_all_is_taken_and_before_that_not_below_what_was_taken(
    cluster: Cluster,
) -> None:
    produce_to_all(cluster, 6)
    member = joined(cluster)
    while not all(member.ends.get(place) for place in places(cluster)):
        member.take(1)
        for record in member.records:
            high = member.source.high_watermark(Partition(record.topic(), record.partition()))
            assert high is not None
            assert high > record.offset()
    assert {member.source.high_watermark(place) for place in places(cluster)} == {6}
    assert member.source.high_watermark(Partition("elsewhere", 0)) is None


def test_an_end_lies_behind_what_is_never_delivered(full_cluster: FullCluster) -> None:
    place = places(full_cluster)[0]
    full_cluster.produce(place, rows(0, 2))
    full_cluster.produce_aborted(place, rows(2, 5))
    member = joined(full_cluster)
    take_to_ends(member)
    assert member.offsets(place) == [0, 1]
    assert member.ends[place][-1] == member.source.ends()[place] == 6  # the marker has an offset as well


# --- surveys ----------------------------------------------------------------------------------------


def surveyed(member: Member, topic: str) -> Survey:
    before = len(member.surveys)
    member.source.survey([topic])
    member.take_until(lambda: len(member.surveys) > before)
    (answer,) = member.surveys[before:]
    assert answer[0] is not None, answer[1]
    return answer[0]


def test_a_survey_has_what_all_partitions_hold_and_what_the_group_has_committed_of_them(cluster: Cluster) -> None:
    first, second, *_ = places(cluster)
    cluster.produce(first, rows(0, 3))
    member = joined(cluster)
    assert surveyed(member, cluster.topic) == Survey(
        {place: (0, 3 if place == first else 0) for place in places(cluster)}, {}
    )
    commits = [Commit(first, 2, "m"), Commit(second, 0, "")]
    commit_accepted(member, *commits)
    cluster.produce(second, rows(0, 1))
    survey = surveyed(member, cluster.topic)
    assert sorted(survey.committed.values()) == commits
    assert (survey.bounds[first], survey.bounds[second]) == ((0, 3), (0, 1))


def test_a_survey_contains_partitions_of_other_members(cluster: Cluster) -> None:
    one, other = joined(cluster), cluster.join()
    one.take_until(lambda: one.assigned and other.assigned, other)
    place, *_ = other.assigned
    commit_accepted(other, Commit(place, 0, "theirs"))
    assert surveyed(one, cluster.topic).committed == {place: Commit(place, 0, "theirs")}


def test_a_survey_has_the_lowest_offset_that_retention_has_left_and_the_end_behind_aborted_records(
    full_cluster: FullCluster,
) -> None:
    place = places(full_cluster)[0]
    full_cluster.produce(place, rows(0, 4))
    full_cluster.produce_aborted(place, rows(4, 7))
    full_cluster.delete_below(place, 2)
    assert surveyed(joined(full_cluster), full_cluster.topic).bounds[place] == (2, 8)


def test_a_partition_without_a_commit_begins_at_its_start(cluster: Cluster) -> None:
    """The member has joined before it leaves: a client that is closed in a KIP-848 join may wait for long."""
    assert joined(cluster).source.begins_at_start


# --- commits ----------------------------------------------------------------------------------------


def test_a_commit_is_answered_once_and_then_the_group_has_it(cluster: Cluster) -> None:
    member = joined(cluster)
    first, second, *others = places(cluster)
    commits = [Commit(first, 3, "a"), Commit(second, 0, "")]
    member.source.commit(commits)
    member.take_until(lambda: member.answers)
    assert member.source.committed(places(cluster)) == {first: 3, second: 0}
    assert member.source.committed(others) == {}
    take_to_ends(member)  # a second answer would have come meanwhile
    assert all(error is None for _, error in member.answers)
    assert sorted(commit for commits, _ in member.answers for commit in commits) == sorted(commits)


def test_a_commit_that_is_waited_for_is_done_when_it_returns_and_the_listener_is_not_called(cluster: Cluster) -> None:
    member = joined(cluster)
    place = places(cluster)[1]
    assert member.source.commit_now([Commit(place, 7, "m")], SECONDS) is None
    assert member.source.committed([place]) == {place: 7}
    take_to_ends(member)
    assert member.answers == []


def test_a_later_commit_replaces_an_earlier_one_even_with_a_lower_offset(cluster: Cluster) -> None:
    member = joined(cluster)
    place = places(cluster)[1]
    commit_accepted(member, Commit(place, 7, "seven"))
    commit_accepted(member, Commit(place, 2, "two"))
    assert member.source.committed([place]) == {place: 2}
    member.source.close()
    assert joined(cluster).assigned[place][:3] == (place, 2, "two")


def test_a_commit_that_the_group_refuses_is_answered_with_its_reason_and_changes_nothing(
    full_cluster: FullCluster,
) -> None:
    member = joined(full_cluster)
    place = places(full_cluster)[0]
    commit_accepted(member, Commit(place, 1, "before"))
    refused = [Commit(place, 2, "x" * 5000)]
    reason = member.source.commit_now(refused, SECONDS)
    assert isinstance(reason, MetadataTooLarge)
    assert reason.partitions == {place}
    assert "metadata" in reason
    member.source.commit(refused)
    member.take_until(lambda: member.answers)
    assert member.answers == [Answer(refused, reason)]
    assert member.source.committed([place]) == {place: 1}


def test_a_commit_that_is_refused_in_part_is_answered_once_as_refused_and_the_group_has_the_other_part(
    full_cluster: FullCluster,
) -> None:
    """An error does not prove that the group has none of it."""
    member = joined(full_cluster)
    fine, refused, *_ = places(full_cluster)
    commits = [Commit(fine, 2, "short"), Commit(refused, 2, "x" * 5000)]
    member.source.commit(commits)
    member.take_until(lambda: member.answers)
    take_to_ends(member)  # a second answer would have come meanwhile
    (answer,) = member.answers
    assert sorted(answer.commits) == commits
    assert answer.error is not None
    assert member.source.committed([fine, refused]) == {fine: 2}


# --- pause ------------------------------------------------------------------------------------------


def test_a_paused_partition_is_not_delivered_and_a_resumed_one_goes_on_where_it_was(cluster: Cluster) -> None:
    paused, *others = places(cluster)
    produce_to_all(cluster, 5)
    member = joined(cluster)
    member.take_until(lambda: member.offsets(paused), limit=1)
    member.source.pause([paused])
    cluster.produce(paused, rows(5, 10))
    for place in others:
        cluster.produce(place, rows(5, 10))
    before = member.offsets(paused)
    member.take_until(lambda: all(len(member.offsets(place)) == 10 for place in others))
    assert member.offsets(paused) == before
    member.source.resume([paused])
    member.take_until(lambda: len(member.offsets(paused)) >= 10)
    assert member.offsets(paused) == list(range(10))


def test_while_everything_is_paused_commits_are_answered(cluster: Cluster) -> None:
    produce_to_all(cluster, 5)
    member = joined(cluster)
    member.source.pause(places(cluster))
    member.take()  # the client may have fetched records already
    before = len(member.records)
    member.source.commit([Commit(places(cluster)[0], 1, "")])
    member.take_until(lambda: member.answers)
    assert len(member.records) == before


# --- rebalances -------------------------------------------------------------------------------------


def test_a_member_may_commit_a_revoked_partition_and_its_successor_continues_there(cluster: Cluster) -> None:
    produce_to_all(cluster, 10)
    first = joined(cluster)

    def commit(partitions: Sequence[Partition]) -> None:
        commit_accepted(first, *[Commit(place, 6, "drained") for place in partitions])

    first.during_revoke = commit
    second = cluster.join()
    first.take_until(lambda: len(second.assigned) == PARTITIONS // 2 == len(first.assigned), second)
    (given_up,) = first.calls_of("revoke")
    kept = sorted(first.assigned)
    assert sorted([*given_up, *kept]) == places(cluster)
    assert sorted(second.assigned) == sorted(given_up)
    assert {(s.offset, s.metadata) for s in second.assigned.values()} == {(6, "drained")}
    assert first.source.ends() == second.source.ends() == dict.fromkeys(places(cluster), 10)
    assert sum(map(len, first.calls_of("assign"))) == PARTITIONS, "what stays is not assigned anew"
    take_to_ends(second)
    assert all(second.offsets(place) == [6, 7, 8, 9] for place in given_up)


def leaving(cluster: Cluster) -> tuple[Member, Member, list[Partition]]:
    """A member that has taken five records of each partition and does not release, another one, and what stays."""
    produce_to_all(cluster, 5)
    first = joined(cluster)
    take_to_ends(first)
    first.releases_at_once = False
    second = cluster.join()
    first.take_until(lambda: first.calls_of("revoke"), second)
    assert len(first.assigned) == PARTITIONS // 2
    return first, second, sorted(first.assigned)


def test_a_revoked_partition_is_not_reassigned_until_it_is_released_and_the_others_are_delivered_meanwhile(
    cluster: Cluster,
) -> None:
    """Each record once and in order: before the release, around it, and afterwards."""
    first, second, stays = leaving(cluster)
    leaves = first.calls_of("revoke")[0]
    for place in places(cluster):
        cluster.produce(place, rows(5, 10))
    first.take_until(lambda: all(len(first.offsets(place)) >= 10 for place in stays), second)
    first.source.commit([Commit(leaves[0], 3, "drains"), Commit(stays[0], 7, "stays")])
    first.take_until(lambda: first.answers, second)
    commit_accepted(first, Commit(leaves[0], 4, "drained"))
    assert [answer.error for answer in first.answers] == [None] * len(first.answers)
    assert second.assigned == {}
    for place in stays:
        cluster.produce(place, rows(10, 20))
    first.release()
    for place in stays:
        cluster.produce(place, rows(20, 25))
    first.take_until(lambda: len(second.assigned) == len(leaves), second)
    first.release()
    for place in stays:
        cluster.produce(place, rows(25, 30))
    first.take_until(lambda: all(first.ends[place][-1] == 30 for place in stays), second)
    assert {place: first.offsets(place) for place in stays} == {place: list(range(30)) for place in stays}
    assert {place: first.offsets(place) for place in leaves} == {place: list(range(5)) for place in leaves}
    assert second.assigned[leaves[0]][:3] == (leaves[0], 4, "drained")


def test_a_partition_that_stays_is_not_delivered_while_it_is_paused_although_others_are(cluster: Cluster) -> None:
    first, second, (flows, paused) = leaving(cluster)
    cluster.produce(flows, rows(5, 10))
    first.take_until(lambda: len(first.offsets(flows)) == 10, second)
    first.source.pause([paused])
    for place in (paused, flows):
        cluster.produce(place, rows(first.source.ends()[place], 15))
    first.take_until(lambda: len(first.offsets(flows)) == 15, second)
    assert first.offsets(paused) == list(range(5))
    first.release()
    first.take_until(lambda: len(second.assigned) == PARTITIONS // 2, second)
    assert first.offsets(paused) == list(range(5))
    first.source.resume([paused])
    first.take_until(lambda: len(first.offsets(paused)) >= 15, second)
    take_to_ends(first)
    assert {place: first.offsets(place) for place in (flows, paused)} == {
        place: list(range(15)) for place in (flows, paused)
    }


def test_a_member_that_closes_releases_what_was_revoked(cluster: Cluster) -> None:
    first, second, _ = leaving(cluster)
    first.releases_at_once = True
    first.source.close()
    second.take_until_assigned(PARTITIONS)


def test_after_a_revoke_nothing_more_comes_of_the_partition(cluster: Cluster) -> None:
    first = joined(cluster)
    second = cluster.join()
    first.take_until(lambda: len(second.assigned) == PARTITIONS // 2 == len(first.assigned), second)
    produce_to_all(cluster, 5)
    first.take_until(lambda: len(first.records) + len(second.records) >= 5 * PARTITIONS, second)
    for member in (first, second):
        assert {Partition(r.topic(), r.partition()) for r in member.records} == set(member.assigned)


def test_a_partition_that_comes_back_is_delivered_once_resumed_though_it_was_paused_before(cluster: Cluster) -> None:
    """A pause may outlast the assignment in which it was made."""
    first = joined(cluster)
    first.source.pause(places(cluster))
    second = cluster.join()
    first.take_until(lambda: len(second.assigned) == PARTITIONS // 2 == len(first.assigned), second)
    second.source.close()
    first.take_until_assigned(PARTITIONS)
    first.source.resume(places(cluster))
    produce_to_all(cluster, 2)
    first.take_until(lambda: all(first.offsets(place) == [0, 1] for place in places(cluster)))


def test_a_closing_member_revokes_in_order_and_releases_its_partitions_at_once(cluster: Cluster) -> None:
    began = time.monotonic()
    first = joined(cluster)
    first_took = time.monotonic() - began
    first.during_revoke = lambda partitions: commit_accepted(first, *[Commit(p, 1, "last") for p in partitions])
    first.source.close()
    first.source.close()
    assert sorted(place for partitions in first.calls_of("revoke") for place in partitions) == places(cluster)
    assert not first.assigned
    began = time.monotonic()
    second = joined(cluster)
    assert time.monotonic() - began < 5.0 + first_took, "the group waited for a member that had left"
    assert {(start.offset, start.metadata) for start in second.assigned.values()} == {(1, "last")}


def test_a_member_that_closes_for_good_releases_its_partitions(cluster: Cluster) -> None:
    first = joined(cluster)
    first.source.close(for_good=True)
    assert not first.assigned
    joined(cluster)


@pytest.mark.broker
def test_a_member_that_is_expected_to_return_leaves_only_for_good(kafka_classic: KafkaCluster) -> None:
    """Its session outlasts the test by far: nothing but its own request removes it from the group."""
    first = kafka_classic.join_as("place")
    first.take_until_assigned(PARTITIONS)
    first.source.close()
    assert kafka_classic.count_members() == 1
    again = kafka_classic.join_as("place")
    again.take_until_assigned(PARTITIONS)
    again.source.close(for_good=True)
    until(lambda: kafka_classic.count_members() == 0, "the member has left", SECONDS, pause=0.1)
    joined(kafka_classic)


def test_an_evicted_member_loses_its_partitions_and_gets_them_again(
    full_cluster: FullCluster,
) -> None:
    produce_to_all(full_cluster, 3)
    member = full_cluster.join_and_be_given_up_soon()
    member.take_until_assigned(PARTITIONS)
    commit_accepted(member, *[Commit(place, 2, "two") for place in places(full_cluster)])
    full_cluster.give_up(member)
    late = [Commit(place, 3, "late") for place in places(full_cluster)]
    assert member.source.commit_now(late, 0.0) is not None
    member.take_until(lambda: member.calls_of("lose"))
    assert not member.calls_of("revoke")
    member.take_until_assigned(PARTITIONS)
    assert {(start.offset, start.metadata) for start in member.assigned.values()} == {(2, "two")}


# --- retention --------------------------------------------------------------------------------------


def test_a_partition_whose_next_offset_was_deleted_is_reset_and_goes_on_at_what_is_left(
    full_cluster: FullCluster,
) -> None:
    place = places(full_cluster)[0]
    full_cluster.produce(place, rows(0, 10))
    first = joined(full_cluster)
    commit_accepted(first, Commit(place, 3, ""))
    first.source.close()
    full_cluster.delete_below(place, 8)
    second = joined(full_cluster)
    second.take_until(lambda: second.offsets(place))
    assert second.assigned[place].offset == 3
    assert second.resets == [(place, 8)]
    take_to_ends(second)
    assert second.offsets(place) == [8, 9]


def test_ends_leave_out_partitions_whose_records_are_all_deleted(full_cluster: FullCluster) -> None:
    place = places(full_cluster)[0]
    full_cluster.produce(place, rows(0, 4))
    full_cluster.delete_below(place, 4)
    assert joined(full_cluster).source.ends() == {}


# --- a reader ---------------------------------------------------------------------------------------


class Reading:
    """A reader, and what it delivered."""

    def __init__(self, member: Member) -> None:
        self.reader = member.source.open_reader()
        self.records: list[tuple[Partition, int]] = []
        self.reports: list[End | Lost | None] = []

    def take(self) -> None:
        for record in self.reader.take(7, 0.05):
            if record.error() is None:
                self.records.append((Partition(record.topic(), record.partition()), record.offset()))
            else:
                self.reports.append(self.reader.interpret(record))

    def take_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {SECONDS:g} s: {self.records[-3:]}, {self.reports}"
            self.take()

    def ends(self) -> dict[Partition, int]:
        return {report.partition: report.offset for report in self.reports if isinstance(report, End)}


def test_a_reader_delivers_partitions_of_any_member_from_any_offset_to_their_ends(cluster: Cluster) -> None:
    produce_to_all(cluster, 20)
    first, second, *_ = places(cluster)
    reading = Reading(joined(cluster))
    reading.reader.begin(first, 3)
    reading.reader.begin(second, 15)
    reading.take_until(lambda: len(reading.ends()) == 2)
    assert sorted(reading.records) == [*((first, n) for n in range(3, 20)), *((second, n) for n in range(15, 20))]
    assert reading.ends() == {first: 20, second: 20}
    reading.reader.close()


def test_a_reader_that_begins_again_delivers_nothing_of_what_it_had_fetched(cluster: Cluster) -> None:
    place, *_ = places(cluster)
    cluster.produce(place, rows(0, 2000))
    reading = Reading(joined(cluster))
    for begin in (0, 1000, 10, 1995):
        reading.records.clear()
        reading.reader.begin(place, begin)
        reading.take_until(lambda: reading.records)
        assert reading.records == [(place, begin + n) for n in range(len(reading.records))]
    reading.reader.end(place)
    reading.records.clear()
    reading.take()
    reading.reader.begin(place, 5)
    reading.take_until(lambda: reading.records)
    assert reading.records[0] == (place, 5)
    reading.reader.close()


def test_a_reader_reports_where_a_log_begins_whose_records_retention_has_deleted(full_cluster: FullCluster) -> None:
    place, *_ = places(full_cluster)
    full_cluster.produce(place, rows(0, 20))
    full_cluster.delete_below(place, 12)
    reading = Reading(joined(full_cluster))
    reading.reader.begin(place, 4)
    reading.take_until(lambda: reading.reports)
    assert reading.reports == [Lost(place, 12)]
    reading.reader.begin(place, 15)
    reading.take_until(reading.ends)
    assert reading.records == [(place, n) for n in range(15, 20)]
    reading.reader.close()


def test_a_reader_passes_over_aborted_records(full_cluster: FullCluster) -> None:
    place, *_ = places(full_cluster)
    full_cluster.produce(place, rows(0, 3))
    full_cluster.produce_aborted(place, rows(0, 4))
    full_cluster.produce(place, rows(0, 2))
    reading = Reading(joined(full_cluster))
    reading.reader.begin(place, 0)
    reading.take_until(lambda: len(reading.records) == 5)
    offsets = [offset for _, offset in reading.records]
    assert offsets == sorted({*offsets, 0, 1, 2} - {3, 4, 5, 6})
    reading.reader.close()
