"""Outputs and offsets in transactions, against a real broker."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from processor.errors import BrokerError
from processor.kafka import output_transactions as module
from processor.kafka.output_transactions import Aborted, Ended, OutputTransactions, Transaction
from processor.runtime.ports import OutputRecord, Partition
from processor.settings import Settings
from processor.telemetry.events import Event, OutputTooLarge
from processor.testing.memory.cluster import MemoryRecord
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.until import until


class Committing:
    """A topic for outputs, and a group whose offsets are of another topic."""

    def __init__(self, servers: str, outputs: str, source: str, group: str) -> None:
        self.servers, self.outputs, self.source, self.group = servers, outputs, source, group
        self.events: list[Event] = []
        self._member = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})

    def open(self, instance_id: str | None = None, **kafka_config: str) -> OutputTransactions:
        config = {key.replace("_", "."): value for key, value in kafka_config.items()}
        settings = Settings(
            topics=(self.source,), group=self.group, bootstrap_servers=self.servers, kafka_config=config
        )
        return OutputTransactions(settings, instance_id, self.events.append)

    def transaction(self, offset: int, *values: bytes, metadata: str = "") -> Transaction:
        """A client that is not a member commits without a generation, which the coordinator does not check."""
        outputs = [OutputRecord(self.outputs, b"k", value, [("n", b"%d" % n)]) for n, value in enumerate(values)]
        group_metadata: Any = self._member.consumer_group_metadata()
        return Transaction(outputs, [TopicPartition(self.source, 0, offset, metadata)], group_metadata)

    @property
    def written(self) -> list[bytes | str | None]:
        return [message.value() for message in cluster.read_all(self.servers, self.outputs)]

    @property
    def committed(self) -> int | None:
        place = cluster.committed(self.servers, self.group, self.source).get(0)
        return place.offset if place else None

    def check(self, written: list[bytes], committed: int | None) -> None:
        """Checks the outputs and the group's offset. A coordinator shows that a moment after it confirms it."""
        assert self.written == written
        if committed is not None:
            until(lambda: self.committed == committed, lambda: f"the group has committed {self.committed}", pause=0.02)
        assert self.committed == committed

    def close(self) -> None:
        self._member.close()


@pytest.fixture
def committing(broker: Broker, topic: MakeTopic, group: str) -> Iterator[Committing]:
    made = Committing(broker.bootstrap_servers, topic(1, max_message_bytes=5_000), topic(1), group)
    yield made
    made.close()


def test_outputs_and_offsets_are_committed_together(committing: Committing) -> None:
    transactions = committing.open()
    transactions.open()
    assert transactions.transactional_id.startswith(f"{committing.group}-")
    transactions.commit(committing.transaction(3, b"a", b"b"))
    committing.check([b"a", b"b"], 3)
    transactions.commit(committing.transaction(5))
    committing.check([b"a", b"b"], 5)


def test_outputs_that_are_too_large_together_are_sent_alone(committing: Committing) -> None:
    values = [os.urandom(1_000) for _ in range(40)]
    committing.open().commit(committing.transaction(40, *values))
    committing.check(values, 40)


def test_an_output_that_is_too_large_as_it_is_is_compressed(committing: Committing) -> None:
    committing.open().commit(committing.transaction(1, bytes(100_000)))
    committing.check([bytes(100_000)], 1)


def refusal(transactions: OutputTransactions, transaction: Transaction) -> Mapping[int, str]:
    """Return the refused outputs. A slow broker may abort before it refuses any: then try again, as a consumer does."""
    refused: Mapping[int, str] = {}
    for _ in range(5):
        with pytest.raises(Aborted) as aborted:
            transactions.commit(transaction)
        refused = aborted.value.refused
        if refused:
            break
    return refused


def test_an_output_that_its_topic_rejects_is_named_and_the_others_are_sent_without_it(
    committing: Committing,
) -> None:
    large, transactions = os.urandom(20_000), committing.open()
    for _ in range(2):
        refused = refusal(transactions, committing.transaction(3, b"a", large, b"b"))
        assert list(refused) == [1]
        assert committing.outputs in refused[1]
    committing.check([], None)
    transactions.commit(committing.transaction(1, b"a", b"b"))
    committing.check([b"a", b"b"], 1)
    (reported,) = [event for event in committing.events if isinstance(event, OutputTooLarge)]
    assert reported.topic == committing.outputs
    assert 20_000 <= reported.record_bytes < 20_100


def test_after_a_while_outputs_are_sent_in_batches_again(
    committing: Committing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE_SECONDS", -1.0)
    transactions = committing.open()
    transactions.commit(committing.transaction(1, bytes(100_000)))
    assert transactions._step == 1
    transactions.commit(committing.transaction(2, b"small"))
    assert transactions._step == 0
    committing.check([bytes(100_000), b"small"], 2)


def test_refused_metadata_aborts_the_transaction_and_the_producer_continues(committing: Committing) -> None:
    transactions = committing.open()
    with pytest.raises(Aborted) as aborted:
        transactions.commit(committing.transaction(1, b"a", metadata="x" * 5_000))
    assert (aborted.value.code, aborted.value.refused) == (KafkaError.OFFSET_METADATA_TOO_LARGE, {})
    committing.check([], None)
    transactions.commit(committing.transaction(1, b"a", metadata="x"))
    committing.check([b"a"], 1)


def test_an_output_that_cannot_be_sent_at_all_is_named(committing: Committing) -> None:
    transaction = committing.transaction(1, b"a")
    headers: Any = [("n", 5)]
    odd = transaction.outputs[0]._replace(headers=headers)
    with pytest.raises(Aborted) as aborted:
        committing.open().commit(transaction._replace(outputs=[*transaction.outputs, odd]))
    assert list(aborted.value.refused) == [1]
    assert committing.written == []


def test_an_output_that_is_too_large_for_the_clients_queue_is_named(committing: Committing) -> None:
    transactions = committing.open(queue_buffering_max_kbytes="4")
    refused = refusal(transactions, committing.transaction(3, b"a", os.urandom(4_500), b"b"))
    assert refused == {1: f"{committing.outputs}: too large for queue.buffering.max.kbytes of the client"}
    values = [os.urandom(1_500) for _ in range(10)]
    transactions.commit(committing.transaction(10, *values))
    assert (committing.written, committing.committed) == (values, 10)


def test_a_successor_with_the_same_id_ends_its_predecessor(committing: Committing) -> None:
    first = committing.open("place-0")
    first.commit(committing.transaction(1, b"a"))
    second = committing.open("place-0")
    second.open()
    with pytest.raises(Ended, match="fenced"):
        first.commit(committing.transaction(2, b"b"))
    second.commit(committing.transaction(2, b"c"))
    committing.check([b"a", b"c"], 2)


def test_a_record_that_waits_too_long_aborts_before_the_brokers_do(committing: Committing) -> None:
    config = committing.open(transaction_timeout_ms="5000")._configs[0]
    assert (config["transaction.timeout.ms"], config["delivery.timeout.ms"]) == ("5000", "4000")


def test_without_a_broker_the_start_fails_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    monkeypatch.setattr(module, "CALL_SECONDS", 0.5)
    settings = Settings(topics=("t",), group="g", bootstrap_servers="127.0.0.1:1")
    with pytest.raises(BrokerError, match=r"no broker responds at 127\.0\.0\.1:1"):
        OutputTransactions(settings, None, lambda event: None).open()


def test_a_client_call_that_does_not_return_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.01)
    settings = Settings(topics=("t",), group="g", bootstrap_servers="127.0.0.1:1")
    transactions = OutputTransactions(settings, None, lambda event: None)
    seen = []

    def call(seconds: float) -> None:
        seen.append(transactions.is_stuck)
        until(lambda: transactions.is_stuck, "the call takes too long")

    transactions._again_until(None, call)
    assert seen == [False]
    assert not transactions.is_stuck


def test_a_close_ends_the_wait_for_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.1)
    settings = Settings(topics=("t",), group="g", bootstrap_servers="127.0.0.1:1")
    transactions = OutputTransactions(settings, None, lambda event: None)
    transactions.close()
    with pytest.raises(Ended, match="stopped before"):
        transactions.open()


class FullClient:
    """A transactional producer with room for two records. Its broker refuses the record `large`."""

    def __init__(self, kind: object, config: dict[str, Any]) -> None:
        self._config = config
        self._queue: list[tuple[bytes, Any]] = []

    def init_transactions(self, seconds: float) -> None: ...

    def begin_transaction(self) -> None: ...

    def abort_transaction(self, seconds: float) -> None:
        self._queue.clear()

    def __len__(self) -> int:
        return len(self._queue)

    def produce(self, topic: str, value: bytes, key: bytes, headers: object = None, on_delivery: Any = None) -> None:
        if len(self._queue) == 2:
            raise BufferError
        self._queue.append((value, on_delivery or self._config["on_delivery"]))

    def poll(self, seconds: float) -> None:
        queued, self._queue = self._queue, []
        for value, report in queued:
            error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if value == b"large" else None
            report(error, MemoryRecord(Partition("r", 0), 0, b"k", value))


def test_outputs_that_wait_for_room_behind_a_refused_one_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_client", FullClient)
    transactions = OutputTransactions(Settings(topics=("t",), group="g"), None, lambda event: None)
    outputs = [OutputRecord("r", b"k", value, []) for value in (b"large", *(b"%d" % n for n in range(8)))]
    metadata: Any = b""
    with pytest.raises(Aborted) as aborted:
        transactions.commit(Transaction(outputs, [], metadata))
    assert set(aborted.value.refused) == {0}
