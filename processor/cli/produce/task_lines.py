"""`TaskLines`, the tasks of a file of JSON Lines, one line in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, BinaryIO

import msgspec

from processor.handlers.mismatch import mismatch
from processor.handlers.steps import Group, Step, group
from processor.options.value_formats import VALUE_FORMATS, ValueFormat
from processor.telemetry.printable import printable

LINE_BYTES = 64 * 1024 * 1024
"""The most bytes of a line; a longer one is a bad line. By default, no broker accepts a record of this size."""

REASON_LENGTH = 200

TOO_DEEP = "JSON that is nested too deeply"

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Planned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members that a line may have for each of its tasks, or for a group of tasks."""

    session_id: Annotated[str, msgspec.Meta(min_length=1)] = ""
    payload: Any = msgspec.UNSET
    name: str = ""
    headers: dict[str, str | None] | None = None
    priority: int = 0
    not_before: int | str | None = None
    """Epoch milliseconds or ISO 8601."""
    delay: float | None = None
    """Seconds from when it is sent."""
    expires: int | str | None = None
    expires_in: float | None = None


class FollowingTask(Planned, frozen=True, forbid_unknown_fields=True):
    """A task, or a group, that is sent once the one before it has succeeded; or a branch of a group."""

    topic: str | None = None
    """None is the topic of the one before it."""
    group: Sequence[FollowingTask] | None = None
    then: FollowingTask | None = None


class TaskLine(Planned, frozen=True, forbid_unknown_fields=True):
    """The content of one line."""

    id: str | None = None
    group: Sequence[FollowingTask] | None = None
    then: FollowingTask | None = None


class FollowingTextTask(FollowingTask, frozen=True, forbid_unknown_fields=True):
    """The same if the payload becomes the record's value unchanged; null is a record without a value."""

    payload: str | msgspec.UnsetType | None = msgspec.UNSET
    group: Sequence[FollowingTextTask] | None = None
    then: FollowingTextTask | None = None


class TextTaskLine(TaskLine, frozen=True, forbid_unknown_fields=True):
    """The same if the payload becomes the record's value unchanged; null is a record without a value."""

    payload: str | msgspec.UnsetType | None = msgspec.UNSET
    group: Sequence[FollowingTextTask] | None = None
    then: FollowingTextTask | None = None


OF_GROUPS = frozenset({"id", "group", "then", "expires", "expires_in"})
"""Members that a group may have. All others belong to its branches."""


def step_of(line: TaskLine) -> Step | Group:
    """Return the line's task or group, with all that follows from it."""
    return _with_following(replace(_step(line), id=line.id), line.then)


def _with_following(step: Step | Group, following: FollowingTask | None) -> Step | Group:
    while following is not None:
        step, following = step.then(_following(following)), following.then
    return step


def _following(task: FollowingTask) -> Step | Group:
    step = _step(task)
    return replace(step, topic=task.topic) if isinstance(step, Step) else step


def _step(task: TaskLine | FollowingTask) -> Step | Group:
    if task.group is not None:
        branches = [_with_following(_following(branch), branch.then) for branch in task.group]
        return group(branches, expires=task.expires, expires_in=task.expires_in)
    return Step(**{name: getattr(task, name) for name in Planned.__struct_fields__})


def fault_of(task: TaskLine | FollowingTask, place: str = "") -> str | None:
    """Return what is wrong with a task or a group beyond the types of its members; None if nothing is.

    Args:
        task: as it was read.
        place: the prefix of its members' names, such as `then.`.
    """
    fault = _own_fault(task, place)
    for index, branch in enumerate(task.group or ()):
        fault = fault or fault_of(branch, f"{place}group[{index}].")
    if task.then is not None:
        fault = fault or fault_of(task.then, f"{place}then.")
    return fault


def _own_fault(task: TaskLine | FollowingTask, place: str) -> str | None:
    if task.group is None:
        if not task.session_id:
            return f"{place}session_id is missing"
        return f"{place}payload is missing" if task.payload is msgspec.UNSET else None
    if not task.group:
        return f"{place}group must not be empty"
    defaults = type(task)()
    strange = next(
        (n for n in task.__struct_fields__ if n not in OF_GROUPS and getattr(task, n) != getattr(defaults, n)), None
    )
    return f"{place}{strange} is for a task, and beside {place}group there is none" if strange is not None else None


class BadLine(msgspec.Struct, frozen=True):
    """A line that is not a valid task, and why."""

    reason: str
    """The reason why it is not valid; printable and short, whatever the line contains."""


class TaskLines:
    """Reads lines. `number` and `bytes_read` are the position. Blank lines are skipped."""

    def __init__(self, stream: BinaryIO, value_format: ValueFormat) -> None:
        self._stream = stream
        kind = TextTaskLine if VALUE_FORMATS[value_format].takes_text else TaskLine
        self._decode: Callable[[bytes], TaskLine] = msgspec.json.Decoder(kind).decode
        self.number = 0
        self.bytes_read = 0

    def __iter__(self) -> Iterator[TaskLine | BadLine]:
        while line := self._stream.readline(LINE_BYTES):
            self.number += 1
            self.bytes_read += len(line)
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                self._pass_over()
                yield BadLine(f"longer than {LINE_BYTES // (1024 * 1024)} MB")
            elif not line.isspace():
                yield self._read(line)

    def _pass_over(self) -> None:
        """Drops the rest of a line piece by piece."""
        while piece := self._stream.readline(LINE_BYTES):
            self.bytes_read += len(piece)
            if piece.endswith(b"\n"):
                return

    def _read(self, line: bytes) -> TaskLine | BadLine:
        if self.number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            task = self._decode(line)
            fault = fault_of(task)
            return task if fault is None else BadLine(fault)
        except RecursionError:
            return BadLine(TOO_DEEP)
        except UnicodeDecodeError as caught:
            return BadLine(f"not UTF-8: {caught.reason}")
        except msgspec.ValidationError as caught:
            return BadLine(printable(mismatch(str(caught), "the line"), REASON_LENGTH))  # it may quote a member's name
        except msgspec.DecodeError as caught:
            return BadLine(_not_json(str(caught)))


def _not_json(complaint: str) -> str:
    """Return msgspec's message in words: `not valid JSON: trailing characters at byte 31`."""
    if complaint == "Input data was truncated":
        return "JSON that ends too early"
    reason = re.sub(r" \(byte (\d+)\)$", r" at byte \1", complaint.removeprefix("JSON is malformed: "))
    return printable(f"not valid JSON: {reason}", REASON_LENGTH)
