"""`TransactionRoute`: commits a member's offsets together with its consumer's outputs, in transactions.

It is to these what `CommitRoute` is to offsets alone. The poller's thread assembles a transaction, and another thread
executes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaError

from processor.errors import ProcessorError
from processor.kafka.aside import Aside
from processor.kafka.commit_route import OnAnswer, positions, too_large
from processor.kafka.output_transactions import Aborted, Ended, OutputTransactions, Transaction
from processor.kafka.transactional_offsets import is_member
from processor.runtime.ports import Commit, OutputRecord, OutputsRefused

NOT_A_MEMBER: Final = "the group has removed this member"


class TransactionRoute:
    """Belongs to the poller's thread. There is at most one transaction at a time."""

    def __init__(self, transactions: OutputTransactions, on_answer: OnAnswer) -> None:
        self._transactions = transactions
        self._on_answer = on_answer
        self._aside = Aside("transactions")
        self._is_under_way = False
        self.end: ProcessorError | None = None
        """Why there can be no more transactions."""

    def open(self) -> None:
        """Opens the producer; the errors are those of `OutputTransactions.open`."""
        self._transactions.open()

    def send(self, consumer: Consumer, commits: Sequence[Commit], outputs: Sequence[OutputRecord]) -> None:
        """Commits without waiting."""
        metadata = consumer.consumer_group_metadata()
        if not is_member(metadata):
            # A coordinator does not check the generation of offsets that name no member at all.
            self._on_answer(commits, NOT_A_MEMBER, None)
            return
        self._is_under_way = True
        transaction = Transaction(outputs, positions(commits), metadata)
        self._aside.run(lambda: self._committed(transaction), lambda error: self._conclude(commits, error))

    def deliver(self) -> None:
        """Report what has ended, and notice if the client does not return from a call."""
        self._aside.deliver()
        if self._is_under_way and self.end is None and self._transactions.is_stuck:
            self.end = Ended("the Kafka client has not returned from a transaction")

    def wait(self, seconds: float) -> None:
        """Waits at most `seconds` for the transaction in progress, and reports its result."""
        deadline = monotonic() + seconds
        while self._is_under_way and (left := deadline - monotonic()) > 0:
            self._aside.deliver(left)

    def close(self) -> None:
        """Makes a transaction in progress end soon."""
        self._transactions.close()
        self._aside.close(lambda: None)

    def _committed(self, transaction: Transaction) -> ProcessorError | None:
        try:
            self._transactions.commit(transaction)
        except ProcessorError as error:
            return error
        except Exception as error:  # noqa: BLE001 — the poller would wait forever for its answer
            return Ended(f"the transaction failed: {type(error).__name__}: {error}")
        return None

    def _conclude(self, commits: Sequence[Commit], error: ProcessorError | None) -> None:
        self._is_under_way = False
        if error is not None and not isinstance(error, Aborted):
            self.end = error
        self._on_answer(commits, _reason(error, commits), None)


def _reason(error: ProcessorError | None, commits: Sequence[Commit]) -> str | None:
    if error is None:
        return None
    if isinstance(error, Aborted):
        if error.refused:
            return OutputsRefused(error.refused)
        if error.code == KafkaError.OFFSET_METADATA_TOO_LARGE:
            return too_large(commits)
    return str(error)
