"""`Lookups`: what a registry says, asked for in a thread of its own and remembered.

Workers and coroutines ask for every record and must not wait: they get what is known, or are told when to ask again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from processor.engine.retry import backoff, spread
from processor.errors import LoadError, NotNow, ProcessorError
from processor.telemetry.events import Emit, RegistryAvailable, RegistryUnavailable

CAPACITY = 1000
"""Answers that are remembered, of each kind; of more the oldest is forgotten, and asked for again when it is wanted."""

MOST_WANTED = 10_000
"""Questions that wait; a value made of chance could ask for four billion schemas."""

DOUBT_SECONDS = 1.0
"""When a "there is no such schema" is asked about again, before it is believed: of a registry on several machines, one
may answer that has not heard yet of what was registered a moment ago with another."""

REFUSAL_SECONDS = 30.0
"""How long it holds then: the schema may be registered after all."""

FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.5, 5.0
"""The pause after a request that had no answer; doubled with each further one."""

SOONEST_SECONDS, LATEST_SECONDS = 0.02, 5.0
"""When to ask again for what is being fetched: after as long as it has taken already, within these bounds."""

AWAY_SECONDS = 2.0
"""The same, at the soonest, where the last request had no answer: the next one may have none either."""

TELL_SECONDS = 30.0

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Ask = Callable[[K], V]


class Lookups(Generic[K, V]):
    """Answers by question. Any thread may call it.

    The thread that asks lives while there is something to ask, and opens a connection for that long: credentials are
    read anew each time, and nothing has to be closed at the end.

    Mutable state: all of it, under `_lock`; `_known` is also read without.
    """

    def __init__(self, registry: str, connect: Callable[[], AbstractContextManager[Ask[K, V]]], emit: Emit) -> None:
        """Asks nothing yet.

        Args:
            registry: its address, as it may be shown.
            connect: opens a connection; what it gives answers one question, and raises LoadError where the answer is
                no, and any other error of this program where there was none.
            emit: is told when the registry cannot be asked, and when it can again.
        """
        self._registry = registry
        self._connect = connect
        self._emit = emit
        self._lock = threading.Lock()
        self._known: dict[K, V] = {}
        self._refused: dict[K, tuple[float, str]] = {}
        """Until when, and why."""
        self._doubted: dict[K, float] = {}
        """What the registry has said no to once, and when to ask again."""
        self._wanted: dict[K, float] = {}
        """Since when; the oldest first."""
        self._asking = False
        self._failures = 0
        self._down_since = 0.0
        self._not_before = 0.0
        self._trouble = ""
        self._told_at = -TELL_SECONDS

    def get(self, key: K) -> V:
        """The answer.

        Raises:
            LoadError: the registry says no.
            NotNow: it is not known yet.
        """
        known = self._known.get(key)
        if known is not None:
            return known
        with self._lock:
            return self._known[key] if key in self._known else self._not_known(key, time.monotonic())

    def learn(self, key: K, answer: V) -> None:
        """Remembers an answer that was had elsewhere, or just now."""
        with self._lock:
            _bounded(self._known, CAPACITY)[key] = answer
            self._wanted.pop(key, None)
            self._doubted.pop(key, None)
            recovered = self._recover()
        if recovered is not None:
            self._emit(recovered)

    def suffer(self, error: Exception) -> None:
        """The registry cannot be asked: nobody asks before a pause is over."""
        now = time.monotonic()
        with self._lock:
            self._failures += 1
            self._down_since = self._down_since or now
            pause = spread(
                backoff(self._failures, FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS), random.random(), LAST_DELAY_SECONDS
            )
            self._not_before = now + pause
            self._trouble = str(error)
            tell = now - self._told_at >= TELL_SECONDS
            self._told_at = now if tell else self._told_at
            event = RegistryUnavailable(
                registry=self._registry, error=self._trouble, failures=self._failures, retry_in_seconds=pause
            )
        if tell:
            self._emit(event)

    def _not_known(self, key: K, now: float) -> V:
        """Under the lock."""
        until, why = self._refused.get(key, (0.0, ""))
        if now < until:
            raise LoadError(why)
        again = self._doubted.get(key, 0.0)
        if now < again:
            raise NotNow("the schema registry does not know it, and is asked once more", again - now)
        since = _bounded(self._wanted, MOST_WANTED).setdefault(key, now)
        if now < self._not_before:
            raise NotNow(self._trouble, self._not_before - now + SOONEST_SECONDS)
        if not self._asking:
            self._asking = True
            threading.Thread(target=self._ask_all, name="schema-registry", daemon=True).start()
        soonest = AWAY_SECONDS if self._failures else SOONEST_SECONDS
        raise NotNow("the schema registry is being asked", min(max(now - since, soonest), LATEST_SECONDS))

    def _ask_all(self) -> None:
        try:
            with self._connect() as ask:
                while (key := self._next()) is not None:
                    self._ask(ask, key)
        except ProcessorError as error:
            self.suffer(error)
        except Exception as error:  # noqa: BLE001  a fault of ours: the tasks wait, and it is told
            self.suffer(ProcessorError(f"the schema registry could not be asked: {type(error).__name__}: {error}"))
        finally:
            with self._lock:
                self._asking = False

    def _next(self) -> K | None:
        with self._lock:
            return next(iter(self._wanted), None)

    def _ask(self, ask: Ask[K, V], key: K) -> None:
        try:
            answer = ask(key)
        except LoadError as error:
            self._refuse(key, str(error))
        except BaseException:
            with self._lock:  # who wants it asks again; meanwhile it does not stand before the others
                self._wanted.pop(key, None)
            raise
        else:
            self.learn(key, answer)

    def _refuse(self, key: K, why: str) -> None:
        now = time.monotonic()
        with self._lock:
            if self._doubted.pop(key, None) is None:
                _bounded(self._doubted, CAPACITY)[key] = now + DOUBT_SECONDS
            else:
                _bounded(self._refused, CAPACITY)[key] = (now + REFUSAL_SECONDS, why)
            self._wanted.pop(key, None)
            recovered = self._recover()
        if recovered is not None:
            self._emit(recovered)

    def _recover(self) -> RegistryAvailable | None:
        """An answer came; under the lock."""
        if not self._failures:
            return None
        failures, since = self._failures, self._down_since
        self._failures, self._down_since, self._not_before, self._told_at = 0, 0.0, 0.0, -TELL_SECONDS
        return RegistryAvailable(
            registry=self._registry, unavailable_seconds=time.monotonic() - since, failures=failures
        )


T = TypeVar("T")


def _bounded(answers: dict[K, T], most: int) -> dict[K, T]:
    """With room for one more."""
    while len(answers) >= most:
        del answers[next(iter(answers))]
    return answers
