"""When a transaction is made, and how it is answered. test_output_transactions.py has the brokers' side."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from processor.errors import ProcessorError
from processor.kafka.output_transactions import Aborted, Ended, OutputTransactions, Transaction
from processor.kafka.transaction_route import NOT_A_MEMBER, TransactionRoute
from processor.runtime.ports import Commit, MetadataTooLarge, OutputRecord, OutputsRefused, Partition
from tests.support.until import until

COMMITS = [Commit(Partition("t", 0), 5, "map")]
OUTPUTS = [OutputRecord("r", b"k", b"v", [])]
MEMBER, STRANGER = b"CGMDv2:\x00\x00\x00\x07g", b"CGMDv2:\xff\xff\xff\xffg"


class Client:
    """A member's client."""

    metadata = MEMBER

    def consumer_group_metadata(self) -> bytes:
        return self.metadata


class Transactions:
    """Replaces the producer: commits a transaction once `may_end` is set, or raises the given error."""

    def __init__(self) -> None:
        self.taken: list[Transaction] = []
        self.error: Exception | None = None
        self.may_end = threading.Event()
        self.may_end.set()

    def commit(self, transaction: Transaction) -> None:
        assert self.may_end.wait(20)
        if self.error is not None:
            raise self.error
        self.taken.append(transaction)

    def close(self) -> None:
        self.may_end.set()

    is_stuck = False


class Route:
    """A route, its client, and all its results."""

    def __init__(self) -> None:
        self.client: Any = Client()
        self.transactions = Transactions()
        self.answers: list[tuple[Sequence[Commit], object]] = []
        self.route = TransactionRoute(cast(OutputTransactions, self.transactions), self._answered)

    def _answered(self, commits: Sequence[Commit], reason: str | None, _: object) -> None:
        self.answers.append((commits, reason))

    def is_answered(self) -> bool:
        self.route.deliver()
        return bool(self.answers)

    def send(self) -> None:
        self.route.send(self.client, COMMITS, OUTPUTS)

    def answer_to(self, error: Exception | None) -> object:
        self.transactions.error = error
        self.send()
        self.route.wait(20)
        ((_, reason),) = self.answers
        return reason


@pytest.fixture
def route() -> Iterator[Route]:
    made = Route()
    yield made
    made.route.close()


def test_a_transaction_has_the_outputs_the_offsets_and_the_generation_of_their_moment(route: Route) -> None:
    route.transactions.may_end.clear()
    route.send()
    route.client.metadata = STRANGER
    assert route.answers == []
    route.transactions.may_end.set()
    route.route.wait(20)
    assert route.answers == [(COMMITS, None)]
    (transaction,) = route.transactions.taken
    (offset,) = transaction.offsets
    assert (offset.topic, offset.partition, offset.offset, offset.metadata) == ("t", 0, 5, "map")
    assert (transaction.outputs, transaction.group_metadata) == (OUTPUTS, MEMBER)


def test_an_answer_that_is_not_waited_for_is_delivered_in_the_pollers_thread(route: Route) -> None:
    route.send()
    until(lambda: route.transactions.taken)
    assert route.answers == []
    until(route.is_answered)
    assert route.answers == [(COMMITS, None)]


def test_a_wait_is_bounded_and_one_without_a_transaction_ends_at_once(route: Route) -> None:
    route.route.wait(20)
    route.transactions.may_end.clear()
    route.send()
    route.route.wait(0.01)
    assert route.answers == []


def test_a_client_that_is_not_a_member_commits_nothing(route: Route) -> None:
    """Brokers do not check the generation of a transaction that names no member."""
    route.client.metadata = STRANGER
    route.send()
    assert route.answers == [(COMMITS, NOT_A_MEMBER)]
    assert route.transactions.taken == []


def test_outputs_that_are_refused_are_named(route: Route) -> None:
    reason = route.answer_to(Aborted(None, {0: "r: too large"}))
    assert isinstance(reason, OutputsRefused)
    assert (reason, reason.refused) == ("r: too large", {0: "r: too large"})


def test_metadata_that_is_too_large_is_answered_as_such(route: Route) -> None:
    reason = route.answer_to(Aborted(KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE), {}))
    assert isinstance(reason, MetadataTooLarge)
    assert reason.partitions == {COMMITS[0].partition}


def test_any_other_abort_is_reported_and_does_not_end_the_producer(route: Route) -> None:
    assert route.answer_to(Aborted(KafkaError(KafkaError.ILLEGAL_GENERATION), {})) == (
        "Specified group generation id is not valid"
    )
    assert route.route.end is None


@pytest.mark.parametrize("error", [Ended("fenced"), ProcessorError("a setting is refused"), ZeroDivisionError()])
def test_an_error_after_which_no_transaction_is_possible_ends_the_producer(route: Route, error: Exception) -> None:
    reason = route.answer_to(error)
    assert route.route.end is not None
    assert reason == str(route.route.end)


def test_a_client_call_that_does_not_return_ends_the_producer(route: Route) -> None:
    route.transactions.is_stuck = True
    route.route.deliver()
    assert route.route.end is None
    route.transactions.may_end.clear()
    route.send()
    route.route.deliver()
    assert "has not returned" in str(route.route.end)
    assert route.answers == []


def test_a_closed_transaction_route_ends_its_thread(route: Route) -> None:
    route.transactions.may_end.clear()
    route.send()
    route.route.close()
    assert "transactions" not in {thread.name for thread in threading.enumerate()}
