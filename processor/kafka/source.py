"""`KafkaSource`: a member of the consumer group, and the only owner of its Kafka client.

Only the poller's thread calls it. A call from a second thread would wait, without bound, for the thread that is inside
`poll` or `consume`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

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
from processor.kafka.elections import NO_COORDINATOR
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.joining import Joining
from processor.kafka.output_transactions import OutputTransactions
from processor.kafka.reader import KafkaReader
from processor.kafka.refusals import TEMPORARY, code_of, mistake_of
from processor.kafka.resets import Resets
from processor.kafka.stand_in import StandIn
from processor.kafka.survey import Surveyor
from processor.kafka.transaction_route import TransactionRoute
from processor.kafka.unassigned import UnassignedWatch
from processor.kafka.unserved import UnservedWatch
from processor.options.connection import OAUTH_CB
from processor.runtime.ports import Commit, End, Listener, OutputRecord, Partition, Record, Start
from processor.settings import Settings
from processor.telemetry.events import ConsumerReadingOnFailed, ConsumerRejoining, Emit, KafkaClientError

BROKERS_SESSION_SECONDS = 7.5
"""Assumed length of a session with KIP-848: the brokers set it (`group.consumer.session.timeout.ms`, 45 s by default),
and do not report it. It is shorter than any in use. The price is a commit every 2.5 s while there is nothing to commit.
"""

ASK_SECONDS = 5.0
"""Time limit for one request to the broker."""

LOGIN_REFUSED = frozenset((KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED))

AGAIN_SECONDS = 0.1
"""Time between two tries of a commit that is waited for."""

LEAVE_SECONDS = 5.0
"""Time limit for the client to release its partitions at the end."""

REOPEN_SECONDS = 1.0
"""Time between two tries to join after a temporary refusal has ended the client. Its own pause is as long."""

PASSING = NO_COORDINATOR | {KafkaError.REQUEST_TIMED_OUT}
"""Refusals of a commit while a coordinator moves or starts. The client marks them retriable for transactions only."""

RESTORE_SECONDS = 30.0
"""Time limit for an assignment to get the offsets that the group has committed."""


class KafkaSource:
    """A consumer group's member, as the `Source` port."""

    def __init__(
        self, settings: Settings, index: int, emit: Emit, fleet: str | None = None, *, replaces: bool = False
    ) -> None:
        """Open the client, which connects in the background.

        Args:
            settings: the fleet's settings.
            index: the consumer's number in the fleet, from 0.
            emit: receives log events.
            fleet: the unique name of the fleet; None outside of fleets.
            replaces: whether it takes the place of a consumer of the fleet that has exited.

        Raises:
            SettingsError: the client rejects a setting.
        """
        self._settings = settings
        self._emit = emit
        self._listener: Listener | None = None
        self._config = consumer_config(settings, index, fleet)
        hooks = client_hooks(emit)
        self._report_error = hooks["error_cb"]
        self._aside = Aside("group")
        inquiry = GroupInquiry(settings, emit)
        self._route = CommitRoute(settings, emit, self._on_answer, self._aside, inquiry)
        self._transactions = self._transaction_route() if settings.is_exactly_once else None
        self._watch: UnservedWatch | UnassignedWatch | None = None
        if settings.group_protocol == "consumer":
            self._watch = UnservedWatch(self._aside, inquiry)
        elif replaces and "group.instance.id" in self._config:
            self._watch = UnassignedWatch(self._aside, inquiry)
        self._own: set[Partition] = set()
        """The partitions that are assigned to this member."""
        self._is_rejoining = False
        """Whether it leaves the group, to join again once it has released its partitions."""
        self._config.update(hooks, error_cb=self._on_error, on_commit=self._route.on_commit)
        self._consumer: Consumer = open_client(Consumer, self._config)
        self._joining = Joining(emit)
        self._reopen_at: float | None = None
        """When the client is replaced by another one: it has ended before it was in the group."""
        self.session_seconds = _session_seconds(self._config)
        self.poll_seconds = float(self._config.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)) / 1000
        self._resets = Resets(settings.kafka_config, emit)
        self.begins_at_start = self._resets.begins_at_start
        self._surveyor = Surveyor(settings)
        self._final: KafkaError | None = None
        """The error of a commit that was refused for good. Other calls report it later, and with less detail."""
        self._given_up: set[Partition] = set()
        """Partitions that were revoked or lost since the current `take` received its first record."""
        self._begun_at: dict[Partition, int] = {}
        """Where the client began each partition, or sought last; perhaps a logical offset."""
        self._paused: set[Partition] = set()
        self._is_closing = False
        """Whether this member leaves the group for good."""
        self._leaving: list[TopicPartition] = []
        """The partitions that are revoked and not released yet. Until then the client fetches nothing, and a call of
        `incremental_unassign`, whatever for, would release them."""
        self._beside = Aside("stand-in")
        self._stand_in: StandIn | None = None
        """Reads the other partitions meanwhile."""
        self._refused: KafkaError | None = None
        """The error of a broker that denied access, if it was the last error of any broker."""
        self._is_shut_out = False
        self._has_lost = False
        """Whether the group has evicted this member and not admitted it again."""

    def _transaction_route(self) -> TransactionRoute:
        transactions = OutputTransactions(self._settings, self._config.get("group.instance.id"), self._emit)
        return TransactionRoute(transactions, self._on_answer)

    def open_transactions(self) -> None:
        """Opens the transactional producer if delivery is exactly-once. To be called before `open`.

        Raises:
            BrokerError: no broker responds, or this client may not use transactions.
            LoadError: the cluster has no transactions.
        """
        if self._transactions is not None:
            self._transactions.open()

    def open(self, listener: Listener) -> None:
        """Subscribes. Whether the topics exist was checked before."""
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
        """Return at most `limit` records: the first one as soon as it arrives, then those that the client has already.

        `consume` with a timeout would wait for `limit` records, and hold back a single one for all of that time.

        Raises:
            BrokerError: the brokers deny access.
            ProcessorError: the client cannot continue.
        """
        if self._final is not None:
            raise _end_of(self._final)
        if self._is_shut_out and self._refused is not None:
            self._is_shut_out = False  # raised once: the drain that follows keeps polling
            raise self._shut_out(self._refused, None)
        self._joining.remind()
        self._aside.deliver()
        if self._transactions is not None:
            self._transactions.deliver()
            if self._transactions.end is not None:
                raise self._transactions.end
        self._route.tick(self._consumer)
        if self._watch is not None and not self._leaving:
            self._rejoin_if_unserved(self._watch)
        if self._reopen_at is not None:
            self._reopen_when_due(self._reopen_at, seconds)
            return ()
        self._surveyor.tick()
        if self._resets and not self._leaving:
            for partition, offset in self._resets.found(self._consumer):
                self._begun_at[partition] = offset
                self._listening.on_reset(partition, offset)
        if self._stand_in is not None:
            return self._take_from_both(self._stand_in, limit, seconds)
        return self._take_own(limit, seconds)

    def _take_own(self, limit: int, seconds: float) -> Sequence[Record]:
        first = cast(Record | None, self._consumer.poll(seconds))
        if first is None:
            return ()
        if limit <= 1:
            return (first,)
        self._given_up.clear()
        rest = cast(list[Record], self._consumer.consume(limit - 1, 0))
        # Either call may serve a rebalance. If the second one does, the first record may belong to a partition that was
        # released meanwhile, and perhaps assigned again: then it is delivered again. If the first one does, the record
        # that it returns belongs to the new assignment, and is delivered once.
        if self._given_up and Partition(first.topic(), first.partition()) in self._given_up:
            return rest
        rest.insert(0, first)
        return rest

    def _take_from_both(self, stand_in: StandIn, limit: int, seconds: float) -> Sequence[Record]:
        """Return what the member's client has, and what the stand-in has: each record once, in order."""
        self._beside.deliver()
        records = stand_in.filter(self._take_own(limit, 0.0 if stand_in.is_open else seconds))
        if limit > len(records):
            records += stand_in.take(limit - len(records), 0.0 if records else seconds)
        if stand_in.is_over:
            stand_in.close()
            self._stand_in = None
        return records

    def interpret(self, record: Record) -> End | None:
        """Return the end of a partition; None for an error from which nothing follows.

        Raises:
            BrokerError: the brokers deny access.
            ProcessorError: the client cannot continue.
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
        """Raise for a permanent refusal; wait for the end of a temporary one."""
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
        """Join again with the client's default if ours is too short for these brokers. Return whether it is."""
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

    def _rejoin_if_unserved(self, watch: UnservedWatch | UnassignedWatch) -> None:
        """Leave the group and join it again if the coordinator has assigned partitions that never arrived here."""
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
        """Commits without waiting. `on_committed` receives the result."""
        if self._transactions is None:
            self._route.send(self._consumer, commits)
        else:
            self._transactions.send(self._consumer, commits, outputs)

    def await_commit(self, seconds: float) -> None:
        """Waits for the transaction that is under way."""
        assert self._transactions is not None, "only with exactly-once"
        self._transactions.wait(seconds)

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        """Commits and waits, at least until the client's own timeout. Return None, or the reason of a refusal."""
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
        self._paused.update(partitions)
        if self._stand_in is not None:
            self._stand_in.pause(partitions)
        self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetches these again."""
        self._paused.difference_update(partitions)
        if self._stand_in is not None:
            self._stand_in.resume(partitions)
        self._consumer.resume([TopicPartition(*partition) for partition in partitions])

    def ends(self) -> dict[Partition, int]:
        """Return the end offset of every partition of the topics that is not empty."""
        ends = {}
        for topic in self._settings.topics:
            for number in self._ask(self._consumer.list_topics, topic).topics[topic].partitions:
                low, high = self._ask(self._consumer.get_watermark_offsets, TopicPartition(topic, number))
                if high > low:
                    ends[Partition(topic, number)] = high
        return ends

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed; none while no broker responds."""
        try:
            found = self._consumer.committed([TopicPartition(*p) for p in partitions], timeout=ASK_SECONDS)
        except KafkaException as caught:
            self._emit(KafkaClientError(code=caught.args[0].name(), message=reason_of(caught.args[0])))
            return {}
        return {Partition(t.topic, t.partition): t.offset for t in found if t.error is None and t.offset >= 0}

    def survey(self, topics: Sequence[str]) -> None:
        """Survey the topics in another thread. A later `take` passes the result to the listener."""
        self._surveyor.ask(topics, self._listening.on_survey)

    def high_watermark(self, partition: Partition) -> int | None:
        """Return the last end offset that a fetch has reported."""
        try:
            high: int = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            if self._stand_in is not None:
                high = max(high, self._stand_in.high_watermark(partition))
        except KafkaException:
            return None
        return high if high >= 0 else None

    def open_reader(self) -> KafkaReader:
        """Return a reader with its own client. Any thread may call this.

        Raises:
            ProcessorError: the client cannot be opened.
        """
        return KafkaReader(self._settings, self._emit)

    def close(self, seconds: float = 0.0) -> None:
        """Leaves the group, unless the user has set a `group.instance.id`: such a member is expected to return.

        If a member leaves during a rebalance, the coordinator assigns partitions to it all the same, and they are not
        served until its session ends. So this waits for the end of the rebalance, for at most `seconds`.
        """
        with suppress(KafkaException):  # a failed client has nothing left to release
            self._release(self._leaving)
        if self._stand_in is not None:
            self._stand_in.close()
            self._stand_in = None
        self._beside.close(lambda: None)
        deadline = monotonic() + seconds
        while self._route.is_rerouted and monotonic() < deadline:
            self._consumer.poll(AGAIN_SECONDS)
        self._aside.close(self._route.close)
        if self._transactions is not None:
            self._transactions.close()
        self._surveyor.close()
        self._is_closing = True
        if "group.instance.id" in self._config and "group.instance.id" not in self._settings.kafka_config:
            self._unsubscribe()
        self._consumer.close()

    def _unsubscribe(self) -> None:
        """Leave the group as a static member. Closing the client alone would not."""
        deadline = monotonic() + LEAVE_SECONDS
        with suppress(KafkaException, RuntimeError):  # a failed client has left, and one may be closed
            self._consumer.unsubscribe()
            while self._consumer.assignment() and monotonic() < deadline:
                self._consumer.poll(AGAIN_SECONDS)

    # --- the client's callbacks, in the poller's thread ----------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._has_lost = False
        self._joining.end()
        self._on_rebalanced()
        if self._is_closing:  # the client answers no question any more, and takes back what it has just assigned
            consumer.incremental_assign(partitions)
            return
        starts, otherwise = self._starts(partitions)
        known = {start.partition: start.offset for start in starts}
        for partition in partitions:
            offset = known[Partition(partition.topic, partition.partition)]
            # The offset and the skip map that belongs to it must come from one response.
            partition.offset = offset if offset is not None else otherwise
        consumer.incremental_assign(partitions)
        self._own.update(known)
        self._begun_at.update({Partition(t.topic, t.partition): t.offset for t in partitions})
        self._listening.on_assign(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given_up = self._give_up(partitions)
        self._leaving = partitions
        self._listening.on_revoke(given_up, partial(self._release, partitions))
        if self._leaving:
            consumer.incremental_assign([])  # without any such call, the client releases them when this returns
            self._read_on()

    def _release(self, partitions: list[TopicPartition]) -> None:
        """Let other members have these. The client may fetch again."""
        if self._leaving and self._leaving is partitions:
            self._leaving = []
            if self._stand_in is not None:
                self._begun_at.update(self._stand_in.hand_back(self._consumer))
            self._consumer.incremental_unassign(partitions)

    def _read_on(self) -> None:
        """Have the partitions that stay read by another client, from the first offset that was not taken of each."""
        try:
            starts = self._next_offsets()
        except KafkaException as caught:
            self._emit(ConsumerReadingOnFailed(error=reason_of(caught.args[0])))
            return
        if self._stand_in is not None:
            self._stand_in.close()
            starts.update(self._stand_in.next)
        if starts:
            paused = self._paused & starts.keys()
            self._stand_in = StandIn(self._config, starts, paused, self._beside, self._emit)

    def _next_offsets(self) -> dict[Partition, int]:
        """Return the next offset of each partition that stays, or the logical one of its beginning, where known.

        A partition that begins at its end is left out until it has had a record: two clients may not mean the same end.
        """
        starts = {}
        for at in self._consumer.position([TopicPartition(*p) for p in self._own if p not in self._resets]):
            partition = Partition(at.topic, at.partition)
            offset = at.offset if at.offset >= 0 else self._begun_at.get(partition, OFFSET_INVALID)
            if offset >= 0 or offset == OFFSET_BEGINNING:
                starts[partition] = offset
        return starts

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
        for partition in given_up:
            self._begun_at.pop(partition, None)
        if self._stand_in is not None:
            self._stand_in.forget(given_up)
        return given_up

    def _on_error(self, error: KafkaError) -> None:
        """Note a denial of access. The client is shut out once no broker is left, or the group has evicted it.

        Its password may have changed. The client would retry with the old one without end; the consumer that replaces
        this one reads the files of the secrets again.
        """
        if self._is_denied(error.code()):
            self._refused = error
            self._is_shut_out = self._has_lost
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_shut_out = self._refused is not None
        else:
            self._refused = None  # one broker denies access, and others are down: those may admit it
        self._report_error(error)

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
        """Return where the group continues, and the client's logical offset for partitions without a commit.

        The request is repeated until there is a response, within a limit that keeps this member in the group.
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
                    if self._transactions is not None:  # tasks that the skip maps list would be done twice
                        raise _end_of(error) from None
                    # With OFFSET_INVALID the client requests the offsets itself. Only the skip maps are lost.
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
    """Return whether the client cannot continue after this error."""
    return bool(error.fatal()) or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID)


def _end_of(error: KafkaError) -> ProcessorError:
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        return ProcessorError("fenced: another consumer of this group has the same group.instance.id")
    return ProcessorError(f"the Kafka client cannot continue: {reason_of(error)}")


def _names(partitions: Sequence[TopicPartition]) -> list[Partition]:
    return [Partition(t.topic, t.partition) for t in partitions]


def _start(found: TopicPartition) -> Start:
    if found.error is not None:
        raise KafkaException(found.error)
    partition = Partition(found.topic, found.partition)
    return Start(partition, found.offset if found.offset >= 0 else None, found.metadata or "")
