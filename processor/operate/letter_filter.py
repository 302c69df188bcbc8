"""`LetterFilter`: the conditions that select the dead letters of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from processor.handlers.task import Identity
from processor.operate.letters import Letter

Identify = Callable[[Letter], Identity]
"""Returns the ID, the session and the name of a letter's task. It may have to decode the value."""

HEADER: Final = "header."

FIELDS: Final = ("error-type", "error-message", "name", "session", "id", "group", "topic", "partition", "offset")
"""The fields of conditions, besides `header.NAME`."""

OF_THE_TASK: Final = ("name", "session", "id")
"""The fields that need an `Identify`."""


class Condition(NamedTuple):
    """One `--where FIELD=VALUE`."""

    field: str
    value: str


class LetterFilter(NamedTuple):
    """All conditions must hold. Times are milliseconds since the epoch and compare with `dlq-failed-at`."""

    conditions: Sequence[Condition] = ()
    since: int | None = None
    until: int | None = None

    def matches(self, letter: Letter, identify: Identify) -> bool:
        """Return whether the letter matches all conditions."""
        if self.since is not None and letter.failed_at < self.since:
            return False
        if self.until is not None and letter.failed_at >= self.until:
            return False
        return all(_holds(condition, letter, identify) for condition in self.conditions)


def condition_of(text: str) -> Condition:
    """Read `FIELD=VALUE`, which `condition_fault` has accepted."""
    field, _, value = text.partition("=")
    return Condition(field, value)


def condition_fault(text: str) -> str | None:
    """Return what is wrong with a condition, in the words that follow an option's name, or None."""
    field, equals, _ = text.partition("=")
    if not equals:
        return f"must be FIELD=VALUE, not {text[:80]!r}"
    if field in FIELDS or (field.startswith(HEADER) and field != HEADER):
        return None
    return f"has an unknown field {field[:80]!r}: the fields are {', '.join(FIELDS)} and header.NAME"


def _holds(condition: Condition, letter: Letter, identify: Identify) -> bool:
    field, value = condition
    if field == "error-type":
        return letter.error_type == value or letter.error_type.endswith(f".{value}")
    if field == "error-message":
        return value in letter.error_message
    if field.startswith(HEADER):
        wanted = field.removeprefix(HEADER)
        return any(name == wanted and _text(text) == value for name, text in letter.headers())
    return value_of(field, letter, identify) == value


def value_of(field: str, letter: Letter, identify: Identify) -> str:
    """Return one of `FIELDS` of a letter as text."""
    if field in OF_THE_TASK:
        task = identify(letter)
        return {"name": task.name, "session": task.session_id, "id": task.id}[field]
    return {
        "error-type": letter.error_type,
        "error-message": letter.error_message,
        "group": letter.group,
        "topic": letter.topic(),
        "partition": str(letter.partition()),
        "offset": str(letter.offset()),
    }[field]


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")
