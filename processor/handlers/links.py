"""The headers that link tasks: `task-then`, what follows from a task, `task-inputs`, what its predecessors returned.

Both are JSON in UTF-8, with bytes in base64, so that every language can write and read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from processor.errors import EncodeError
from processor.handlers.exceptions import InvalidHeader
from processor.handlers.mismatch import mismatch
from processor.options.names import topic_fault
from processor.telemetry.printable import printable

THEN: Final = "task-then"
INPUTS: Final = "task-inputs"
AFTER: Final = "task-after"
"""In a dead letter `processor.DependencyFailed`: the ID of the dead-lettered task that it was to follow."""

JOIN: Final = "task-join"
"""Of a branch of a group, and of its arrival: the join that it belongs to."""

BRANCH: Final = "task-branch"
"""Of a branch: which one it is, and which tasks it came from."""

ARRIVAL: Final = "task-arrival"
"""The same of an arrival: a record that says that a branch has succeeded. Its value is what the branch returned."""

JOINED: Final = "task-joined"
"""Of a record that says that a join is complete: which one, and which tasks its branches came from."""

LINKS: Final = frozenset({THEN, INPUTS, AFTER, JOIN, BRANCH, ARRIVAL, JOINED})

MOST_BYTES: Final = 256 * 1024
"""Of each of these headers. A record with both has half of the 1 MiB left that a topic takes by default
(`max.message.bytes`)."""

MOST_SECONDS: Final = 1e11
"""Of a delay: over three thousand years. With it, a time in epoch milliseconds has at most 15 digits."""

REASON_LENGTH: Final = 200

Seconds = Annotated[float, msgspec.Meta(ge=0, le=MOST_SECONDS)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Planned(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A task that is to follow: its record, without what is known only when its predecessor has succeeded.

    Or a group of branches, with nothing but `group`, `expires` and `expires_in`.
    """

    key: Text = ""
    """The session ID."""
    value: bytes | None = None
    headers: list[tuple[str, bytes | None]] = []
    topic: Text | None = None
    """None is the topic of its predecessor."""
    delay: Seconds | None = None
    """From when it is sent."""
    expires_in: Seconds | None = None
    """From when it is sent; of a group, from when it begins."""
    group: Annotated[list[Plan], msgspec.Meta(min_length=1)] | None = None
    """What each branch consists of, in order."""
    expires: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Of a group: until when its branches must have succeeded, in epoch milliseconds."""


Plan = Annotated[list[Planned], msgspec.Meta(min_length=1)]
"""What follows from a task, in order: each from the one before."""


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    json: Any = msgspec.UNSET
    base64: bytes | msgspec.UnsetType = msgspec.UNSET
    inputs: list[_Input] | msgspec.UnsetType = msgspec.UNSET
    """Of a branch that is a group from which nothing follows: what its branches returned."""


_read_plan = msgspec.json.Decoder(Plan).decode
_read_inputs = msgspec.json.Decoder(list[_Input]).decode
_write = msgspec.json.Encoder().encode


def unmet(task_id: str) -> str:
    """Return what the dead letter says of a task that was to follow from the one with this ID."""
    return f"the task {task_id!r}, from which it follows, is a dead letter: replay that one, and this one follows"


def read_plan(value: bytes | None) -> list[Planned]:
    """Return what follows from a task, by its header `task-then`.

    Raises:
        InvalidHeader: the header cannot be read.
    """
    plan: list[Planned] = read_header(THEN, _read_plan, value)
    check_plan(THEN, plan)
    return plan


def check_plan(name: str, plan: Sequence[Planned]) -> None:
    """Checks what the types of a plan in the header `name` do not say.

    Raises:
        InvalidHeader: a plan cannot be carried out.
    """
    for planned in plan:
        if (planned.group is None) is not bool(planned.key):
            raise InvalidHeader(f'the header {name}: each task must have one member, "key" or "group"')
        if planned.topic is not None and (fault := topic_fault(planned.topic)) is not None:
            raise InvalidHeader(f"the header {name}: the topic {printable(fault, REASON_LENGTH)}")
        for branch in planned.group or ():
            check_plan(name, branch)


def write_plan(plan: Sequence[Planned]) -> bytes:
    """Return the header `task-then`.

    Raises:
        EncodeError: it is too large, or could not be read again.
    """
    written = bounded(_write(plan), "what follows from the task is too large")
    try:
        read_plan(written)
    except InvalidHeader as error:
        raise EncodeError(f"what follows from the task cannot be written: {error}") from None
    return written


def read_inputs(value: bytes | None) -> list[Any]:
    """Return what the predecessors of a task returned, by its header `task-inputs`.

    Raises:
        InvalidHeader: the header cannot be read.
    """
    inputs: list[_Input] = read_header(INPUTS, _read_inputs, value)
    return list(map(_value_of, inputs))


def _value_of(given: _Input) -> Any:
    members = [value for value in (given.json, given.base64) if value is not msgspec.UNSET]
    if given.inputs is not msgspec.UNSET:
        members.append(list(map(_value_of, given.inputs)))
    if len(members) != 1:
        raise InvalidHeader(f'the header {INPUTS}: each input must have one member, "json" or "base64"')
    return members[0]


def write_inputs(values: Sequence[Any]) -> bytes:
    """Return the header `task-inputs`: bytes as they are, every other value as JSON.

    Raises:
        EncodeError: a value has no JSON form, or the header is too large.
    """
    try:
        written = _write([{"base64" if isinstance(value, BYTES) else "json": value} for value in values])
    except RecursionError:
        raise EncodeError("what the handler returned is nested too deeply for JSON, or contains itself") from None
    except Exception as error:
        raise EncodeError(f"what the handler returned cannot be an input of the next task: {error}") from error
    return bounded(written, "what the handler returned is too large to be an input of the next task")


def join_inputs(written: Sequence[bytes]) -> bytes:
    """Return the header `task-inputs` of the task that follows several, from what each has written with `write_input`.

    Raises:
        EncodeError: the header is too large.
    """
    return bounded(b"[" + b",".join(written) + b"]", "what the branches returned is too large to be inputs of a task")


def write_input(value: Any) -> bytes:
    """Return one member of the header `task-inputs`, the value of an arrival.

    Raises:
        EncodeError: the value has no JSON form, or is too large.
    """
    return write_inputs([value])[1:-1]


BYTES: Final = (bytes, bytearray, memoryview)


def bounded(written: bytes, complaint: str) -> bytes:
    """Return what was written for a header.

    Raises:
        EncodeError: it is too large.
    """
    if len(written) > MOST_BYTES:
        raise EncodeError(f"{complaint}: {len(written):,} bytes in its header, which may have {MOST_BYTES:,}")
    return written


def read_header(name: str, decode: Any, value: bytes | None) -> Any:
    """Return what a header holds.

    Raises:
        InvalidHeader: it has no value, is too large, or cannot be decoded.
    """
    if value is None:
        raise InvalidHeader(f"the header {name} has no value")
    if len(value) > MOST_BYTES:
        raise InvalidHeader(f"the header {name} has {len(value):,} bytes, and may have {MOST_BYTES:,}")
    try:
        return decode(value)
    except RecursionError:
        reason = "nested too deeply"
    except msgspec.ValidationError as error:  # it may quote a member's name
        reason = mismatch(str(error), "it")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason}"
    except msgspec.DecodeError as error:
        reason = str(error)
    raise InvalidHeader(f"the header {name} cannot be read: {printable(reason, REASON_LENGTH)}")
