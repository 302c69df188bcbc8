"""`OutputTransactions`: writes a consumer's outputs and offsets in Kafka transactions, one after the other."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from processor.errors import LoadError, ProcessorError
from processor.kafka.client_log import client_hooks
from processor.kafka.config import Config, open_client, sink_configs
from processor.kafka.elections import NO_COORDINATOR
from processor.kafka.errors import ACCESS_DENIED, NO_RESPONSE, error_of, reason_of
from processor.kafka.polled_producer import PURGED, TOO_LARGE
from processor.kafka.transactional_offsets import CALL_SECONDS, TRANSACTION_MS, UNUSABLE
from processor.runtime.ports import OutputRecord
from processor.settings import Settings
from processor.telemetry.events import Emit, OutputTooLarge

START_SECONDS: Final = 30.0
"""How long the brokers may take to let the producer begin. For the first one of a cluster, they also create their topic
for transactions."""

STUCK_SECONDS: Final = 30.0
"""A call of the client with the time-out `CALL_SECONDS` that takes this long will not return."""

DEFAULTS: Final = {
    # The topics were checked at the start. A transaction is too short to wait for one that is missing now.
    "topic.metadata.propagation.max.ms": "3000",
    # How long a client waits for the answer to a request for a coordinator if the broker dies meanwhile.
    "socket.timeout.ms": "5000",
}

ROOM_SECONDS: Final = 0.05
"""How long to wait for room in the client's queue at a time."""

TOO_LARGE_FOR_QUEUE: Final = "too large for queue.buffering.max.kbytes of the client"

DENSE_SECONDS: Final = 60.0
"""How long all outputs are sent alone and compressed after a topic has rejected a batch."""

FENCED: Final = frozenset(
    (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FATAL)
)
"""Another producer has this one's transactional ID, or the brokers have aborted its transaction for its age."""


AWAY: Final = NO_RESPONSE | NO_COORDINATOR | {KafkaError._INCONSISTENT}
"""Errors of a transaction whose brokers were unavailable, or whose outputs they did not accept in time."""


class Ended(ProcessorError):
    """The producer has a fatal error, and it may be unknown whether its last transaction was committed."""


class Aborted(ProcessorError):
    """The transaction was aborted; the message is the reason."""

    def __init__(self, error: KafkaError | None, refused: Mapping[int, str]) -> None:
        super().__init__(reason_of(error) if error is not None else next(iter(refused.values())))
        self.code = error.code() if error is not None else None
        """The error code of the broker or of the client; None if topics refused outputs."""
        self.refused = refused
        """Why topics do not accept outputs, by the index of the output in the transaction."""


class Transaction(NamedTuple):
    """Outputs and offsets that are committed together."""

    outputs: Sequence[OutputRecord]
    offsets: Sequence[TopicPartition]
    group_metadata: Any
    """The member's metadata, taken with the offsets: the coordinator refuses those of another generation (KIP-447)."""


class OutputTransactions:
    """One transactional producer at a time. Belongs to one thread, which it blocks; only `close` and `is_stuck` may be
    used by another.

    If a topic does not accept a batch, the outputs are sent again, each alone and compressed, by a producer with the
    same transactional ID. `Aborted` names the outputs that are then refused, so that the others can be committed
    without them.
    """

    def __init__(self, settings: Settings, instance_id: str | None, emit: Emit) -> None:
        """`instance_id` is the member's `group.instance.id`: its successor ends a transaction that it left open."""
        self._settings = settings
        self.transactional_id = transactional_id(settings.group, instance_id)
        self._emit = emit
        self._configs = [
            _config(config, self.transactional_id, self._on_error, emit)
            for config in sink_configs(settings.bootstrap_servers, {**DEFAULTS, **settings.kafka_config})
        ]
        self._step = 0
        """The index of the configuration that is used."""
        self._dense_until = 0.0
        self._producer: Producer | None = None
        self._failed: KafkaError | None = None
        """Why the brokers did not accept an output of this transaction."""
        self._closing = threading.Event()
        self._called_at: float | None = None
        """When the present call of the client began; None while there is none."""
        self._too_small: set[str] = set()
        """Topics already logged for rejecting a record."""

    def open(self) -> None:
        """Opens the producer, and ends a transaction that an earlier process with the same ID left open.

        Raises:
            BrokerError: no broker responds, or this client may not use the transactional ID.
            LoadError: the cluster has no transactions.
            SettingsError: the client rejects a setting.
        """
        try:
            self._opened(START_SECONDS)
        except KafkaException as caught:
            raise self._refusal(caught.args[0]) from None

    def commit(self, transaction: Transaction) -> None:
        """Commits the whole transaction, and waits for as long as the outcome is unknown.

        Raises:
            Aborted: nothing of it was committed.
            Ended: the producer has a fatal error.
            SettingsError, LoadError, BrokerError: a client cannot be opened.
        """
        if self._step and monotonic() > self._dense_until:
            self._use(0)
        while True:
            try:
                self._try(transaction)
            except Aborted:
                if not self._may_get_through:
                    raise
                self._use(self._step + 1)
            else:
                return

    @property
    def is_stuck(self) -> bool:
        """Whether the client does not return from a call, as may happen if its brokers die. Any thread may read it."""
        called_at = self._called_at
        return called_at is not None and monotonic() - called_at > STUCK_SECONDS

    def close(self) -> None:
        """Makes a commit that is in progress end soon; its outcome is then unknown. Any thread may call it."""
        self._closing.set()

    # --- one transaction ----------------------------------------------------------------------------

    def _try(self, transaction: Transaction) -> None:
        self._failed = None
        refused: dict[int, str] = {}
        try:
            producer = self._opened(CALL_SECONDS)
            self.begin(producer)
        except KafkaException as caught:
            raise self._stopped(caught.args[0]) from None
        try:
            self.produce(producer, transaction.outputs, refused)
            if refused:
                raise KafkaException(KafkaError(KafkaError._PURGE_QUEUE))
            self.send_offsets(producer, transaction)
            self.commit_all(producer)
        except KafkaException as caught:
            raise self._abort(producer, caught.args[0], refused) from None

    def begin(self, producer: Producer) -> None:
        """Begins a transaction, which the brokers do not see yet."""
        producer.begin_transaction()

    def produce(self, producer: Producer, outputs: Sequence[OutputRecord], refused: dict[int, str]) -> None:
        """Queues the outputs. Enters those that are refused in `refused`, by their index, if each is sent alone."""
        produce, is_alone = producer.produce, self._step > 0
        for index, (topic, key, value, headers, partition) in enumerate(outputs):
            more: dict[str, Any] = {"headers": headers} if headers else {}
            if partition is not None:
                more["partition"] = partition
            if is_alone:
                more["on_delivery"] = partial(self._on_refusal, refused, index)
            try:
                try:
                    produce(topic, value, key, **more)
                except BufferError:
                    self._queue(producer, partial(produce, topic, value, key, **more))
            except KafkaException as caught:
                error = caught.args[0]
                if error is self._failed or error.code() not in TOO_LARGE:  # the failure of another output, or of all
                    raise
                self._failed = error
                refused[index] = f"{topic}: {reason_of(error)}"
            except (TypeError, ValueError) as caught:
                refused[index] = f"{topic}: {caught}"

    def _queue(self, producer: Producer, produce: Callable[[], None]) -> None:
        """Queue an output once there is room for it. An empty queue without room for it will never have any."""
        is_empty = False
        while not is_empty:
            self._make_room(producer)
            is_empty = not len(producer)
            with suppress(BufferError):
                produce()
                return
        raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, TOO_LARGE_FOR_QUEUE))

    def send_offsets(self, producer: Producer, transaction: Transaction) -> None:
        """Adds the offsets; the coordinator of the group checks the member's generation."""
        send = producer.send_offsets_to_transaction
        self._again_until(TRANSACTION_MS / 1000, send, list(transaction.offsets), transaction.group_metadata)

    def commit_all(self, producer: Producer) -> None:
        """Waits for the outputs, and commits. The call is repeated until the outcome is known."""
        self._again_until(None, producer.commit_transaction)

    def _make_room(self, producer: Producer) -> None:
        producer.poll(ROOM_SECONDS)
        if self._failed is not None:
            raise KafkaException(self._failed)
        self._check_open()

    def _again_until(self, seconds: float | None, call: Callable[..., Any], *arguments: Any) -> None:
        deadline = None if seconds is None else monotonic() + seconds
        while True:
            self._called_at = monotonic()
            try:
                call(*arguments, CALL_SECONDS)
            except KafkaException as caught:
                self._check_open()
                if not caught.args[0].retriable() or (deadline is not None and monotonic() >= deadline):
                    raise
            else:
                return
            finally:
                self._called_at = None

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise Ended("the consumer stopped before its transaction ended")

    # --- what went wrong ----------------------------------------------------------------------------

    def _on_error(self, error: KafkaError | None, _message: Message) -> None:
        """Takes the client's report of an output that was not accepted. The client does not report the others."""
        if error is not None and (self._failed is None or self._failed.code() in PURGED):
            self._failed = error

    def _on_refusal(self, refused: dict[int, str], index: int, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        self._on_error(error, message)
        if error.code() not in PURGED | NO_RESPONSE:
            refused[index] = f"{message.topic()}: {reason_of(error)}"
            if error.code() in TOO_LARGE:
                self._report_too_large(message)

    def _abort(self, producer: Producer, error: KafkaError, refused: dict[int, str]) -> ProcessorError:
        """End the transaction. Return the error to raise.

        After a refusal, the producer continues. If brokers were unavailable, another one with the same ID aborts what
        this one began: the client may wait forever in its next transaction (librdkafka 2.16).
        """
        if _is_final(error):
            return self._stopped(error)
        producer.poll(0)  # the reports say why outputs were not accepted
        self._producer = None
        if refused or self._cause(error).code() not in AWAY:
            with suppress(KafkaException):
                self._again_until(CALL_SECONDS, producer.abort_transaction)
                self._producer = producer
        return Aborted(None if refused else self._cause(error), refused)

    def _cause(self, error: KafkaError) -> KafkaError:
        """Return why outputs were not accepted, or the error itself if all were."""
        return error if self._failed is None or self._failed.code() in PURGED else self._failed

    def _stopped(self, error: KafkaError) -> ProcessorError:
        if not _is_final(error):
            return Aborted(error, {})
        self._producer = None
        what = "fenced: " if error.code() in FENCED - {KafkaError._FATAL} else ""
        return Ended(f"the transactional producer {self.transactional_id} cannot go on: {what}{reason_of(error)}")

    @property
    def _may_get_through(self) -> bool:
        """Return whether the brokers may accept the outputs with the next configuration, or at least name those that
        they refuse.
        """
        if self._step + 1 >= len(self._configs):
            return False
        if self._step == 0:
            return self._failed is not None and self._failed.code() not in PURGED | NO_RESPONSE
        return self._failed is not None and self._failed.code() in TOO_LARGE

    def _use(self, step: int) -> None:
        self._step = step
        self._dense_until = monotonic() + DENSE_SECONDS
        self._producer = None

    def _opened(self, seconds: float) -> Producer:
        if self._producer is None:
            producer: Producer = open_client(Producer, self._configs[self._step])
            self._again_until(seconds - CALL_SECONDS, producer.init_transactions)
            self._producer = producer
        return self._producer

    def _refusal(self, error: KafkaError) -> ProcessorError:
        code, id_ = error.code(), self.transactional_id
        if code not in ACCESS_DENIED and (code in UNUSABLE or code == KafkaError.INVALID_TRANSACTION_TIMEOUT):
            return LoadError(
                f"--delivery exactly-once needs transactions, which this cluster refuses: {reason_of(error)}"
            )
        return error_of(error, self._settings.bootstrap_servers, about=f"transactional.id {id_}")

    def _report_too_large(self, message: Message) -> None:
        topic = message.topic() or ""
        if self._step + 1 == len(self._configs) and topic not in self._too_small:
            self._too_small.add(topic)
            size = len(message.key() or b"") + len(message.value() or b"")
            error = "raise max.message.bytes of the topic, or message.max.bytes of its brokers"
            self._emit(OutputTooLarge(topic=topic, record_bytes=size, error=error))


def transactional_id(group: str, instance_id: str | None) -> str:
    """Return the ID; it begins with the group's name, so that a prefixed permission covers it.

    A static member's successor has the same ID, and so ends its transactions. Any other process has its own.
    """
    own = instance_id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return f"{group}-{own}"


def _is_final(error: KafkaError) -> bool:
    return bool(error.fatal()) or error.code() in FENCED


def _config(
    config: Config, transactional_id: str, on_error: Callable[[KafkaError | None, Message], None], emit: Emit
) -> Config:
    config = dict(config)
    config.pop("message.timeout.ms", None)  # the older name of the setting
    timeout = str(config.get("transaction.timeout.ms", TRANSACTION_MS))
    return {
        **config,
        **client_hooks(emit),
        "client.id": "processor-outputs",
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout,
        # An output that is not accepted must fail before the brokers abort the transaction and so end the producer.
        "delivery.timeout.ms": str(int(timeout) * 4 // 5) if timeout.isdigit() else timeout,
        "delivery.report.only.error": True,
        "on_delivery": on_error,
    }
