"""`Report`: the outcome of the tasks of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from processor.engine.deaths import TaskPlace
from processor.engine.record import Record
from processor.telemetry.events import Event, TaskRetrying, TaskSucceeded


class Payloads(Protocol):
    """The payloads of a run's tasks."""

    payloads: dict[TaskPlace, Any]
    """The tasks as they were given, by their places."""

    def payload_in(self, record: Record) -> Any:
        """Return the payload of a task that was not given, or what a branch returned that has arrived at its join."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A task that succeeded."""

    session_id: str
    name: str
    payload: Any
    """The payload as it was given."""
    attempts: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A task that became a dead letter."""

    session_id: str
    payload: Any
    """The payload as it was given; the value's bytes if it was given as `value`."""
    attempts: int
    """Number of attempts; 0 if it could not be decoded."""
    error_type: str
    """The exception's name with its module."""
    error: str
    headers: dict[str, bytes | None]
    """The headers of the record in the dead-letter topic."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of the tasks."""

    done: list[Done]
    """The tasks that succeeded, in the order in which they did."""
    results: list[Any]
    """The return values of handlers, without None, in the order in which they returned."""
    dead_letters: list[DeadLetter]
    retried: int
    """Number of attempts that failed and were followed by another."""
    exit_code: int
    """The exit code that `processor run` would return."""

    def order_of(self, session_id: str) -> list[Any]:
        """Return the payloads of this session's tasks that succeeded, in the order in which they did."""
        return [done.payload for done in self.done if done.session_id == session_id]


def report_of(
    given: Payloads, events: Sequence[Event], letters: Sequence[Record], results: list[Any], exit_code: int
) -> Report:
    """Return the report of a run that has ended, from its events and its dead letters."""
    # A task whose handler succeeded still becomes a dead letter if its return value cannot be written.
    given_up = {_origin(letter) for letter in letters}
    done = [
        Done(
            session_id=event.session_id,
            name=event.task_name,
            payload=given.payloads[_place(event)],
            attempts=event.attempt,
        )
        for event in events
        if isinstance(event, TaskSucceeded) and _place(event) not in given_up
    ]
    return Report(
        done=done,
        results=results,
        dead_letters=[_dead_letter(given, letter) for letter in letters],
        retried=sum(isinstance(event, TaskRetrying) for event in events),
        exit_code=exit_code,
    )


def _dead_letter(given: Payloads, letter: Record) -> DeadLetter:
    place = _origin(letter)
    return DeadLetter(
        session_id=(letter.key() or b"").decode(),
        payload=given.payloads[place] if place in given.payloads else given.payload_in(letter),
        attempts=int(_text(letter, "dlq-attempts")),
        error_type=_text(letter, "dlq-error-type"),
        error=_text(letter, "dlq-error-message"),
        headers=dict(letter.headers() or ()),
    )


def _place(event: TaskSucceeded) -> TaskPlace:
    return TaskPlace(event.topic, event.partition, event.offset)


def _origin(letter: Record) -> TaskPlace:
    return TaskPlace(_text(letter, "dlq-topic"), int(_text(letter, "dlq-partition")), int(_text(letter, "dlq-offset")))


def _text(record: Record, header: str) -> str:
    return (dict(record.headers() or ())[header] or b"").decode()
