"""`TransactionalOffsets`: commits a member's offsets in Kafka transactions, over a separate connection.

While a coordinator waits for a member, it does not respond to the others' requests to join, and later requests on the
same connections, such as commits, wait behind them. The offsets of a transaction arrive on another connection. The
coordinator accepts them, because the member still belongs to the generation of the group, which it checks (KIP-447).
Once the next generation begins, or the member is evicted, it refuses them.
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
from processor.kafka.config import Config, open_client, producer_config
from processor.kafka.errors import ACCESS_DENIED, reason_of
from processor.settings import Settings
from processor.telemetry.events import Emit

TRANSACTION_MS: Final = 10_000
"""Time after which the brokers abort the transaction of a process that has died. The next owner of its partitions waits
as long for their offsets. A commit takes some 30 ms."""

CALL_SECONDS: Final = 5.0
"""Time limit for a request of a transaction. The first one of a cluster also creates its topic for transactions."""

OF_GENERATION: Final = frozenset(
    (
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    )
)
"""Refusals after which the rebalance is over, or the member is evicted."""

UNUSABLE: Final = ACCESS_DENIED | {KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE}
"""Refusals because this client or this cluster cannot use transactions."""


NO_GENERATION: Final = b"\xff\xff\xff\xff"
"""-1, where the client's encoding of a member has its generation: after a header of seven bytes."""


class Refused(ProcessorError):
    """The offsets were not committed; the message is the reason."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(reason_of(error))
        self.code = error.code()
        """The coordinator's error code, or the client's."""
        self.of_generation = self.code in OF_GENERATION
        """Whether the member's generation is over, so that its client can commit again."""
        self.unusable = self.code in UNUSABLE
        """Whether another try is useless."""


class TransactionalOffsets:
    """A transactional producer, opened by the first commit. It belongs to one thread, which it blocks."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self.transactional_id = f"{settings.group}-offsets-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        """Starts with the name of the group, so that a prefixed permission covers it."""
        self._config = _config(settings, self.transactional_id, emit)
        self._producer: Producer | None = None

    def commit(self, offsets: Sequence[TopicPartition], group_metadata: Any) -> None:
        """Commits the offsets, with their metadata, and waits.

        Args:
            offsets: of partitions that are assigned to the member.
            group_metadata: that of the member, from its client.

        Raises:
            Refused: the offsets were not committed.
            SettingsError, LoadError: the client rejects a setting.
        """
        try:
            producer = self._opened()
            producer.begin_transaction()
            producer.send_offsets_to_transaction(list(offsets), group_metadata, CALL_SECONDS)
            producer.commit_transaction(CALL_SECONDS)
            producer.poll(0)  # serves the callbacks with the client's log lines
        except KafkaException as caught:
            self._recover()
            raise Refused(caught.args[0]) from None

    def close(self) -> None:
        """Drop the producer. The brokers abort a transaction that is in progress."""
        self._producer = None

    def _opened(self) -> Producer:
        if self._producer is None:
            producer: Producer = open_client(Producer, self._config)
            producer.init_transactions(CALL_SECONDS)
            self._producer = producer
        return self._producer

    def _recover(self) -> None:
        """Prepare the producer for the next transaction, or drop it."""
        producer, self._producer = self._producer, None
        with suppress(KafkaException):
            if producer is not None:
                producer.abort_transaction(CALL_SECONDS)
                self._producer = producer


def is_member(group_metadata: bytes) -> bool:
    """Return whether the metadata names a member of a generation.

    After the group has evicted a member, its client returns metadata without a generation. A coordinator does not check
    a transaction that names no member: it would accept offsets of partitions that belong to another member by now.
    """
    return group_metadata[7:11] != NO_GENERATION


def _config(settings: Settings, transactional_id: str, emit: Emit) -> Config:
    config = producer_config(settings.bootstrap_servers, settings.kafka_config)
    config.pop("message.timeout.ms", None)  # the older name of the setting
    return {
        **config,
        **client_hooks(emit),
        "client.id": "processor-offsets",
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_MS,
        # The client rejects a delivery timeout that is longer than the transaction's. No record is sent.
        "delivery.timeout.ms": TRANSACTION_MS,
    }
