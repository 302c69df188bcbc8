"""`TransactionalOffsets`: commits a member's offsets in Kafka transactions, over a connection of their own.

While a coordinator waits for a member, the others' requests to join are unanswered, and their connections' next
requests, commits among them, wait behind. A transaction's offsets come by another connection, and the coordinator takes
them: the generation of the group is still that of the member, and is checked (KIP-447). Once another one begins, or the
member has been given up, it refuses them.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from processor.errors import ProcessorError
from processor.kafka.client_log import client_hooks
from processor.kafka.config import ACCESS_DENIED, Config, open_client, producer_config, reason_of
from processor.settings import Settings
from processor.telemetry.events import Emit

TRANSACTION_MS: Final = 10_000
"""After how long the brokers abort a transaction of a process that died in it. As long its partitions' next owner
waits for their offsets; a commit takes some 30 ms."""

CALL_SECONDS: Final = 5.0
"""How long one request of a transaction may take; the first one also makes the cluster's topic for transactions."""

OF_GENERATION: Final = frozenset(
    (
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    )
)
"""Refusals that mean that the rebalance is over, or that the group has given the member up."""

UNUSABLE: Final = ACCESS_DENIED | {KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE}
"""Refusals that mean that this client or this cluster cannot have transactions."""


class Refused(ProcessorError):
    """The offsets were not committed; the message is the reason."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(reason_of(error))
        self.code = error.code()
        """The coordinator's error code, or the client's."""
        self.of_generation = self.code in OF_GENERATION
        """Whether the member's generation is over, so that its own client is the one to commit again."""
        self.unusable = self.code in UNUSABLE
        """Whether another try is of no use."""


class TransactionalOffsets:
    """One transactional producer, opened by the first commit. Belongs to one thread, which it blocks."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self.transactional_id = f"{settings.group}-offsets-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        """Begins with the group's name, so that a prefixed right covers it."""
        self._config = _config(settings, self.transactional_id, emit)
        self._producer: Producer | None = None

    def commit(self, offsets: Sequence[TopicPartition], group_metadata: Any) -> None:
        """Commits the offsets, with their metadata, and waits.

        Args:
            offsets: of partitions that are the member's.
            group_metadata: of the member, from its client.

        Raises:
            Refused: the offsets were not committed.
            SettingsError, LoadError: the client refuses a setting.
        """
        try:
            producer = self._opened()
            producer.begin_transaction()
            producer.send_offsets_to_transaction(list(offsets), group_metadata, CALL_SECONDS)
            producer.commit_transaction(CALL_SECONDS)
            producer.poll(0)  # hands over what the client has logged
        except KafkaException as caught:
            self._recover()
            raise Refused(caught.args[0]) from None

    def close(self) -> None:
        """Drops the producer. A transaction that is under way is aborted by the brokers."""
        self._producer = None

    def _opened(self) -> Producer:
        if self._producer is None:
            producer: Producer = open_client(Producer, self._config)
            producer.init_transactions(CALL_SECONDS)
            self._producer = producer
        return self._producer

    def _recover(self) -> None:
        """Makes the producer fit for the next transaction, or drops it."""
        producer, self._producer = self._producer, None
        with suppress(KafkaException):
            if producer is not None:
                producer.abort_transaction(CALL_SECONDS)
                self._producer = producer


def _config(settings: Settings, transactional_id: str, emit: Emit) -> Config:
    config = producer_config(settings.bootstrap_servers, settings.kafka_config)
    config.pop("message.timeout.ms", None)  # the older name of the setting
    return {
        **config,
        **client_hooks(emit),
        "client.id": "processor-offsets",
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_MS,
        # The client does not take one that is longer than the transaction. No record is sent.
        "delivery.timeout.ms": TRANSACTION_MS,
    }
