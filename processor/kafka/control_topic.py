"""The control topic: `ControlTopic` follows it without a group, and commands are read from it and written to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Final, NamedTuple, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclOperation

from processor.engine.cancels import Cancel, Cancels, CancelTarget
from processor.engine.pauses import Pause, Pauses, Target
from processor.errors import BrokerError, LoadError, ProcessorError
from processor.kafka.admin import (
    ANSWER_SECONDS,
    SLICE_SECONDS,
    TopicAdmin,
    check_topics,
    missing_topics,
)
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.config import admin_config, open_client, producer_config, reader_config
from processor.kafka.errors import error_of, reason_of
from processor.kafka.reading import records_of
from processor.options.connection import ConnectionOptions
from processor.runtime.commands import (
    AnyCommand,
    AnyTarget,
    WorkersOrder,
    WorkersTarget,
    key_of,
    read_command,
    value_of,
)
from processor.runtime.control import Apply
from processor.runtime.ports import Record
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.error_text import type_name
from processor.telemetry.events import ControlFailed, Emit

COMPACTED: Final = {"cleanup.policy": "compact"}

_AT_ONCE: Final = 1000
"""Records that are requested from the client at once."""

_POLL_SECONDS: Final = 0.2
"""How long one call of the client may delay the end of the thread."""


AGAIN_SECONDS: Final = 1.0
"""The pause after an error that the client raises."""

SETTLING_SECONDS: Final = 5.0
"""How long a topic that was just created may be unknown to some brokers."""


class ControlTopic:
    """The records of a control topic, from the first one on, read in a separate thread."""

    def __init__(self, connection: ConnectionOptions, topic: str, emit: Emit) -> None:
        """Opens the client, without a request.

        Raises:
            SettingsError: the client rejects a setting.
        """
        config = reader_config(connection.bootstrap_servers, connection.kafka_config)
        own = {"auto.offset.reset": "earliest", **client_hooks(emit)}
        self._client: Consumer = open_client(Consumer, {**config, **own})
        self._topic = topic
        self._emit = emit
        self._failures = Repeats(LOG_AGAIN_SECONDS)
        self._next: dict[int, int] = {}
        """For each partition, the offset after the last record that was read."""
        self._is_read = threading.Event()
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, apply: Apply) -> None:
        """See `processor.runtime.control.Feed`."""
        thread = threading.Thread(target=self._follow, args=(apply,), name="control-topic", daemon=True)
        thread.start()  # if it raises, `close` must not join a thread
        self._thread = thread

    def wait(self, seconds: float) -> bool:
        """See `processor.runtime.control.Feed`."""
        return self._is_read.wait(seconds)

    def close(self) -> None:
        """See `processor.runtime.control.Feed`. Does not wait for a call of the client that gets no answer."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join(2 * SLICE_SECONDS)

    def _follow(self, apply: Apply) -> None:
        """Continues after any error: if it ended the thread, no later command would be applied."""
        while not self._is_closed.is_set():
            try:
                self._read(apply)
            except Exception as error:  # noqa: BLE001 — whatever it is, the log has it
                self._log(f"{type_name(error)}: {error}")
                self._is_closed.wait(AGAIN_SECONDS)
        self._client.close()

    def _read(self, apply: Apply) -> None:
        """Reads from the next record of each partition on, until closed."""
        unread = self._assign()
        while not self._is_closed.is_set():
            for record in cast(list[Record], self._client.consume(_AT_ONCE, _POLL_SECONDS)):
                error = cast(KafkaError | None, record.error())
                if error is None:
                    self._apply(apply, record)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._failures.forget()
                    unread.discard(record.partition())
                else:
                    self._report(error)
            if not unread:
                self._is_read.set()

    def _apply(self, apply: Apply, record: Record) -> None:
        """Applies a command. Logs any exception: if it ended the thread, no later command would be applied."""
        self._next[record.partition()] = record.offset() + 1
        try:
            apply(record.key(), record.value())
        except Exception as error:  # noqa: BLE001 — whatever it is, the log has it
            self._log(f"{type_name(error)}: {error}")

    def _report(self, error: KafkaError) -> None:
        """Logs why the topic can no longer be read. The client tries again by itself."""
        self._log(reason_of(error))

    def _log(self, reason: str) -> None:
        if self._failures.is_due(reason, monotonic()):
            self._emit(ControlFailed(topic=self._topic, error=reason))

    def _assign(self) -> set[int]:
        """Begin with the next record of each partition, as soon as a broker lists the partitions. Return these.

        The next record is the one after the last that was applied: a call of the client that raises loses its records.
        """
        unknown_from = monotonic() + SETTLING_SECONDS
        while not self._is_closed.is_set():
            try:
                topic = self._client.list_topics(self._topic, timeout=SLICE_SECONDS).topics[self._topic]
            except KafkaException:  # the client's log has it
                self._is_closed.wait(_POLL_SECONDS)
                continue
            if topic.partitions and topic.error is None:
                numbers = set(topic.partitions)
                positions = {number: self._next.get(number, OFFSET_BEGINNING) for number in numbers}
                self._client.assign([TopicPartition(self._topic, *each) for each in positions.items()])
                return numbers
            if topic.error is not None and monotonic() > unknown_from:
                self._report(topic.error)
            self._is_closed.wait(_POLL_SECONDS)
        return set()


def ensure_control_topic(admin: TopicAdmin, topic: str, *, create: bool, is_written: bool) -> bool:
    """Creates a missing control topic, of one partition and compacted. Return whether it was missing.

    Args:
        admin: a client for the cluster.
        topic: its name.
        create: create it if it is missing.
        is_written: whether this client is to write to it, or only to read it.

    Raises:
        BrokerError: no broker responds, or this client lacks the right, or may not create it.
        LoadError: it is missing and not to be created, or cannot be created.
    """
    is_missing = topic not in admin.partitions([topic], ANSWER_SECONDS, tolerant=True)
    if is_missing and not create:
        raise LoadError(missing_topics([topic], admin.servers))
    if is_missing:
        reason = admin.create({topic: 1}, {}, ANSWER_SECONDS, COMPACTED).missing.get(topic)
        if reason is not None:
            raise LoadError(f"the control topic {topic} cannot be created: {reason}")
    admin.require(AclOperation.WRITE if is_written else AclOperation.READ, [topic])
    return is_missing


class InForce(NamedTuple):
    """The commands of one group that are in force."""

    pauses: Pauses
    workers: WorkersOrder | None
    cancels: Mapping[CancelTarget, Cancel]
    over: Sequence[CancelTarget]
    """Cancellations whose time is over, but whose records are still in the topic."""
    groups: Collection[str]
    """All groups of whose commands the topic still has records, ended commands included."""


def commands_of(connection: ConnectionOptions, topic: str, group: str) -> InForce:
    """Return the commands for a group that the control topic has.

    Raises:
        BrokerError: no broker responds in time, or the brokers deny access.
        LoadError: the topic does not exist.
        SettingsError: the client rejects a setting.
    """
    pauses, workers, cancels, groups = Pauses(), None, Cancels(), set[str]()
    servers, given = connection.bootstrap_servers, connection.kafka_config
    check_topics(TopicAdmin(admin_config(servers, given)), [topic])
    for record in records_of(servers, given, topic):
        try:
            command = read_command(record.key(), record.value())
        except ValueError:
            continue
        groups.add(command[0])
        match command:
            case (of, WorkersTarget(), order) if of == group:
                workers = order
            case (of, Target() as target, Pause() as pause) if of == group:
                pauses.begin(target, pause)
            case (of, Target() as target, None) if of == group:
                pauses.end(target)
            case (of, CancelTarget() as cancelled, Cancel() as cancel) if of == group:
                cancels.begin(cancelled, cancel)
            case (of, CancelTarget() as cancelled, None) if of == group:
                cancels.end(cancelled)
    over = cancels.ended(time.time())
    for ended in over:
        cancels.end(ended)
    return InForce(pauses, workers, cancels.in_force, over, groups)


def send_command(
    connection: ConnectionOptions,
    topic: str,
    group: str,
    target: AnyTarget,
    command: AnyCommand | None,
) -> None:
    """Sends a command for a group and waits for the brokers. With None as `command`, ends the one that is in force.

    Creates a missing topic, but not to end a command.

    Raises: see `send_commands`.
    """
    send_commands(connection, topic, group, {target: command})


def send_commands(
    connection: ConnectionOptions, topic: str, group: str, commands: Mapping[AnyTarget, AnyCommand | None]
) -> None:
    """Does the same with several commands.

    Raises:
        BrokerError: no broker responds in time, or the brokers deny access.
        LoadError: the topic does not exist, or cannot be created.
        ProcessorError: the brokers refuse the record.
        SettingsError: the client rejects a setting.
    """
    servers, given = connection.bootstrap_servers, connection.kafka_config
    admin = TopicAdmin(admin_config(servers, given))
    is_begun = any(command is not None for command in commands.values())
    ensure_control_topic(admin, topic, create=is_begun, is_written=True)
    errors: list[KafkaError | None] = []
    client: Producer = open_client(Producer, {**producer_config(servers, given), **client_hooks(discard)})
    for target, command in commands.items():
        value = value_of(command) if command is not None else None
        client.produce(topic, value, key_of(group, target), on_delivery=lambda error, _: errors.append(error))
    client.flush(ANSWER_SECONDS)
    refused = next((error for error in errors if error is not None), None)
    if refused is not None:
        raised: ProcessorError = error_of(refused, servers, about=f"topic {topic}")
        raise raised
    if len(errors) < len(commands):
        raise BrokerError(f"no broker at {servers} has acknowledged the command within {ANSWER_SECONDS:g} s")
