"""`Failures`: what went wrong, grouped by error, in bounded memory."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

import msgspec

from processor.observe.wording import plain
from processor.telemetry import reading as told

Trouble = told.TroubleTold | told.ClientErrorTold | told.TaskTold


def failure_of(trouble: Trouble, at: float) -> Failure:
    """What went wrong, at `at` in seconds since the epoch."""
    what, error_type, error = _words(trouble)
    failure = Failure(at=at, what=what, error_type=plain(error_type, 120), error=plain(error))
    if isinstance(trouble, told.TaskTold):
        failure.task_id, failure.session_id = plain(trouble.task_id), plain(trouble.session_id)
        failure.place = plain(f"{trouble.topic}[{trouble.partition}]@{trouble.offset}")
        failure.attempt = trouble.attempt
    return failure


def _words(trouble: Trouble) -> tuple[str, str, str]:
    """What became of it, the error's type, and the error."""
    match trouble:
        case told.PostponedTold():
            words = "not readable yet", trouble.error_type, trouble.error
        case told.RegistryUnavailableTold():
            words = "registry away", "", trouble.error
        case told.RetryingTold():
            words = "tried again", trouble.error_type, trouble.error
        case told.DeadLetteredTold():
            words = "dead-lettered", trouble.error_type, trouble.error
        case told.TimedOutTold():
            words = "timed out", "TaskTimeout", f"ran longer than {trouble.timeout_seconds:g} s"
        case told.StuckTold():
            words = "stuck", "", _where(trouble.stack)
        case told.AbandonedTold():
            words = "abandoned", "", "still ran when the drain timeout was over"
        case told.DeliveryFailedTold():
            words = "not delivered", "", f"to {trouble.target_topic}: {trouble.error}"
        case told.ClientErrorTold():
            words = "Kafka client", trouble.code, trouble.message
        case told.CommitFailedTold():
            words = "commit refused", "", trouble.error
        case told.WorkerDiedTold():
            words = "worker died", "", trouble.error
        case _:
            words = "consumer failed", "", getattr(trouble, "error", "")
    return words


def _where(stack: str) -> str:
    """The innermost frame of a handler that cannot be stopped."""
    innermost = " ".join(line.strip() for line in stack.strip().splitlines()[-2:])
    return f"cannot be stopped at {innermost}" if innermost else "cannot be stopped"


GROUPS: Final = 200
"""Kinds of error that are told apart; further ones are counted together."""

RECENT: Final = 50

_VARIABLE: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+(?:\.\d+)?|'[^']*'|\"[^\"]*\"")
"""What differs between two messages of one error: addresses, identifiers, numbers, quoted names."""

_REST: Final = ("", "")


class Failure(msgspec.Struct, kw_only=True):
    """One thing that went wrong, at one time (seconds since the epoch). Its texts are harmless for a terminal."""

    at: float
    what: str
    """as people say it: dead-lettered, tried again, timed out"""
    error_type: str
    error: str
    task_id: str = ""
    session_id: str = ""
    place: str = ""
    """TOPIC[PARTITION]@OFFSET"""
    attempt: int = 0

    @property
    def told(self) -> str:
        """The error in one line, without the module of its type."""
        name = self.error_type.rpartition(".")[2]
        return f"{name}: {self.error}" if name and self.error else name or self.error


class Group(msgspec.Struct, kw_only=True):
    """Failures of one kind."""

    first: float
    last: float
    count: int
    outcomes: dict[str, int]
    """how often it was dead-lettered, tried again …"""
    example: Failure
    """the last one"""
    is_rest: bool = False
    """whether these are several kinds, which were too many to tell apart"""


class Failures:
    """Takes them one by one, in the order of the log."""

    def __init__(self, groups: int = GROUPS) -> None:
        self.recent: deque[Failure] = deque(maxlen=RECENT)
        self.count = 0
        self._limit = groups
        self._groups: dict[tuple[str, str], Group] = {}

    def note(self, failure: Failure) -> None:
        """Adds one."""
        self.count += 1
        self.recent.append(failure)
        group = self._group_of(failure)
        group.count += 1
        group.last = failure.at
        group.example = failure
        group.outcomes[failure.what] = group.outcomes.get(failure.what, 0) + 1

    @property
    def groups(self) -> list[Group]:
        """The most frequent first."""
        return sorted(self._groups.values(), key=lambda group: (group.is_rest, -group.count, group.first))

    def _group_of(self, failure: Failure) -> Group:
        key = (failure.error_type, _VARIABLE.sub("#", failure.error))
        if key not in self._groups and len(self._groups) >= self._limit:
            key = _REST
        group = self._groups.get(key)
        if group is None:
            group = Group(
                first=failure.at, last=failure.at, count=0, outcomes={}, example=failure, is_rest=key == _REST
            )
            self._groups[key] = group
        return group
