"""The headers that link tasks: `task-then` has the tasks that follow, `task-inputs` the results of the predecessors.

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
"""In a dead letter with the error `processor.DependencyFailed`: the ID of the dead-lettered task that it follows."""

JOIN: Final = "task-join"
"""On a branch of a group, and on its arrival: the join that it belongs to."""

BRANCH: Final = "task-branch"
"""On a branch: its number in the group, and the places of the tasks that it came from."""

ARRIVAL: Final = "task-arrival"
"""The same on an arrival, the record that reports the success of a branch. Its value is what the branch returned."""

JOINED: Final = "task-joined"
"""On the marker of a complete join: which join, and the places of the tasks of its branches."""

LINKS: Final = frozenset({THEN, INPUTS, AFTER, JOIN, BRANCH, ARRIVAL, JOINED})

MOST_BYTES: Final = 256 * 1024
"""The largest header of this kind. A record with both still has half of the 1 MiB that a topic takes by default
(`max.message.bytes`)."""

MOST_DIGITS: Final = 15
"""The most digits of a time in epoch milliseconds: enough up to the year 9999, the last one of ISO 8601 too."""

MOST_SECONDS: Final = 100_000_000_000
"""The longest time from now, some 3,000 years. As epoch milliseconds, its end has at most `MOST_DIGITS` digits."""

REASON_LENGTH: Final = 200

Seconds = Annotated[float, msgspec.Meta(ge=0, le=MOST_SECONDS)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=10**MOST_DIGITS)]
"""A time since the epoch, as in the header `task-expires`."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Planned(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A task that is to follow: the parts of its record that are known before its predecessor has succeeded.

    Or a group of branches, which has only `group`, `expires` and `expires_in`.
    """

    key: Text = ""
    """The session ID."""
    value: bytes | None = None
    headers: list[tuple[str, bytes | None]] = []
    topic: Text | None = None
    """None is the topic of its predecessor."""
    delay: Seconds | None = None
    """Seconds from when it is sent to its earliest start."""
    expires_in: Seconds | None = None
    """Seconds to its expiry, from when it is sent; for a group, from when the group begins."""
    group: Annotated[list[Plan], msgspec.Meta(min_length=1)] | None = None
    """The tasks of each branch, in order."""
    expires: Milliseconds | None = None
    """For a group: the time by which all its branches must have succeeded, in epoch milliseconds."""


Plan = Annotated[list[Planned], msgspec.Meta(min_length=1)]
"""The tasks that follow from a task, in order: each one follows from the one before it."""


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    json: Any = msgspec.UNSET
    base64: bytes | msgspec.UnsetType = msgspec.UNSET
    inputs: list[_Input] | msgspec.UnsetType = msgspec.UNSET
    """For a branch that is itself a group without a next step: the return values of its branches."""


_read_plan = msgspec.json.Decoder(Plan).decode
_read_inputs = msgspec.json.Decoder(list[_Input]).decode
_write = msgspec.json.Encoder().encode


def unmet(task_id: str) -> str:
    """Return the error message in the dead letter of a task whose predecessor has this ID."""
    return f"the task {task_id!r}, from which it follows, is a dead letter: replay that one, and this one follows"


def read_plan(value: bytes | None) -> list[Planned]:
    """Return the tasks that follow from a task, read from its header `task-then`.

    Raises:
        InvalidHeader: the header cannot be read.
    """
    plan: list[Planned] = read_header(THEN, _read_plan, value)
    check_plan(THEN, plan)
    return plan


def check_plan(name: str, plan: Sequence[Planned]) -> None:
    """Checks what the types of a plan do not express. `name` is the header that has the plan, for errors.

    Raises:
        InvalidHeader: a plan cannot be carried out.
    """
    for planned in plan:
        if (planned.group is None) is not bool(planned.key):
            raise InvalidHeader(f'the header {name}: each task must have one member, "key" or "group"')
        if planned.topic is not None:
            check_topic(name, planned.topic)
        if planned.delay is not None and planned.expires_in is not None and planned.delay > planned.expires_in:
            raise InvalidHeader(f"the header {name}: a task expires before its delay of {planned.delay:g} s is over")
        for branch in planned.group or ():
            check_plan(name, branch)


def check_topic(name: str, topic: str) -> None:
    """Checks a topic that the header `name` contains.

    Raises:
        InvalidHeader: no topic can have this name.
    """
    if (fault := topic_fault(topic)) is not None:
        raise InvalidHeader(f"the header {name}: the topic {printable(fault, REASON_LENGTH)}")


def write_plan(plan: Sequence[Planned]) -> bytes:
    """Return the header `task-then`.

    Raises:
        EncodeError: it is too large, or could not be read again.
    """
    try:
        written = bounded(_write(plan), "what follows from the task is too large")
        read_plan(written)
    except UnicodeEncodeError as error:
        raise EncodeError(f"what follows from the task is not valid UTF-8: {error.reason}") from None
    except InvalidHeader as error:
        raise EncodeError(f"what follows from the task cannot be written: {error}") from None
    return written


def read_inputs(value: bytes | None) -> list[Any]:
    """Return the return values of a task's predecessors, read from its header `task-inputs`.

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
    """Return the header `task-inputs` of a task with several predecessors, from the `write_input` of each.

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
    """Return `written`, the value of a header, unchanged.

    Raises:
        EncodeError: it is too large; the message is `complaint`.
    """
    if len(written) > MOST_BYTES:
        raise EncodeError(f"{complaint}: {len(written):,} bytes in its header, which may have {MOST_BYTES:,}")
    return written


def read_header(name: str, decode: Any, value: bytes | None) -> Any:
    """Return the decoded value of a header.

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
