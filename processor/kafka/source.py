"""The consumer group's side of Kafka: the one owner of the client, called by the poller's thread only.

Any consumer call from a second thread would wait for the thread inside `poll` or `consume`, without bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, cast

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from processor.errors import ProcessorError
from processor.kafka.admin import broker_settings
from processor.kafka.aside import Aside
from processor.kafka.client_log import client_hooks
from processor.kafka.commit_route import CommitRoute, positions, refusal
from processor.kafka.config import (
    ACCESS_DENIED,
    CLIENT_SESSION_MS,
    MAX_POLL_INTERVAL_MS,
    SESSION_MS,
    Config,
    admin_config,
    consumer_config,
    error_of,
    open_client,
    reason_of,
)
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.joining import Joining
from processor.kafka.output_transactions import OutputTransactions
from processor.kafka.refusals import TEMPORARY, code_of, mistake_of
from processor.kafka.resets import Resets
from processor.kafka.survey import Surveyor
from processor.kafka.transaction_route import TransactionRoute
from processor.kafka.unserved import UnservedWatch
from processor.options.connection import OAUTH_CB
from processor.runtime.ports import Commit, End, Listener, OutputRecord, Partition, Record, Start
from processor.settings import Settings
from processor.telemetry.events import ConsumerRejoining, Emit, KafkaClientError

BROKERS_SESSION_SECONDS = 7.5
"""With KIP-848 the brokers know how long a session is (`group.consumer.session.timeout.ms`, 45 s by default) and do not
tell. Less than any that is in use; the price is a commit every 2.5 s while there is nothing to commit."""

ASK_SECONDS = 5.0
"""How long one question to the broker may take."""

LOGIN_REFUSED = frozenset((KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED))

AGAIN_SECONDS = 0.1
"""Between two tries of a commit that is waited for."""

LEAVE_SECONDS = 5.0
"""How long the client may take to give its partitions up at the end."""

REOPEN_SECONDS = 1.0
"""Between two tries to join, where a temporary refusal has ended the client; the client's own pause is a second."""

PASSING = frozenset(
    (
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
    )
)
"""Refusals of a commit that pass while a coordinator moves or wakes; the client calls only transactions retriable."""

RESTORE_SECONDS = 30.0
"""How long an assignment may wait for the offsets that the group has committed."""


class KafkaSource:
    """A consumer group's member, as the `Source` port."""

    def __init__(self, settings: Settings, index: int, emit: Emit, fleet: str | None = None) -> None:
        """`fleet` is the unique name of the fleet whose consumer `index` this is; None outside of fleets."""
        self._settings = settings
        self._emit = emit
        self._listener: Listener | None = None
        self._config = consumer_config(settings, index, fleet)
        hooks = client_hooks(emit)
        self._tell_error = hooks["error_cb"]
        self._aside = Aside("group")
        inquiry = GroupInquiry(settings, emit)
        self._route = CommitRoute(settings, emit, self._on_answer, self._aside, inquiry)
        self._transactions = self._transaction_route() if settings.is_exactly_once else None
        self._watch = UnservedWatch(self._aside, inquiry) if settings.group_protocol == "consumer" else None
        self._own: set[Partition] = set()
        """What this member has been assigned."""
        self._is_rejoining = False
        """It leaves the group, and joins again once it has given its partitions up."""
        self._config.update(hooks, error_cb=self._on_error, on_commit=self._route.on_commit)
        self._consumer: Consumer = open_client(Consumer, self._config)
        self._joining = Joining(emit)
        self._reopen_at: float | None = None
        """When this client, which cannot go on, is replaced by another; it never was in the group."""
        self.session_seconds = _session_seconds(self._config)
        self.poll_seconds = float(self._config.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)) / 1000
        self._resets = Resets(settings.kafka_config)
        self.begins_at_start = self._resets.begins_at_start
        self._surveyor = Surveyor(settings)
        self._final: KafkaError | None = None
        """A commit was refused for good; other calls report less of it, and later."""
        self._given_up: set[Partition] = set()
        """Partitions that were revoked or lost since the first record of the present `take` came."""
        self._refused: KafkaError | None = None
        """What a broker said that did not let this client in, where it was the last that one said."""
        self._is_shut_out = False
        self._has_lost = False
        """The group gave this member up, and it has not been let in again."""

    def _transaction_route(self) -> TransactionRoute:
        transactions = OutputTransactions(self._settings, self._config.get("group.instance.id"), self._emit)
        return TransactionRoute(transactions, self._on_answer)

    def open_transactions(self) -> None:
        """Begins with exactly-once, where that is asked for. To be called before `open`.

        Raises:
            BrokerError: no broker responds, or this client may not use transactions.
            LoadError: the cluster has no transactions.
        """
        if self._transactions is not None:
            self._transactions.open()

    def open(self, listener: Listener) -> None:
        """Subscribes; that the topics exist was asked before."""
        self._listener = listener
        self._subscribe()

    def _subscribe(self) -> None:
        self._joining.begin()
        self._consumer.subscribe(
            list(self._settings.topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """At most `limit` records: the first as soon as it comes, then what is here already.

        `consume` with a time-out would wait for `limit` records: a lone one would be held for all of it.

        Raises:
            BrokerError: this client is not let in any more.
            ProcessorError: the client cannot go on.
        """
        if self._final is not None:
            raise _end_of(self._final)
        if self._is_shut_out and self._refused is not None:
            self._is_shut_out = False  # said once: the drain that follows polls on
            raise self._shut_out(self._refused, None)
        self._joining.remind()
        self._aside.deliver()
        if self._transactions is not None:
            self._transactions.deliver()
            if self._transactions.end is not None:
                raise self._transactions.end
        self._route.tick(self._consumer)
        if self._watch is not None:
            self._rejoin_if_unserved(self._watch)
        if self._reopen_at is not None:
            self._reopen_when_due(self._reopen_at, seconds)
            return ()
        self._surveyor.tick()
        if self._resets:
            for partition, offset in self._resets.found(self._consumer):
                self._listening.on_reset(partition, offset)
        first = cast(Record | None, self._consumer.poll(seconds))
        if first is None:
            return ()
        if limit <= 1:
            return (first,)
        self._given_up.clear()
        rest = cast(list[Record], self._consumer.consume(limit - 1, 0))
        # A rebalance is served inside either call. If it is served in the second, the first record may be of a
        # partition that was given up meanwhile and perhaps got again: then it will be delivered again. If it was
        # served in the first, what that returned after it is of the new assignment, and comes only once.
        if self._given_up and Partition(first.topic(), first.partition()) in self._given_up:
            return rest
        rest.insert(0, first)
        return rest

    def interpret(self, record: Record) -> End | None:
        """A partition's end, or nothing that matters.

        Raises:
            BrokerError: this client is not let in any more.
            ProcessorError: the client cannot go on.
        """
        error = record.error()
        assert isinstance(error, KafkaError)
        if error.code() == KafkaError._PARTITION_EOF:
            return End(Partition(record.topic(), record.partition()), record.offset())
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._resets.lose(Partition(record.topic(), record.partition()))
            return None
        self._obey_refusal(error, record.topic())
        return None

    def _obey_refusal(self, error: KafkaError, topic: str | None) -> None:
        """Raises for a lasting refusal; waits for the end of a temporary one."""
        code = code_of(error, tuple(ACCESS_DENIED))
        if self._is_denied(code):
            raise self._shut_out(KafkaError(code, error.str()), topic)
        if code == KafkaError.INVALID_SESSION_TIMEOUT and self._lengthen_session():
            return
        if code in TEMPORARY and not self._joining.has_ended:
            self._joining.refuse(TEMPORARY[code])
            if is_final(error):
                self._reopen_at = monotonic() + REOPEN_SECONDS
            return
        if not (code == KafkaError.GROUP_ID_NOT_FOUND and self._joining.has_ended):
            mistake = mistake_of(code, self._settings, self._config, self._broker_settings)
            if mistake is not None:
                raise mistake
        if is_final(error):
            raise _end_of(self._final or error)
        self._emit(KafkaClientError(code=error.name(), message=reason_of(error)))

    def _lengthen_session(self) -> bool:
        """Joins with the client's own default, where ours is too short for these brokers. Return whether it does."""
        is_ours = "session.timeout.ms" not in self._settings.kafka_config
        if not is_ours or self._config["session.timeout.ms"] == str(CLIENT_SESSION_MS):
            return False
        self._joining.refuse(f"the brokers do not allow a session of {SESSION_MS} ms: trying {CLIENT_SESSION_MS} ms")
        self._config["session.timeout.ms"] = str(CLIENT_SESSION_MS)
        self._reopen_at = monotonic()
        return True

    def _broker_settings(self, names: Sequence[str]) -> Mapping[str, str]:
        return broker_settings(admin_config(self._settings.bootstrap_servers, self._settings.kafka_config), names)

    def _reopen_when_due(self, due: float, seconds: float) -> None:
        left = due - monotonic()
        sleep(max(0.0, min(left, seconds)))
        if left <= seconds:
            self._reopen_at = None
            self._consumer.close()
            self._consumer = open_client(Consumer, self._config)
            self._subscribe()

    def _rejoin_if_unserved(self, watch: UnservedWatch) -> None:
        """Leaves the group and joins it again where the coordinator counts on partitions that never came."""
        if self._is_rejoining:
            if not self._own:
                self._is_rejoining = False
                self._subscribe()
        elif watch.is_due():
            watch.check(self._consumer.memberid() or "", self._own)
        elif unserved := watch.unserved():
            self._emit(ConsumerRejoining(partitions=sorted(map(str, unserved))))
            self._is_rejoining = True
            self._consumer.unsubscribe()

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        """Commits without waiting; `on_committed` receives how it ended."""
        if self._transactions is None:
            self._route.send(self._consumer, commits)
        else:
            self._transactions.send(self._consumer, commits, outputs)

    def await_commit(self, seconds: float) -> None:
        """Waits for the transaction that is under way."""
        assert self._transactions is not None, "only with exactly-once"
        self._transactions.wait(seconds)

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        """Commits and waits, as long as the client's own time-out lets it; None when done, else why not."""
        deadline = monotonic() + seconds
        while True:
            error, refused = self._try_commit(commits)
            if error is None:
                return None
            if not (error.retriable() or error.code() in PASSING) or monotonic() >= deadline:
                return refusal(error, refused)
            sleep(AGAIN_SECONDS)  # a coordinator that refuses does so at once

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stops fetching these."""
        self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetches these again."""
        self._consumer.resume([TopicPartition(*partition) for partition in partitions])

    def ends(self) -> dict[Partition, int]:
        """The end offset of every partition of the topics, where there is anything below it."""
        ends = {}
        for topic in self._settings.topics:
            for number in self._ask(self._consumer.list_topics, topic).topics[topic].partitions:
                low, high = self._ask(self._consumer.get_watermark_offsets, TopicPartition(topic, number))
                if high > low:
                    ends[Partition(topic, number)] = high
        return ends

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return what the group has committed; nothing while no broker answers."""
        try:
            found = self._consumer.committed([TopicPartition(*p) for p in partitions], timeout=ASK_SECONDS)
        except KafkaException as caught:
            self._emit(KafkaClientError(code=caught.args[0].name(), message=reason_of(caught.args[0])))
            return {}
        return {Partition(t.topic, t.partition): t.offset for t in found if t.error is None and t.offset >= 0}

    def survey(self, topics: Sequence[str]) -> None:
        """Asks, in another thread; a `take` gives the answer to the listener."""
        self._surveyor.ask(topics, self._listening.on_survey)

    def high_watermark(self, partition: Partition) -> int | None:
        """Return the last end offset that a fetch has reported."""
        try:
            high: int = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
        except KafkaException:
            return None
        return high if high >= 0 else None

    def close(self, seconds: float = 0.0) -> None:
        """Leaves the group, unless the user gave it a `group.instance.id`: such a member is expected back.

        A member that leaves in the middle of a rebalance is taken for one that has joined: its partitions are not
        served until its session ends. So the end of the rebalance is waited for, at most so many seconds.
        """
        deadline = monotonic() + seconds
        while self._route.is_rerouted and monotonic() < deadline:
            self._consumer.poll(AGAIN_SECONDS)
        self._aside.close(self._route.close)
        if self._transactions is not None:
            self._transactions.close()
        self._surveyor.close()
        if "group.instance.id" in self._config and "group.instance.id" not in self._settings.kafka_config:
            self._unsubscribe()
        self._consumer.close()

    def _unsubscribe(self) -> None:
        """Makes a static member leave, which closing the client does not."""
        deadline = monotonic() + LEAVE_SECONDS
        with suppress(KafkaException, RuntimeError):  # a client that cannot go on has left, and one may be closed
            self._consumer.unsubscribe()
            while self._consumer.assignment() and monotonic() < deadline:
                self._consumer.poll(AGAIN_SECONDS)

    # --- the client's callbacks, in the poller's thread ----------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._has_lost = False
        self._joining.end()
        self._on_rebalanced()
        starts, otherwise = self._starts(partitions)
        known = {start.partition: start.offset for start in starts}
        for partition in partitions:
            offset = known[Partition(partition.topic, partition.partition)]
            # What the group goes on at and the skip map that belongs to it must come from one answer.
            partition.offset = offset if offset is not None else otherwise
        consumer.incremental_assign(partitions)
        self._own.update(known)
        self._listening.on_assign(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given_up = self._give_up(partitions)
        self._listening.on_revoke(given_up)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._has_lost = True
        self._joining.begin()
        given_up = self._give_up(partitions)
        self._listening.on_lose(given_up)
        consumer.incremental_unassign(partitions)

    def _on_rebalanced(self) -> None:
        self._route.on_rebalanced()
        if self._watch is not None:
            self._watch.on_rebalanced()

    def _give_up(self, partitions: list[TopicPartition]) -> list[Partition]:
        self._on_rebalanced()
        given_up = _names(partitions)
        self._own.difference_update(given_up)
        self._given_up.update(given_up)
        self._resets.forget(given_up)
        return given_up

    def _on_error(self, error: KafkaError) -> None:
        """No broker is left, or no place in the group, and this client was refused: its password may be another now.

        The client would knock with the old one for ever; the consumer that follows reads its secrets' files anew.
        """
        if self._is_denied(error.code()):
            self._refused = error
            self._is_shut_out = self._has_lost
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_shut_out = self._refused is not None
        else:
            self._refused = None  # refused by one, away another: those that are away may let it in
        self._tell_error(error)

    def _on_answer(self, commits: Sequence[Commit], reason: str | None, error: KafkaError | None) -> None:
        if error is not None and is_final(error):
            self._final = error
        if self._listener is not None:
            self._listener.on_committed(commits, reason)

    # -----------------------------------------------------------------------------------------------

    @property
    def _listening(self) -> Listener:
        assert self._listener is not None
        return self._listener

    def _starts(self, partitions: list[TopicPartition]) -> tuple[list[Start], int]:
        """Where the group goes on, and the client's logical offset where it has none.

        Asked until it is answered, within a bound that keeps this member in the group.
        """
        if not partitions:
            return [], OFFSET_INVALID
        deadline = monotonic() + RESTORE_SECONDS
        while True:
            try:
                found = self._consumer.committed(
                    [TopicPartition(t.topic, t.partition) for t in partitions], timeout=ASK_SECONDS
                )
                starts = [_start(t) for t in found]
                return starts, OFFSET_INVALID if all(s.offset is not None for s in starts) else self._resets.first
            except KafkaException as caught:
                error: KafkaError = caught.args[0]
                if self._is_denied(error.code()):
                    raise self._shut_out(error, None) from None
                if monotonic() >= deadline:
                    if self._transactions is not None:  # what the skip maps say is settled would be done twice
                        raise _end_of(error) from None
                    # OFFSET_INVALID makes the client ask again by itself; only the skip maps are lost to us.
                    message = f"the group's offsets cannot be read: {reason_of(error)}"
                    self._emit(KafkaClientError(code=error.name(), message=message))
                    return [Start(p, None, "") for p in _names(partitions)], OFFSET_INVALID

    def _is_denied(self, code: int) -> bool:
        """Return whether a broker denies access until the consumer is replaced. A client gets a new token by itself."""
        return code in ACCESS_DENIED and not (code in LOGIN_REFUSED and OAUTH_CB in self._config)

    def _shut_out(self, error: KafkaError, topic: str | None) -> ProcessorError:
        of_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        about = f"group {self._settings.group}" if of_group else f"topic {topic}" if topic else ""
        return error_of(error, self._settings.bootstrap_servers, about=about)

    def _try_commit(self, commits: Sequence[Commit]) -> tuple[KafkaError | None, list[TopicPartition]]:
        """Return the first error, and the partitions that were refused."""
        asked = positions(commits)
        try:
            committed = self._consumer.commit(offsets=asked, asynchronous=False)
        except KafkaException as caught:
            return caught.args[0], asked
        refused = [t for t in committed or () if t.error is not None]
        return (refused[0].error, refused) if refused else (None, [])

    def _ask(self, question: Any, *about: Any) -> Any:
        try:
            return question(*about, timeout=ASK_SECONDS)
        except KafkaException as caught:
            raise error_of(caught.args[0], self._settings.bootstrap_servers) from None


def _session_seconds(config: Config) -> float:
    if config["group.protocol"] == "consumer":
        return BROKERS_SESSION_SECONDS
    return float(config["session.timeout.ms"]) / 1000


def is_final(error: KafkaError) -> bool:
    """Whether the client cannot go on after it."""
    return bool(error.fatal()) or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID)


def _end_of(error: KafkaError) -> ProcessorError:
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        return ProcessorError("fenced: another consumer of this group has the same group.instance.id")
    return ProcessorError(f"the Kafka client cannot go on: {reason_of(error)}")


def _names(partitions: Sequence[TopicPartition]) -> list[Partition]:
    return [Partition(t.topic, t.partition) for t in partitions]


def _start(found: TopicPartition) -> Start:
    if found.error is not None:
        raise KafkaException(found.error)
    partition = Partition(found.topic, found.partition)
    return Start(partition, found.offset if found.offset >= 0 else None, found.metadata or "")
