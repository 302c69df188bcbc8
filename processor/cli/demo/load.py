"""The demo's load: plans the tasks, each with its expected outcome, and produces them to the topic."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from processor.cli.demo.app import Work
from processor.errors import DeliveryError, ProcessorError
from processor.kafka.delivery_future import DeliveryFuture
from processor.kafka.dispatcher import Dispatcher

TOPIC: Final = "demo"
GROUP: Final = "demo"
MAX_ATTEMPTS: Final = 3

MILLISECONDS: Final = (10.0, 60.0)
"""The shortest and the longest time that a handler works: about that of a call to a database or a service."""

Fate = Literal["plain", "retried", "exhausted", "refused", "undecodable", "expired"]

ONE_IN: Final[dict[Fate, int]] = {"retried": 25, "exhausted": 800, "refused": 1000, "undecodable": 2000}
"""One task in this many has the fate: it fails at first, fails permanently, is rejected, or cannot be decoded."""

UNDECODABLE: Final = b"\x00this is no Avro record"


class Planned(msgspec.Struct, frozen=True):
    """One task as it will be produced."""

    session: str
    number: int
    fate: Fate
    milliseconds: float
    priority: int = 0
    delay: float | None = None
    """Seconds from its production before which it must not begin."""
    expires_in: float | None = None
    """Seconds from its production after which it must not begin."""
    batched: bool = False
    """Whether it is for the handler of batches."""

    @property
    def is_dead_letter(self) -> bool:
        """Whether it must end in the dead-letter topic."""
        return self.fate in ("exhausted", "refused", "undecodable", "expired")

    @property
    def attempts(self) -> int:
        """The number of attempts that it must have."""
        special = {"retried": 2, "exhausted": MAX_ATTEMPTS, "undecodable": 0, "expired": 0}
        return special.get(self.fate, 1)

    @property
    def id(self) -> str:
        """Its name in the ledger and in the dead letters."""
        return f"{self.session}/{self.number}"


def plan(tasks: int, sessions: int, seed: int = 1) -> list[Planned]:
    """Return `tasks` tasks of `sessions` sessions, shuffled; equal seeds return equal tasks."""
    chance = random.Random(seed)
    fates = _fates(tasks)
    chance.shuffle(fates)
    owners = [n % sessions for n in range(tasks)]
    chance.shuffle(owners)
    counts = [0] * sessions
    planned = []
    for owner, fate in zip(owners, fates, strict=True):
        milliseconds = round(chance.uniform(*MILLISECONDS), 1)
        planned.append(Planned(f"session-{owner:03d}", counts[owner], fate, milliseconds))
        counts[owner] += 1
    return planned


def _fates(tasks: int) -> list[Fate]:
    """Return the fate of each task, with at least one of each kind, if there are enough tasks."""
    special: list[Fate] = [fate for fate, one_in in ONE_IN.items() for _ in range(max(1, tasks // one_in))]
    plain: list[Fate] = ["plain"] * max(0, tasks - len(special))
    return (special + plain)[:tasks]


def produce(planned: Sequence[Planned], bootstrap_servers: str) -> None:
    """Sends the tasks in their order, and waits until the broker has acknowledged all of them.

    Raises:
        DeliveryError: the broker does not accept one.
    """
    with (
        Dispatcher(bootstrap_servers, TOPIC) as dispatcher,
        Dispatcher(bootstrap_servers, TOPIC, value_format="bytes") as raw,
    ):
        sent = list(_submitted(planned, dispatcher, raw))
        if dispatcher.flush() + raw.flush():
            raise DeliveryError("the embedded broker does not accept the demo's tasks")
        for future in sent:
            future.result()


def _submitted(planned: Sequence[Planned], dispatcher: Dispatcher, raw: Dispatcher) -> Iterator[DeliveryFuture]:
    for task in planned:
        headers = {"demo-id": task.id}
        if task.fate == "undecodable":
            yield raw.submit(task.session, UNDECODABLE, headers=headers)
        else:
            failures = task.attempts if task.fate == "exhausted" else task.attempts - 1
            work = Work(task.number, task.milliseconds, failures, task.fate == "refused")
            yield dispatcher.submit(
                task.session,
                msgspec.to_builtins(work),
                "store" if task.batched else "work",
                headers=headers,
                priority=task.priority,
                delay=task.delay,
                expires_in=task.expires_in,
            )


class Sending(threading.Thread):
    """Sends the tasks from a separate thread.

    Args:
        planned: the tasks.
        bootstrap_servers: the broker.
        when_failed: called in that thread if the broker does not accept them.
    """

    def __init__(self, planned: Sequence[Planned], bootstrap_servers: str, when_failed: Callable[[], None]) -> None:
        super().__init__(name="demo-load", daemon=True)
        self._planned = planned
        self._bootstrap_servers = bootstrap_servers
        self._when_failed = when_failed
        self._error: ProcessorError | None = None

    def run(self) -> None:
        """Sends the tasks; runs in the thread that `start` starts."""
        try:
            produce(self._planned, self._bootstrap_servers)
        except ProcessorError as error:
            self._error = error
            self._when_failed()

    def finish(self) -> None:
        """Waits until everything is sent, if sending was started.

        Raises:
            ProcessorError: the broker did not accept the tasks.
        """
        if self.ident is not None:
            self.join()
        if self._error is not None:
            raise self._error
