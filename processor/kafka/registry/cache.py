"""`AnswerCache`: answers of a schema registry, fetched in a background thread.

Workers and coroutines need an answer for every record and must not block. They get a cached answer at once, or an
error that states when to retry.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from processor.engine.retry import backoff, spread
from processor.errors import LoadError, NotReady, ProcessorError
from processor.telemetry.events import Emit, RegistryAvailable, RegistryUnavailable

CAPACITY = 1000
"""Maximum number of cached answers of each kind. The oldest is evicted and fetched again when needed."""

MAX_PENDING = 10_000
"""Maximum number of pending requests: random bytes in values could refer to four billion schemas."""

CONFIRM_SECONDS = 1.0
"""Delay before a negative answer is confirmed by a second request. A registry may run on several machines, and one of
them may not know yet what was registered with another a moment ago."""

NEGATIVE_SECONDS = 30.0
"""How long a confirmed negative answer is cached: the schema may be registered later."""

FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.5, 5.0
"""Delay after a failed request; it doubles with each further failure up to the second value."""

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.02, 5.0
"""Bounds of the retry delay for a request in progress. The delay is the time that it has taken so far."""

OUTAGE_SECONDS = 2.0
"""The lower bound instead of `MIN_RETRY_SECONDS` after a failed request, as the next one may fail too."""

REPORT_SECONDS = 30.0
"""Minimum time between two events that report the same outage."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Fetch = Callable[[K], V]


class AnswerCache(Generic[K, V]):
    """Answers by request. Threads may share it.

    The background thread lives while there are pending requests, with one connection. Credentials are therefore read
    again for each connection, and there is nothing to close at the end.

    Mutable state: all of it, guarded by `_lock`; `_answers` is also read without the lock.
    """

    def __init__(self, registry: str, connect: Callable[[], AbstractContextManager[Fetch[K, V]]], emit: Emit) -> None:
        """Sends no request yet.

        Args:
            registry: the registry's address without credentials, for log events.
            connect: opens a connection: a function that answers one request. It raises LoadError for a negative answer,
                and another ProcessorError if there was no answer.
            emit: receives an event when the registry becomes unavailable, and when it is available again.
        """
        self._registry = registry
        self._connect = connect
        self._emit = emit
        self._lock = threading.Lock()
        self._answers: dict[K, V] = {}
        self._negative: dict[K, tuple[float, str]] = {}
        """Confirmed negative answers: when they expire, and the message."""
        self._unconfirmed: dict[K, float] = {}
        """Negative answers to confirm: when to send the second request."""
        self._pending: dict[K, float] = {}
        """Requests without an answer: when they were first made, the oldest first."""
        self._is_fetching = False
        self._failures = 0
        self._down_since = 0.0
        self._not_before = 0.0
        self._last_error = ""
        self._reported_at = -REPORT_SECONDS

    def get(self, key: K) -> V:
        """The cached answer.

        Raises:
            LoadError: the answer is negative.
            NotReady: there is no answer yet.
        """
        answer = self._answers.get(key)
        if answer is not None:
            return answer
        with self._lock:
            return self._answers[key] if key in self._answers else self._request(key, time.monotonic())

    def store(self, key: K, answer: V) -> None:
        """Caches an answer."""
        with self._lock:
            _with_room(self._answers, CAPACITY)[key] = answer
            self._pending.pop(key, None)
            self._unconfirmed.pop(key, None)
            recovered = self._recover()
        if recovered is not None:
            self._emit(recovered)

    def record_failure(self, error: Exception) -> None:
        """Records a request without an answer. No request is sent until a delay is over."""
        now = time.monotonic()
        with self._lock:
            self._failures += 1
            self._down_since = self._down_since or now
            delay = spread(
                backoff(self._failures, FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS), random.random(), LAST_DELAY_SECONDS
            )
            self._not_before = now + delay
            self._last_error = str(error)
            is_due = now - self._reported_at >= REPORT_SECONDS
            self._reported_at = now if is_due else self._reported_at
            event = RegistryUnavailable(
                registry=self._registry, error=self._last_error, failures=self._failures, retry_in_seconds=delay
            )
        if is_due:
            self._emit(event)

    def _request(self, key: K, now: float) -> V:
        """Adds a pending request, if one is needed, and raises. Called under the lock."""
        expires, message = self._negative.get(key, (0.0, ""))
        if now < expires:
            raise LoadError(message)
        confirm_at = self._unconfirmed.get(key, 0.0)
        if now < confirm_at:
            raise NotReady("the schema registry does not know it; the request is repeated to confirm", confirm_at - now)
        since = _with_room(self._pending, MAX_PENDING).setdefault(key, now)
        if now < self._not_before:
            raise NotReady(self._last_error, self._not_before - now + MIN_RETRY_SECONDS)
        if not self._is_fetching:
            try:
                threading.Thread(target=self._fetch_pending, name="schema-registry", daemon=True).start()
            except RuntimeError as error:  # the limit of the system, or of a container
                raise NotReady(f"the schema registry cannot be asked: {error}", MAX_RETRY_SECONDS) from None
            self._is_fetching = True
        shortest = OUTAGE_SECONDS if self._failures else MIN_RETRY_SECONDS
        raise NotReady("waiting for the schema registry's answer", min(max(now - since, shortest), MAX_RETRY_SECONDS))

    def _fetch_pending(self) -> None:
        try:
            with self._connect() as fetch:
                while (key := self._next()) is not None:
                    self._fetch(fetch, key)
        except ProcessorError as error:
            self.record_failure(error)
        except Exception as error:  # noqa: BLE001 — a bug of this package: tasks wait, and the event reports it
            message = f"the request to the schema registry failed: {type(error).__name__}: {error}"
            self.record_failure(ProcessorError(message))
        finally:
            with self._lock:
                self._is_fetching = False

    def _next(self) -> K | None:
        with self._lock:
            return next(iter(self._pending), None)

    def _fetch(self, fetch: Fetch[K, V], key: K) -> None:
        try:
            answer = fetch(key)
        except LoadError as error:
            self._store_negative(key, str(error))
        except BaseException:
            with self._lock:  # the record's next retry requests it again; until then it must not block other requests
                self._pending.pop(key, None)
            raise
        else:
            self.store(key, answer)

    def _store_negative(self, key: K, message: str) -> None:
        now = time.monotonic()
        with self._lock:
            if self._unconfirmed.pop(key, None) is None:
                _with_room(self._unconfirmed, CAPACITY)[key] = now + CONFIRM_SECONDS
            else:
                _with_room(self._negative, CAPACITY)[key] = (now + NEGATIVE_SECONDS, message)
            self._pending.pop(key, None)
            recovered = self._recover()
        if recovered is not None:
            self._emit(recovered)

    def _recover(self) -> RegistryAvailable | None:
        """Ends an outage after an answer; returns the event to emit. Called under the lock."""
        if not self._failures:
            return None
        failures, since = self._failures, self._down_since
        self._failures, self._down_since, self._not_before, self._reported_at = 0, 0.0, 0.0, -REPORT_SECONDS
        return RegistryAvailable(
            registry=self._registry, unavailable_seconds=time.monotonic() - since, failures=failures
        )


T = TypeVar("T")


def _with_room(entries: dict[K, T], capacity: int) -> dict[K, T]:
    """Evicts the oldest entries until there is room for one more; returns the same dict."""
    while len(entries) >= capacity:
        del entries[next(iter(entries))]
    return entries
