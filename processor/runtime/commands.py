"""The records of a control topic: commands to the consumers of a group.

The key names the target of a command, so that compaction keeps the last command for it. A tombstone ends it.

| key | value |
| --- | --- |
| `[GROUP, "session"|"name"|"partition"|"all", WHAT]` | a pause |
| `[GROUP, "workers", ""]` | a number of workers |
| `[GROUP, "cancel", "task", ID]`, `[GROUP, "cancel", "session", SESSION]` or with `NAME` | a cancellation |
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple, cast, get_args

import msgspec

from processor.engine.cancels import Cancel, CancelTarget
from processor.engine.pauses import Kind, Pause, Target


class WorkersTarget(NamedTuple):
    """The number of workers of each consumer, as the target of a command."""

    kind: Literal["workers"] = "workers"
    text: str = ""


WORKERS: Final = WorkersTarget()


class WorkersOrder(NamedTuple):
    """The number of workers of each consumer, with the time and the author of the command."""

    workers: int
    since: int
    """In milliseconds since the epoch."""
    by: str


AnyTarget = Target | WorkersTarget | CancelTarget
AnyCommand = Pause | WorkersOrder | Cancel

Command = (
    tuple[str, Target, Pause | None]
    | tuple[str, WorkersTarget, WorkersOrder | None]
    | tuple[str, CancelTarget, Cancel | None]
)
"""A group, the target of a command, and the command; None if the record ends it."""


class _Value(msgspec.Struct):
    since: int
    by: str


class _WorkersValue(_Value):
    workers: Annotated[int, msgspec.Meta(ge=1)]


class _CancelValue(_Value):
    until: int
    dead_letter: bool = False


_read_key = msgspec.json.Decoder(list[str]).decode
_read_value = msgspec.json.Decoder(_Value).decode
_read_workers = msgspec.json.Decoder(_WorkersValue).decode
_read_cancel = msgspec.json.Decoder(_CancelValue).decode


def key_of(group: str, target: AnyTarget) -> bytes:
    """Return the key of the target's records."""
    parts = [part for part in target if part is not None]
    return msgspec.json.encode([group, *(("cancel",) if isinstance(target, CancelTarget) else ()), *parts])


def value_of(command: AnyCommand) -> bytes:
    """Return the value of a command's record."""
    return msgspec.json.encode(command._asdict())


def read_command(key: bytes | None, value: bytes | None) -> Command:
    """Return the command in a record of a control topic.

    Raises:
        ValueError: the record is not a command.
    """
    try:
        return _read_command(key or b"", value)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _read_command(key: bytes, value: bytes | None) -> Command:
    match _read_key(key):
        case [group, "workers", ""]:
            return group, WORKERS, None if value is None else _workers_order(value)
        case [group, "cancel", "task" | "session" as kind, text]:
            return group, CancelTarget(kind, text), None if value is None else _cancel(value)
        case [group, "cancel", "session", text, name]:
            return group, CancelTarget("session", text, name), None if value is None else _cancel(value)
        case [group, kind, text] if kind in get_args(Kind):
            return group, Target(cast(Kind, kind), text), None if value is None else _pause(value)
        case _:
            raise ValueError("its key does not name what a command is about")


def _pause(value: bytes) -> Pause:
    found = _read_value(value)
    return Pause(found.since, found.by)


def _workers_order(value: bytes) -> WorkersOrder:
    found = _read_workers(value)
    return WorkersOrder(found.workers, found.since, found.by)


def _cancel(value: bytes) -> Cancel:
    found = _read_cancel(value)
    return Cancel(found.since, found.by, found.until, found.dead_letter)
