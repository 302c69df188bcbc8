"""Which route offsets take, and which answer counts.

What a coordinator does is in tests/integration/test_awaited_member.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from processor.engine.progress_record import reference_to
from processor.kafka import commit_route as module
from processor.kafka.aside import Aside
from processor.kafka.commit_route import CommitRoute
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.transactional_offsets import Refused
from processor.runtime.ports import Commit, MetadataTooLarge, Partition
from processor.settings import Settings
from processor.telemetry.events import ConsumerCommitsHeld, ConsumerCommitsRerouted, Event
from tests.support.until import until

FIRST = [Commit(Partition("t", 0), 5, "map")]
REFERENCE = f"{reference_to('progress', 0, 7, 9, b'the map')};4@1764403600"
"""To a skip map in a record, with a note behind it."""
SECOND = [Commit(Partition("t", 0), 9, REFERENCE)]
OVER = KafkaError(KafkaError.ILLEGAL_GENERATION)
OVER_TEXT = "Specified group generation id is not valid"


class HeldClient:
    """A member's client that holds back commits until the test asks for its answers."""

    def __init__(self) -> None:
        self.held: list[list[TopicPartition]] = []

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.held.append(offsets)

    metadata = b"CGMDv2:\x00\x00\x00\x01g"

    def consumer_group_metadata(self) -> bytes:
        return self.metadata


class Transactions:
    """Replaces a transactional producer: accepts the offsets, or raises the given error."""

    def __init__(self, *_: object) -> None:
        self.transactional_id = "x"
        self.taken: list[tuple[int, Any]] = []
        self.metadata: list[str | None] = []
        self.refusal: KafkaError | None = None

    def commit(self, offsets: Sequence[TopicPartition], group_metadata: Any) -> None:
        if self.refusal is not None:
            raise Refused(self.refusal)
        self.taken.append((offsets[0].offset, group_metadata))
        self.metadata.append(offsets[0].metadata)

    def close(self) -> None: ...


class Route:
    """A route, its client, and all its results. The group rebalances while `rebalances` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.rebalances = threading.Event()
        self.asked = 0
        self.client: Any = HeldClient()
        self.transactions = Transactions()
        self.events: list[Event] = []
        self.answers: list[tuple[int, object]] = []
        monkeypatch.setattr(module, "TransactionalOffsets", lambda *_: self.transactions)
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
        monkeypatch.setattr(module, "KEPT_SECONDS", 0.0)
        monkeypatch.setattr(GroupInquiry, "is_rebalancing", lambda _: self._ask())
        settings = Settings(topics=("t",), group="g", **options)
        self.aside = Aside("test")
        self.route = CommitRoute(
            settings, self.events.append, self._answered, self.aside, GroupInquiry(settings, print)
        )

    def _answered(self, commits: Sequence[Commit], reason: str | None, _: object) -> None:
        self.answers.append((commits[0].offset, reason))

    def _ask(self) -> bool:
        self.asked += 1
        return self.rebalances.is_set()

    def send(self, commits: Sequence[Commit]) -> None:
        self.route.send(self.client, commits)

    def tick(self) -> bool:
        self.aside.deliver()
        self.route.tick(self.client)
        return True

    def until_answered(self, count: int = 1) -> None:
        until(lambda: self.tick() and len(self.answers) >= count)

    def client_answers(self, error: KafkaError | None) -> None:
        self.route.on_commit(error, self.client.held.pop(0))


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Iterator[Route]:
    made = Route(monkeypatch)
    yield made
    made.aside.close(made.route.close)


@pytest.fixture
def held(route: Route) -> Route:
    """A route whose client holds a commit, in a rebalance."""
    route.rebalances.set()
    route.send(FIRST)
    return route


def test_a_commit_answered_in_time_goes_through_the_client_alone(route: Route) -> None:
    route.send(FIRST)
    route.client_answers(None)
    route.tick()
    assert route.answers == [(5, None)]
    assert route.asked == 0


def test_a_commit_delayed_by_a_rebalance_goes_through_a_transaction_and_so_do_later_ones(held: Route) -> None:
    held.until_answered()
    held.send(SECOND)
    held.until_answered(2)
    assert held.answers == [(5, None), (9, None)]
    assert held.transactions.taken == [(5, HeldClient.metadata), (9, HeldClient.metadata)]
    assert held.transactions.metadata == ["map", REFERENCE]
    assert [type(event) for event in held.events] == [ConsumerCommitsRerouted]


def test_the_clients_late_refusal_of_a_commit_made_by_transaction_is_dropped(held: Route) -> None:
    held.until_answered()
    held.client_answers(OVER)
    assert held.answers == [(5, None)]


def test_the_clients_late_success_is_passed_on_since_it_may_have_moved_the_offset_back(held: Route) -> None:
    held.until_answered()
    held.client_answers(None)
    assert held.answers == [(5, None), (5, None)]


def test_after_the_rebalance_commits_go_through_the_client_again(held: Route) -> None:
    held.until_answered()
    held.route.on_assign()
    held.send(SECOND)
    assert [offsets[0].offset for offsets in held.client.held] == [5, 9]


def test_without_a_rebalance_the_group_is_queried_again_and_nothing_is_rerouted(route: Route) -> None:
    route.send(FIRST)
    until(lambda: route.tick() and route.asked >= 3)
    assert route.transactions.taken == []
    route.client_answers(OVER)
    assert route.answers == [(5, OVER_TEXT)]


def test_a_transaction_of_another_generation_is_reported_as_such_and_the_client_commits_again(held: Route) -> None:
    held.transactions.refusal = OVER
    held.until_answered()
    assert held.answers == [(5, OVER_TEXT)]
    assert not held.route.is_rerouted
    held.client_answers(OVER)
    assert len(held.answers) == 1


def test_a_member_evicted_meanwhile_commits_nothing_in_a_transaction(held: Route) -> None:
    """A coordinator does not check a transaction without a member: another member's partitions would move back."""
    held.client.metadata = b"CGMDv2:\xff\xff\xff\xffg"
    held.until_answered()
    assert held.transactions.taken == []
    assert not held.route.is_rerouted
    ((_, reason),) = held.answers
    assert "member" in str(reason)


def test_without_permission_for_transactions_one_event_is_logged_and_the_clients_answer_counts(held: Route) -> None:
    held.transactions.refusal = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    until(lambda: held.tick() and len(held.events) == 2)
    held.send(SECOND)
    assert len(held.client.held) == 2
    held.client_answers(OVER)
    assert held.answers == [(5, OVER_TEXT)]
    assert [type(event) for event in held.events] == [ConsumerCommitsRerouted, ConsumerCommitsHeld]


def test_a_temporarily_failed_transaction_is_reported_and_retried_with_the_next_commit(held: Route) -> None:
    held.transactions.refusal = KafkaError(KafkaError._TIMED_OUT)
    held.until_answered()
    held.transactions.refusal = None
    held.send(SECOND)
    held.until_answered(2)
    assert held.answers == [(5, "Timed out"), (9, None)]


def test_a_skip_map_too_long_for_a_transaction_is_reported_as_such_and_delays_no_commit(held: Route) -> None:
    held.transactions.refusal = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
    held.until_answered()
    ((_, reason),) = held.answers
    assert isinstance(reason, MetadataTooLarge)
    assert reason.partitions == {FIRST[0].partition}
    assert held.route.is_rerouted
    assert [type(event) for event in held.events] == [ConsumerCommitsRerouted]


def test_a_closed_commit_route_ends_its_thread(held: Route) -> None:
    held.until_answered()
    held.aside.close(held.route.close)
    assert "test" not in {thread.name for thread in threading.enumerate()}


def release(route: Route) -> None:
    """Has the member release partitions; what the same rebalance assigns to it comes right after that."""
    route.route.on_give_up([Partition("t", 1)])
    route.route.on_release()
    route.route.on_assign()


@pytest.fixture
def kept(route: Route) -> Route:
    """A route whose member has released partitions and joins again; a commit is kept meanwhile."""
    release(route)
    route.send(FIRST)
    assert route.client.held == []
    return route


def offsets_held(route: Route) -> list[list[int]]:
    return [[place.offset for place in places] for places in route.client.held]


def test_a_commit_is_kept_until_the_member_has_joined_the_next_generation(
    kept: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_SECONDS", 3600.0)
    kept.tick()
    assert (kept.client.held, kept.asked) == ([], 0)
    kept.route.on_assign()
    kept.tick()
    assert offsets_held(kept) == [[5]]
    kept.client_answers(None)
    kept.send(SECOND)
    assert offsets_held(kept) == [[9]]
    assert kept.answers == [(5, None)]


def test_of_a_kept_commit_nothing_is_sent_for_partitions_that_were_lost(kept: Route) -> None:
    kept.route.on_give_up([FIRST[0].partition])
    assert kept.answers == [(5, module.GIVEN_UP)]
    kept.tick()
    assert kept.client.held == []
    kept.send(SECOND)
    assert offsets_held(kept) == [[9]]


def test_of_a_kept_commit_only_the_partitions_that_stay_are_sent(route: Route) -> None:
    release(route)
    route.send([*FIRST, Commit(Partition("t", 2), 7, "")])
    route.route.on_give_up([Partition("t", 2)])
    route.route.on_assign()
    route.tick()
    assert offsets_held(route) == [[5]]
    assert route.answers == [(7, module.GIVEN_UP)]


def test_a_kept_commit_goes_through_a_transaction_if_the_group_waits_for_another_member(kept: Route) -> None:
    kept.rebalances.set()
    kept.until_answered()
    kept.route.on_assign()
    kept.tick()
    assert kept.answers == [(5, None)]
    assert kept.transactions.taken == [(5, HeldClient.metadata)]
    assert kept.client.held == []


def test_what_is_kept_beside_a_commit_that_goes_through_a_transaction_is_answered_and_so_made_again(
    route: Route,
) -> None:
    """After its last rebalance, the member keeps what is left of one commit, and a later one of another partition."""
    release(route)
    route.send([Commit(Partition("t", 1), 7, ""), *FIRST])
    release(route)
    route.send([Commit(Partition("t", 2), 8, "")])
    route.rebalances.set()
    route.until_answered(3)
    assert route.answers == [(7, module.GIVEN_UP), (5, module.OVERTAKEN), (8, None)]
    route.route.on_assign()
    route.tick()
    assert route.client.held == []


def test_a_transaction_that_ends_late_leaves_no_later_commit_without_an_answer(
    kept: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the member joins, releases partitions again, and keeps its next commit."""
    may_end, commit = threading.Event(), kept.transactions.commit
    monkeypatch.setattr(kept.transactions, "commit", lambda *args: may_end.wait() and commit(*args))
    kept.rebalances.set()
    until(lambda: kept.tick() and kept.route.is_rerouted)
    kept.route.on_assign()
    kept.tick()
    release(kept)
    kept.send(SECOND)
    may_end.set()
    kept.until_answered(2)
    assert kept.answers == [(9, module.OVERTAKEN), (5, None)]


def test_a_kept_commit_goes_through_the_client_if_no_rebalance_is_in_progress(kept: Route) -> None:
    until(lambda: kept.tick() and kept.client.held)
    assert offsets_held(kept) == [[5]]
    kept.client_answers(None)
    assert kept.answers == [(5, None)]


def test_a_kept_commit_goes_through_the_client_if_transactions_are_not_possible(kept: Route) -> None:
    kept.rebalances.set()
    kept.transactions.refusal = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    until(lambda: kept.tick() and kept.client.held)
    kept.client_answers(None)
    assert kept.answers == [(5, None)]


def test_a_commit_is_kept_also_between_the_release_and_the_assignment_that_follows_it(route: Route) -> None:
    route.route.on_release()
    route.send(FIRST)
    route.route.on_assign()
    route.tick()
    assert route.client.held == []
    route.route.on_assign()
    route.tick()
    assert offsets_held(route) == [[5]]


def test_a_member_keeps_no_commit_if_it_has_released_nothing_or_the_protocol_is_that_of_kip_848(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route = Route(monkeypatch, group_protocol="consumer")
    release(route)
    route.send(FIRST)
    assert offsets_held(route) == [[5]]
    route.aside.close(route.route.close)
