"""`PolledProducer`: an idempotent producer that replaces a failed client, and the thread that runs its callbacks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.engine.retry import backoff
from processor.errors import DeliveryError, ProcessorError, RecordTooLarge
from processor.kafka.after_fork import never_destroy
from processor.kafka.client_log import client_hooks
from processor.kafka.config import Config, open_client
from processor.kafka.errors import error_of, reason_of
from processor.telemetry.events import Emit, Event, KafkaClientError, KafkaProducerFailed

OnDelivery = Callable[[KafkaError | None, Message], None]
RecordHeaders = list[tuple[str, str | bytes | None]]

POLL_SECONDS = 0.1
"""How long the thread waits in the client for callbacks, and thus how long `close` may wait for the thread."""

FLUSH_SECONDS = 0.01
"""How long a flush waits in the client. Another thread may run the last callback meanwhile."""

LAST_REPORTS_SECONDS = 5.0
"""How long to wait for the reports of a failed client's in-flight records before they are purged."""

PURGED_SECONDS = 5.0
"""How long to wait for the reports of purged records. The client's own threads make them at once, unless they wait for
a core. A client that is dropped before never makes them."""

REOPEN_SECONDS, LONGEST_REOPEN_SECONDS = 1.0, 30.0
"""Delay before a new client if the last one failed without a delivery. It doubles up to the second value."""

PURGED = frozenset((KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT))


TOO_LARGE = {
    KafkaError.MSG_SIZE_TOO_LARGE: "max.message.bytes of the topic, or message.max.bytes of its brokers",
    KafkaError.RECORD_LIST_TOO_LARGE: "segment.bytes of the topic",
}
"""Errors for a batch that is too large, with the limit to raise."""


class ProducerClosed(ProcessorError):
    """A record was passed to a closed producer."""


class _Failure(NamedTuple):
    """Why a client accepts no more records."""

    error: KafkaError
    give_up_at: float
    """When its unreported records are purged, in seconds of the monotonic clock."""
    purged: bool = False


class _Polling(threading.local):
    """Whether the present thread is inside a poll, and so in a callback, if it runs the application's code."""

    is_under_way = False


class PolledProducer:
    """A producer for any thread. Its own thread runs each record's `on_delivery`.

    A client fails permanently after an error from which an idempotent producer cannot recover, such as
    OUT_OF_ORDER_SEQUENCE_NUMBER. It reports its records as failed, and accepts no more. The next record opens a new
    client, but only after all reports of the old one: otherwise a late record of the old client could follow it.

    Mutable state, changed under `_guard`: `_client`, which is polled; `_taking`, the same client while it accepts
    records; `_failure`, `_failures`, `_reopen_at`, `_thread`, `is_closed` and `_taken`. Under `_counting`: `_reported`.
    """

    def __init__(self, config: Config, emit: Emit, thread: str, closing: str) -> None:
        """Opens no client yet.

        Args:
            config: from `producer_config`.
            emit: receives the client's log lines and errors.
            thread: the thread's name.
            closing: the reason for `close` in the error of unacknowledged records, such as "the consumer stopped".
        """
        self._config = {**config, **client_hooks(emit)}
        self._write = emit
        self._name = thread
        self._closing = closing
        self._guard = threading.Lock()
        self._client: Producer | None = None
        self._taking: Producer | None = None
        self._failure: _Failure | None = None
        self._failures = 0
        """Clients that failed since a record was last delivered."""
        self._reopen_at = 0.0
        self._thread: threading.Thread | None = None
        self.is_closed = False
        self.is_inherited = False
        """Whether it is the parent's, in a child process: it sends and reports nothing there."""
        self._taken = 0
        self._counting = threading.Lock()
        self._reported = 0
        self._ended = threading.Event()
        self._polling = _Polling()
        self.after_reports: Callable[[], None] | None = None
        """Called after callbacks, by the thread that ran them. What it raises is logged, as with a callback."""

    def __len__(self) -> int:
        """Number of records that were accepted but not yet `reported`."""
        return max(self._taken - self._reported, 0)  # a report may be counted before its record

    def open(self) -> None:
        """Opens the client, which the first record does otherwise.

        Raises:
            SettingsError: the client rejects a setting.
            LoadError: a file cannot be read.
            DeliveryError: the system does not allow another thread.
            ProducerClosed: the producer is closed.
        """
        with self._guard:
            if self._taking is None:
                self._open()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: RecordHeaders | None,
        on_delivery: OnDelivery,
        partition: int | None = None,
    ) -> bool:
        """Accepts a record, for the partition of its key if no other is given. Return whether there was room for it.

        Each delivery makes room. There is no room while reports of a failed client are pending.
        `on_delivery` is called once, possibly before this returns. It must call `reported` at its end.

        Raises:
            RecordTooLarge: the client rejects a record of this size.
            DeliveryError: several clients have failed in a row, or the system does not allow another thread.
            KafkaException: the client rejects the record.
            SettingsError, LoadError, ProducerClosed: as `open`.
        """
        place: dict[str, Any] = {} if partition is None else {"partition": partition}
        # Under the guard: otherwise a record could follow the last flush of `close` and never be reported.
        with self._guard:
            client = self._taking or self._open()
            if client is None:
                return False
            try:
                client.produce(topic, value, key, headers=headers, on_delivery=on_delivery, **place)
            except BufferError:
                if len(client):
                    return False
                more = {"headers": headers, "on_delivery": on_delivery, **place}
                self._produce_into_empty(client, topic, value=value, key=key, **more)
            except KafkaException as caught:
                self._note_refusal(client, topic, caught)
                return False
            self._taken += 1
            return True

    def _produce_into_empty(self, client: Producer, topic: str, **record: Any) -> None:
        """Retries with an empty queue: the records that filled it are delivered, unless this one alone is too large."""
        try:
            client.produce(topic, **record)
        except BufferError:
            raise RecordTooLarge(f"{topic}: too large for queue.buffering.max.kbytes of the client") from None

    def _note_refusal(self, client: Producer, topic: str, refusal: KafkaException) -> None:
        """Records that the client has failed, or raises the error of the record. The caller holds the guard."""
        code = refusal.args[0].code()
        if code in TOO_LARGE:
            raise RecordTooLarge(f"{topic}: too large for message.max.bytes of the client") from None
        if code != KafkaError._FATAL:
            raise refusal
        self._note_failure(client, refusal.args[0])

    def reported(self, error: KafkaError | None) -> None:
        """Counts a record as reported. Each `on_delivery` calls this at its end.

        A counting wrapper around `on_delivery` would be one more object per record for the garbage collector: with
        90,000 records in flight, `submit` took 8 microseconds with it, and 5 without.
        """
        with self._counting:
            self._reported += 1
        if error is None and self._failures:
            self._failures = 0

    def delivery_error(self, topic: str, error: KafkaError) -> DeliveryError:
        """Translates the client's error for a record. The cause of the result is the translation by `error_of`."""
        if error.code() in TOO_LARGE:
            return RecordTooLarge(f"{topic}: {reason_of(error)}: raise {', '.join(self._remedies(error))}")
        failure = self._failure
        if error.code() not in PURGED:
            reason = reason_of(error)
        elif failure is None:
            reason = f"not acknowledged before {self._closing}"
        else:
            error = failure.error
            reason = f"the Kafka client failed before the acknowledgement: {error.name()}"
        delivery_error = DeliveryError(f"{topic}: {reason}")
        delivery_error.__cause__ = error_of(error)
        return delivery_error

    def _remedies(self, error: KafkaError) -> Iterator[str]:
        yield TOO_LARGE[error.code()]
        if self._config.get("batch.num.messages") != "1":
            yield "lower batch.size of the client, since the limit applies to batches"
        if not {"compression.type", "compression.codec"} & self._config.keys():
            yield "or set its compression.type"

    def poll(self, seconds: float) -> None:
        """Runs due callbacks; waits at most `seconds` for the first."""
        client = self._client
        if client is not None:
            self._poll(client, seconds)

    def flush(self, seconds: float) -> int:
        """Waits at most `seconds` until all records are reported. Returns how many are not.

        The client's own `flush` is unusable: if the client fails, it runs callbacks while an exception is set. Each of
        them then raises SystemError, and the result of its record is lost.
        """
        deadline = time.monotonic() + max(seconds, 0.0)
        while (client := self._client) is not None:
            left = max(deadline - time.monotonic(), 0.0)
            self._poll(client, min(left, FLUSH_SECONDS))
            if not len(self) or left <= 0:
                break
        return len(self)

    def close(self, seconds: float) -> int:
        """Flushes for at most `seconds`. Returns how many records were not reported in that time.

        Those are reported as purged, within this call. Later records are rejected. It may be called again.
        """
        with self._guard:
            self.is_closed, self._taking = True, None
            client, thread = self._client, self._thread
        is_in_callback = self._polling.is_under_way
        unreported = self.flush(seconds)
        if unreported and client is not None:
            client.purge()
            self.flush(POLL_SECONDS if is_in_callback else PURGED_SECONDS)  # the callback's own record is not reported
        self._ended.set()
        if thread is not None and not is_in_callback:  # the thread may wait for the callback
            thread.join()
        with self._guard:
            failure, self._client, self._failure = self._failure, None, None
        if failure is not None:
            self._log(failure, 0.0)
        return unreported

    def leave_to_parent(self) -> None:
        """Leaves the client to the process that forked this one. Without the guard, which a thread there may hold."""
        self.is_inherited = True
        if self._client is not None:
            never_destroy(self._client)

    def _open(self) -> Producer | None:
        """Opens a client. Returns None while reports of a failed one are pending. The caller holds the guard."""
        if self.is_closed:
            raise ProducerClosed("the producer is closed")
        if self._client is not None:
            return None
        if (seconds := self._reopen_at - time.monotonic()) > 0:
            raise DeliveryError(f"the Kafka client failed, and a new one opens in {seconds:.1f} s")
        client = open_client(Producer, self._config)
        if self._thread is None:
            self._thread = self._start()
        self._client = self._taking = client
        return client

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._poll_until_closed, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of the system, or of a container
            raise DeliveryError(f"no thread can be started for the Kafka client: {error}") from None
        return thread

    def _poll_until_closed(self) -> None:
        while not self._ended.is_set():
            if self._client is None:
                self._ended.wait(POLL_SECONDS)
            else:
                try:
                    self.poll(POLL_SECONDS)
                except BaseException as error:  # noqa: BLE001  a callback's SystemExit must not end this thread
                    self._emit(KafkaClientError(code="callback", message=f"{type(error).__name__}: {error}"))

    def _poll(self, client: Producer, seconds: float) -> None:
        """Lets the client run callbacks. A callback that raises must not prevent the others."""
        if self._polling.is_under_way:
            self._poll_in_callback(client, seconds)
            return
        self._polling.is_under_way = True
        try:
            self._guarded(client, partial(client.poll, seconds))
            if self.after_reports is not None:
                self._guarded(client, self.after_reports)
            if self._failure is not None:
                self._guarded(client, partial(self._retire_when_reported, client))
        finally:
            self._polling.is_under_way = False

    def _poll_in_callback(self, client: Producer, seconds: float) -> None:
        """Polls in another thread, for a callback that flushes, closes, or waits for room.

        The Python client stores in each thread which call it is in. A poll inside of another one clears that, and the
        next callback of the outer one aborts the process (confluent-kafka 2.16).
        """
        thread = threading.Thread(target=self._poll, args=(client, seconds), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the limit of the system, or of a container
            time.sleep(seconds)
        else:
            thread.join()

    def _guarded(self, client: Producer, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as caught:  # noqa: BLE001  a callback may raise any exception
            error = caught.args[0] if isinstance(caught, KafkaException) else None
            if isinstance(error, KafkaError) and error.fatal():
                with self._guard:
                    self._note_failure(client, error)
            else:
                self._emit(KafkaClientError(code="callback", message=f"{type(caught).__name__}: {caught}"))

    def _note_failure(self, client: Producer, error: KafkaError) -> None:
        """Records a failure. Only the client's `poll` provides the reason. The caller holds the guard."""
        if client is not self._client:
            return
        self._taking = None
        if self._failure is None:
            self._failure = _Failure(error, time.monotonic() + LAST_REPORTS_SECONDS)
        elif self._failure.error.code() == KafkaError._FATAL:
            self._failure = self._failure._replace(error=error)

    def _retire_when_reported(self, client: Producer) -> None:
        """Drops a failed client once it has reported all of its records."""
        with self._guard:
            failure = self._failure
            if failure is None or client is not self._client or self._awaits_reports(client, failure):
                return
            self._client = self._failure = None
            self._failures += 1
            wait = backoff(self._failures - 1, REOPEN_SECONDS, LONGEST_REOPEN_SECONDS) if self._failures > 1 else 0.0
            self._reopen_at = time.monotonic() + wait
        self._log(failure, wait)

    def _log(self, failure: _Failure, reopen_in_seconds: float) -> None:
        code, message = failure.error.name(), reason_of(failure.error)
        self._emit(KafkaProducerFailed(code=code, message=message, reopen_in_seconds=reopen_in_seconds))

    def _emit(self, event: Event) -> None:
        with contextlib.suppress(Exception):  # the log itself fails, and there is no other place to report it
            self._write(event)

    def _awaits_reports(self, client: Producer, failure: _Failure) -> bool:
        """Return whether reports are pending. The wait is bounded: a callback that sends a record waits for itself."""
        now = time.monotonic()
        if not len(self) or (failure.purged and now >= failure.give_up_at):
            return False
        if now >= failure.give_up_at:
            client.purge()
            self._failure = failure._replace(purged=True, give_up_at=now + PURGED_SECONDS)
        return True
