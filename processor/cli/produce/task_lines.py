"""`TaskLines`, the tasks of a file of JSON Lines, one line in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any, BinaryIO

import msgspec

from processor.handlers.mismatch import mismatch
from processor.handlers.steps import Step
from processor.options.values import ValueFormat
from processor.telemetry.printable import printable

LINE_BYTES = 64 * 1024 * 1024
"""A longer line is a bad one. No broker accepts a record of this size by default."""

REASON_LENGTH = 200

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Planned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a line says of each of its tasks."""

    session_id: Annotated[str, msgspec.Meta(min_length=1)]
    payload: Any
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
    """A task that is sent once the one before it has succeeded."""

    topic: str | None = None
    """None is the topic of the one before it."""
    then: FollowingTask | None = None


class TaskLine(Planned, frozen=True, forbid_unknown_fields=True):
    """What one line says."""

    id: str | None = None
    then: FollowingTask | None = None


class FollowingTextTask(FollowingTask, frozen=True, forbid_unknown_fields=True):
    """The same where the payload becomes the record's value as it is; null is a record without a value."""

    payload: str | None
    then: FollowingTextTask | None = None


class TextTaskLine(TaskLine, frozen=True, forbid_unknown_fields=True):
    """The same where the payload becomes the record's value as it is; null is a record without a value."""

    payload: str | None
    then: FollowingTextTask | None = None


def step_of(line: TaskLine) -> Step:
    """Return the line's task, with all that follow from it."""
    step, following = replace(_step(line), id=line.id), line.then
    while following is not None:
        step, following = step.then(replace(_step(following), topic=following.topic)), following.then
    return step


def _step(task: Planned) -> Step:
    return Step(**{name: getattr(task, name) for name in Planned.__struct_fields__})


class BadLine(msgspec.Struct, frozen=True):
    """A line that is not a valid task, and why."""

    reason: str
    """Printable and short, whatever the line holds."""


class TaskLines:
    """Reads lines; `number` and `bytes_read` tell how far it is. Blank lines are passed over."""

    def __init__(self, stream: BinaryIO, value_format: ValueFormat) -> None:
        self._stream = stream
        kind = TextTaskLine if value_format == "bytes" else TaskLine
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
            return self._decode(line)
        except RecursionError:
            return BadLine("JSON that is nested too deeply")
        except UnicodeDecodeError as caught:
            return BadLine(f"not UTF-8: {caught.reason}")
        except msgspec.ValidationError as caught:
            return BadLine(printable(mismatch(str(caught), "the line"), REASON_LENGTH))  # it may quote a member's name
        except msgspec.DecodeError as caught:
            return BadLine(_not_json(str(caught)))


def _not_json(complaint: str) -> str:
    """Msgspec's complaint in words: `not valid JSON: trailing characters at byte 31`."""
    if complaint == "Input data was truncated":
        return "JSON that ends too early"
    reason = re.sub(r" \(byte (\d+)\)$", r" at byte \1", complaint.removeprefix("JSON is malformed: "))
    return printable(f"not valid JSON: {reason}", REASON_LENGTH)
