"""`Failures`: what went wrong, grouped by error, in bounded memory."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

import msgspec

from processor.observe.wording import plain
from processor.telemetry import events
from processor.telemetry.events import Event

GROUPS: Final = 200
"""The most kinds of error with a group of their own. All further kinds share one group."""

RECENT: Final = 50

_VARIABLE: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+(?:\.\d+)?|'[^']*'|\"[^\"]*\"")
"""The parts that differ between two messages of one error: addresses, identifiers, numbers, quoted names."""

_REST: Final = ("", "")


class Failure(msgspec.Struct, kw_only=True):
    """One failure, at one time (seconds since the epoch). Its texts are safe for a terminal."""

    at: float
    outcome: str
    """dead-lettered, retried, timed out, …"""
    error_type: str
    error: str
    task_id: str = ""
    session_id: str = ""
    place: str = ""
    """TOPIC[PARTITION]@OFFSET"""
    attempt: int = 0

    @property
    def summary(self) -> str:
        """The error in one line, without the module of its type."""
        name = self.error_type.rpartition(".")[2]
        return f"{name}: {self.error}" if name and self.error else name or self.error


class FailureGroup(msgspec.Struct, kw_only=True):
    """Failures of one kind."""

    first: float
    last: float
    count: int
    outcomes: dict[str, int]
    """count by outcome"""
    example: Failure
    """the latest"""
    is_rest: bool = False
    """whether this is the group that all kinds beyond the limit share"""


class Failures:
    """Groups failures, which are added one by one in the order of the log."""

    def __init__(self, groups: int = GROUPS) -> None:
        self.recent: deque[Failure] = deque(maxlen=RECENT)
        self.count = 0
        self._limit = groups
        self._groups: dict[tuple[str, str], FailureGroup] = {}

    def note(self, failure: Failure) -> None:
        """Add a failure."""
        self.count += 1
        self.recent.append(failure)
        group = self._group_of(failure)
        group.count += 1
        group.last = failure.at
        group.example = failure
        group.outcomes[failure.outcome] = group.outcomes.get(failure.outcome, 0) + 1

    @property
    def groups(self) -> list[FailureGroup]:
        """All groups, the most frequent first."""
        return sorted(self._groups.values(), key=lambda group: (group.is_rest, -group.count, group.first))

    def _group_of(self, failure: Failure) -> FailureGroup:
        key = (failure.error_type, _VARIABLE.sub("#", failure.error))
        if key not in self._groups and len(self._groups) >= self._limit:
            key = _REST
        group = self._groups.get(key)
        if group is None:
            group = FailureGroup(
                first=failure.at, last=failure.at, count=0, outcomes={}, example=failure, is_rest=key == _REST
            )
            self._groups[key] = group
        return group


def failure_of(event: Event, at: float) -> Failure:
    """Return the failure that `event` reports at `at`, in seconds since the epoch."""
    outcome, error_type, error = _described(event)
    failure = Failure(at=at, outcome=outcome, error_type=plain(error_type, 120), error=plain(error))
    if isinstance(event, events.TaskEvent):
        failure.task_id, failure.session_id = plain(event.task_id), plain(event.session_id)
        failure.place = plain(f"{event.topic}[{event.partition}]@{event.offset}")
        failure.attempt = event.attempt
    return failure


def _described(event: Event) -> tuple[str, str, str]:
    """The outcome, the type of the error, and the error."""
    match event:
        case events.TaskDeferred():
            words = "deferred", event.error_type, event.error
        case events.TaskRetrying():
            words = "retried", event.error_type, event.error
        case events.TaskDeadLettered():
            words = "dead-lettered", event.error_type, event.error
        case events.TaskTimedOut():
            words = "timed out", "TaskTimeout", f"ran longer than {event.timeout_seconds:g} s"
        case events.TaskStuck():
            words = "stuck", "", _where(event.stack)
        case events.TaskAbandoned():
            words = "abandoned", "", "was still running when the drain timed out"
        case events.TaskDeliveryFailed():
            words = "not delivered", "", f"to {event.target_topic}: {event.error}"
        case events.KafkaClientError():
            words = "Kafka client error", event.code, event.message
        case events.ConsumerCommitFailed():
            words = "commit refused", "", event.error
        case events.ConsumerWorkerError():
            words = "worker error", "", event.error
        case events.RegistryUnavailable():
            words = "schema registry unavailable", "", event.error
        case _:
            words = "consumer failed", "", getattr(event, "error", "")
    return words


def _where(stack: str) -> str:
    """The innermost frame of a handler that cannot be interrupted."""
    innermost = " ".join(line.strip() for line in stack.strip().splitlines()[-2:])
    return f"cannot be interrupted at {innermost}" if innermost else "cannot be interrupted"
