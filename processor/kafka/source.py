"""`KafkaSource`: a member of the consumer group, and the only owner of its Kafka client.

Only the poller's thread calls it. A call from a second thread would wait, without bound, for the thread that is inside
`poll` or `consume`. At the end, the poller waits while another thread leaves the group.

It takes records, and passes on the client's callbacks. Each of its parts handles one subject: `ClientErrors` and
`Access` errors, `CommitRoute` and `TransactionRoute` commits, `MemberOffsets` requests for offsets, `Handover`
partitions that leave, `Redelivery` records that come twice, and `Rejoining` partitions that never arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.access import Access
from processor.kafka.aside import Aside
from processor.kafka.client_errors import ClientErrors, end_of
from processor.kafka.client_log import client_hooks
from processor.kafka.commit_route import CommitRoute, commit_and_wait
from processor.kafka.config import MAX_POLL_INTERVAL_MS, Config, consumer_config, open_client
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.handover import Handover
from processor.kafka.joining import Joining
from processor.kafka.member_offsets import MemberOffsets, names_of
from processor.kafka.output_transactions import OutputTransactions
from processor.kafka.reader import KafkaReader
from processor.kafka.redelivery import Redelivery
from processor.kafka.rejoining import Rejoining, watch_for
from processor.kafka.resets import Resets
from processor.kafka.stand_in import StandIn
from processor.kafka.survey import Surveyor
from processor.kafka.transaction_route import TransactionRoute
from processor.runtime.ports import Commit, End, Listener, OutputRecord, Partition, Record
from processor.settings import Settings
from processor.telemetry.events import ConsumerLeaveUnanswered, Emit

BROKERS_SESSION_SECONDS: Final = 7.5
"""Assumed length of a session with KIP-848: the brokers set it (`group.consumer.session.timeout.ms`, 45 s by default),
and do not report it. It is shorter than any in use. The price is a commit every 2.5 s while there is nothing to commit.
"""

LEAVE_SECONDS: Final = 3.0
"""The shortest time limit for leaving the group. A fleet kills a consumer five seconds after it orders an immediate
stop."""

POLL_SECONDS: Final = 0.1
"""How long one poll lasts while the client leaves the group."""


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
        watch = watch_for(self._config, self._aside, inquiry, replaces=replaces)
        self._rejoining = Rejoining(watch, emit) if watch is not None else None
        self._joining = Joining(emit)
        self._access = Access(settings, self._config)
        self._errors = ClientErrors(settings, self._config, self._access, self._joining, emit)
        self._config.update(hooks, error_cb=self._on_error, on_commit=self._route.on_commit)
        self._consumer: Consumer = open_client(Consumer, self._config)
        self._resets = Resets(settings.kafka_config, emit)
        self._offsets = MemberOffsets(settings, self._access, self._resets, emit)
        self._surveyor = Surveyor(settings)
        self._handover = Handover(self._config, emit)
        self._redelivery = Redelivery()
        self._own: set[Partition] = set()
        """The partitions that are assigned to this member."""
        self._given_up: set[Partition] = set()
        """Partitions that were revoked or lost since the current `take` received its first record."""
        self._is_drained = False
        """Whether the last call of the client has returned all records, and served all callbacks, that it had."""
        self._is_closing = False
        """Whether this member leaves the group for good."""
        self.session_seconds = _session_seconds(self._config)
        self.poll_seconds = float(self._config.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)) / 1000
        self.begins_at_start = self._resets.begins_at_start

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

    # --- taking records ------------------------------------------------------------------------------

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records: the first one as soon as it arrives, then those that the client has already.

        `consume` with a timeout would wait for `limit` records, and hold back a single one for all of that time.

        Raises:
            BrokerError: the brokers deny access.
            ProcessorError: the client cannot continue.
        """
        if self._errors.final is not None:
            raise end_of(self._errors.final)
        if self._access.shut_out_by is not None:
            raise self._access.take_error()
        self._joining.remind()
        self._aside.deliver()
        if self._transactions is not None:
            self._transactions.deliver()
            if self._transactions.end is not None:
                raise self._transactions.end
        self._route.tick(self._consumer)
        handover = self._handover
        if self._rejoining is not None and not handover.leaving and self._rejoining.tick(self._consumer, self._own):
            self._subscribe()
        if self._errors.reopen_at is not None:
            self._reopen_when_due(self._errors.reopen_at, seconds)
            return ()
        self._surveyor.tick()
        if self._resets and not handover.leaving:
            self._resets.look_up(self._consumer)
        if handover.stand_in is not None:
            records = self._take_from_both(handover.stand_in, limit, seconds)
        else:
            records = self._take_own(limit, seconds)
        # librdkafka may have begun a revoke, also during the lookup, whose callback waits behind records. A reset would
        # release the revoked partitions then, before their tasks have ended.
        if self._resets and self._is_drained and not handover.leaving:
            self._continue_reset()
        return records

    def _reopen_when_due(self, due: float, seconds: float) -> None:
        left = due - monotonic()
        sleep(max(0.0, min(left, seconds)))
        if left <= seconds:
            self._errors.reopen_at = None
            self._consumer.close()
            self._consumer = open_client(Consumer, self._config)
            self._subscribe()

    def _continue_reset(self) -> None:
        for partition, offset in self._resets.found(self._consumer):
            self._handover.on_begin(partition, offset)
            self._redelivery.forget([partition])
            self._listening.on_reset(partition, offset)

    def _take_own(self, limit: int, seconds: float) -> Sequence[Record]:
        return self._redelivery.filter(self._consumer, self._delivered(limit, seconds))

    def _delivered(self, limit: int, seconds: float) -> Sequence[Record]:
        first = cast(Record | None, self._consumer.poll(seconds))
        self._is_drained = first is None
        if first is None:
            return ()
        if limit <= 1:
            return (first,)
        self._given_up.clear()
        rest = cast(list[Record], self._consumer.consume(limit - 1, 0))
        self._is_drained = len(rest) < limit - 1
        # Either call may serve a rebalance. If the second one does, the first record may belong to a partition that was
        # released meanwhile, and perhaps assigned again: then it is delivered again. If the first one does, the record
        # that it returns belongs to the new assignment, and is delivered once.
        if self._given_up and Partition(first.topic(), first.partition()) in self._given_up:
            return rest
        rest.insert(0, first)
        return rest

    def _take_from_both(self, stand_in: StandIn, limit: int, seconds: float) -> Sequence[Record]:
        self._handover.deliver()
        own = self._take_own(limit, 0.0 if stand_in.is_open else seconds)
        return self._handover.take(stand_in, own, limit, seconds)

    def interpret(self, record: Record) -> End | None:
        """Return the end of a partition; None for an error that is handled here.

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
        self._errors.follow(error, record.topic())
        return None

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stops fetching these."""
        self._handover.pause(partitions)
        self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Fetches these again."""
        self._handover.resume(partitions)
        self._consumer.resume([TopicPartition(*partition) for partition in partitions])

    # --- commits -------------------------------------------------------------------------------------

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        """Commits without waiting. `on_committed` receives the result."""
        if self._transactions is None:
            self._route.send(self._consumer, commits)
        else:
            self._transactions.send(self._consumer, commits, outputs)

    def await_commit(self, seconds: float) -> None:
        """Waits for the transaction in progress."""
        assert self._transactions is not None, "only with exactly-once"
        self._transactions.wait(seconds)

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:
        """Commits and waits, at least until the client's own timeout. Return None, or the reason of a refusal."""
        return commit_and_wait(self._consumer, commits, seconds)

    # --- requests to the brokers ---------------------------------------------------------------------

    def ends(self) -> dict[Partition, int]:
        """Return the end offset of every partition of the topics that is not empty."""
        return self._offsets.ends(self._consumer)

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed; none while no broker responds."""
        return self._offsets.committed(self._consumer, partitions)

    def survey(self, topics: Sequence[str]) -> None:
        """Survey the topics in another thread. A later `take` passes the result to the listener."""
        self._surveyor.ask(topics, self._listening.on_survey)

    def high_watermark(self, partition: Partition) -> int | None:
        """Return the last end offset that a fetch has reported."""
        try:
            high: int = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            if self._handover.stand_in is not None:
                high = max(high, self._handover.stand_in.high_watermark(partition))
        except KafkaException:
            return None
        return high if high >= 0 else None

    def open_reader(self) -> KafkaReader:
        """Return a reader with its own client. Any thread may call this.

        Raises:
            ProcessorError: the client cannot be opened.
        """
        return KafkaReader(self._settings, self._emit)

    # --- the end -------------------------------------------------------------------------------------

    def close(self, seconds: float = 0.0, *, for_good: bool = False) -> None:
        """Leaves the group. A member whose `group.instance.id` the user has set is expected to return, and leaves only
        `for_good`. With KIP-848, such a member stays even then, until its session ends.

        If a member leaves during a rebalance, the coordinator still assigns partitions to it, and no member serves them
        until its session ends. So this waits for the end of the rebalance, for at most `seconds`. The rest of
        that time, or `LEAVE_SECONDS` if that is longer, is the limit for leaving the group.
        """
        with suppress(KafkaException):  # a failed client has nothing left to release
            self._release(self._handover.leaving)
        self._handover.close()
        deadline = monotonic() + seconds
        while self._route.is_rerouted and monotonic() < deadline:
            self._consumer.poll(POLL_SECONDS)
        self._aside.close(self._route.close)
        if self._transactions is not None:
            self._transactions.close()
        self._surveyor.close()
        self._is_closing = True
        as_static_member = self._leaves_as_static_member(for_good=for_good)
        self._leave_group(max(LEAVE_SECONDS, deadline - monotonic()), as_static_member=as_static_member)

    def _leave_group(self, seconds: float, *, as_static_member: bool) -> None:
        """Leave the group and close the client in another thread. Return once that is done, or after `seconds`.

        The coordinator answers the requests of a connection one at a time. While the group waits for a member that is
        gone, a request to leave waits behind the request to join, for up to a session. What is settled is committed by
        then, and nothing would be gained by waiting longer: a parent kills a consumer that takes too long to stop.
        """

        def leave() -> None:
            if as_static_member:
                self._unsubscribe()
            self._consumer.close()

        leaving, left = Aside("group-leave"), list[None]()
        leaving.run(leave, left.append)
        leaving.deliver(seconds)
        if left:
            leaving.close(lambda: None)
        else:
            self._emit(ConsumerLeaveUnanswered(waited_seconds=round(seconds, 3)))

    def _leaves_as_static_member(self, *, for_good: bool) -> bool:
        """Return whether the member leaves, although its client regards it as one that returns.

        With KIP-848, the client reports every static member that leaves as one that will return (epoch -2).
        """
        if self._settings.group_protocol != "classic" or "group.instance.id" not in self._config:
            return False
        return for_good or "group.instance.id" not in self._settings.kafka_config

    def _unsubscribe(self) -> None:
        """Leave the group as a static member. Closing the client alone would not."""
        deadline = monotonic() + LEAVE_SECONDS
        with suppress(KafkaException, RuntimeError):  # a failed client has left, and one may be closed
            self._consumer.unsubscribe()
            while self._consumer.assignment() and monotonic() < deadline:
                self._consumer.poll(POLL_SECONDS)

    # --- the client's callbacks, in the poller's thread ----------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._access.on_assign()
        self._joining.end()
        self._route.on_assign()
        self._on_rebalanced()
        if self._is_closing:  # the client no longer answers requests, and revokes what it has just assigned
            consumer.incremental_assign(partitions)
            return
        self._redelivery.forget(names_of(partitions))
        starts = self._offsets.restore(consumer, partitions)
        consumer.incremental_assign(partitions)
        for assigned in partitions:
            partition = Partition(assigned.topic, assigned.partition)
            self._own.add(partition)
            self._handover.on_begin(partition, assigned.offset)
        self._listening.on_assign(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given_up = self._give_up(partitions)
        self._handover.leaving = partitions
        self._listening.on_revoke(given_up, partial(self._release, partitions))
        if self._handover.leaving:
            consumer.incremental_assign([])  # without any such call, the client releases them when this returns
            self._handover.read_on(consumer, [p for p in self._own if p not in self._resets])

    def _release(self, partitions: list[TopicPartition]) -> None:
        if self._handover.release(self._consumer, partitions):
            self._route.on_release()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._access.on_lose()
        self._joining.begin()
        given_up = self._give_up(partitions)
        self._handover.leaving = []  # a drain that was under way releases nothing any more
        self._listening.on_lose(given_up)
        consumer.incremental_unassign(partitions)

    def _on_rebalanced(self) -> None:
        self._redelivery.on_rebalance(self._own)
        if self._rejoining is not None:
            self._rejoining.on_rebalanced()

    def _give_up(self, partitions: list[TopicPartition]) -> list[Partition]:
        given_up = names_of(partitions)
        self._route.on_give_up(given_up)
        self._on_rebalanced()
        self._own.difference_update(given_up)
        self._given_up.update(given_up)
        self._resets.forget(given_up)
        self._handover.forget(given_up)
        self._redelivery.forget(given_up)
        return given_up

    def _on_error(self, error: KafkaError) -> None:
        self._access.on_error(error)
        self._report_error(error)

    def _on_answer(self, commits: Sequence[Commit], reason: str | None, error: KafkaError | None) -> None:
        self._errors.on_answer(error)
        if self._listener is not None:
            self._listener.on_committed(commits, reason)

    @property
    def _listening(self) -> Listener:
        assert self._listener is not None
        return self._listener


def _session_seconds(config: Config) -> float:
    if config["group.protocol"] == "consumer":
        return BROKERS_SESSION_SECONDS
    return float(config["session.timeout.ms"]) / 1000
