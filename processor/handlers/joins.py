"""The headers of a join: `task-join` and `task-branch` of a branch, `task-arrival` and `task-joined` of its records.

A group begins with one record for each branch. A branch that has succeeded sends an *arrival*, whose key is the ID of
the join. When all arrivals are there, what follows is sent, and a *marker* after it: a branch that runs again after a
crash arrives again, and the marker says that the join is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from processor.engine.record import Record
from processor.handlers.exceptions import InvalidHeader
from processor.handlers.links import (
    ARRIVAL,
    BRANCH,
    JOIN,
    JOINED,
    MOST_BYTES,
    THEN,
    Milliseconds,
    Planned,
    Text,
    bounded,
    check_plan,
    check_topic,
    read_header,
    read_inputs,
    read_plan,
)
from processor.options.names import LARGEST_PARTITION

NAME: Final = "processor.join"
"""The name of arrivals and markers."""

LONGEST_RUN: Final = 300
"""More characters than any TOPIC-PARTITION-OFFSET has: Python refuses to read a number of several thousand digits."""

Path = dict[str, dict[int, list[int]]]
"""Places of tasks: offsets by partition by topic."""


class Join(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The point at which the branches of a group meet, and what follows."""

    id: Text
    """The key of its arrivals, and the ID of what follows."""
    run: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_RUN)]
    """The place of the record by which the group began: a group that is begun twice has two joins."""
    topic: Text
    """The topic of its arrivals."""
    of: Annotated[int, msgspec.Meta(ge=1, le=MOST_BYTES)]
    """The number of branches. All of them were in one header. Those that are missing are listed in memory."""
    then: list[Planned] = []
    """The tasks that follow. If there are none, the join is the end of a branch of `outer`."""
    expires: Milliseconds | None = None
    """The time by which it must be complete, in epoch milliseconds."""
    outer: Join | None = None
    """The enclosing join, if this group is part of a branch of another group."""
    branch: Branch | None = None
    """The branch of `outer` that what follows belongs to."""
    partition: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_PARTITION)] | None = None
    """The partition of its arrivals: that of the record by which the group began, so that they meet even if the topic
    grows. None is the partition of their key."""


class Branch(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One branch of a join."""

    index: Annotated[int, msgspec.Meta(ge=0)] = 0
    path: Path = {}
    """The tasks of the branch that have succeeded. Each may run again until the consumer group has committed it."""


class Joined(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A join that is complete."""

    id: Text
    run: Text
    path: Path = {}
    """The tasks of all branches."""


class Arrival(msgspec.Struct, frozen=True):
    """A record of a join, as it was read."""

    join: Join
    branch: Branch


class Start(msgspec.Struct, frozen=True):
    """The record by which a group that was submitted begins."""

    plan: list[Planned]


_read_join = msgspec.json.Decoder(Join).decode
_read_branch = msgspec.json.Decoder(Branch).decode
_read_joined = msgspec.json.Decoder(Joined).decode
_write = msgspec.json.Encoder().encode


def read_join(value: bytes | None) -> Join:
    """Return the join of the header `task-join`.

    Raises:
        InvalidHeader: the header cannot be read.
    """
    join: Join = read_header(JOIN, _read_join, value)
    check_plan(JOIN, join.then)
    for each in _with_outer(join):
        check_topic(JOIN, each.topic)
    if (join.outer is None) is not (join.branch is None):
        raise InvalidHeader(f"the header {JOIN}: outer and branch belong together")
    if not join.then and join.outer is None:
        raise InvalidHeader(f"the header {JOIN}: nothing follows from the join")
    return join


def _with_outer(join: Join | None) -> Iterator[Join]:
    """Yield a join and those that enclose it."""
    while join is not None:
        yield join
        join = join.outer


def write_join(join: Join) -> bytes:
    """Return the header `task-join`.

    Raises:
        EncodeError: it is too large.
    """
    return bounded(_write(join), "what follows from the group is too large")


def read_branch(join: Join, value: bytes | None, name: str = BRANCH) -> Branch:
    """Return the branch of the join that the header `task-branch` names, or the header `name`.

    Raises:
        InvalidHeader: the header cannot be read.
    """
    branch: Branch = read_header(name, _read_branch, value)
    if branch.index >= join.of:
        raise InvalidHeader(
            f"the header {name}: the join has {join.of} branches, and none with the index {branch.index}"
        )
    return branch


def write_branch(branch: Branch) -> bytes:
    """Return the header `task-branch`, or `task-arrival`.

    Raises:
        EncodeError: it is too large.
    """
    return bounded(_write(branch), "a branch of a group consists of too many tasks")


def write_joined(join: Join, path: Path) -> bytes:
    """Return the header `task-joined`.

    Raises:
        EncodeError: it is too large.
    """
    return bounded(_write(Joined(join.id, join.run, path)), "a group consists of too many tasks")


def read_arrival(record: Record) -> Arrival | Joined | Start:
    """Return the content of a record that has the header `task-arrival` or `task-joined`.

    Raises:
        InvalidHeader: the header, or the value of an arrival, cannot be read.
    """
    found = dict(record.headers() or ())
    if JOINED in found:
        joined: Joined = read_header(JOINED, _read_joined, found[JOINED])
        return joined
    if JOIN not in found:
        if THEN not in found:
            raise InvalidHeader(f"the header {ARRIVAL} without {JOIN} or {THEN}")
        return Start(read_plan(found[THEN]))
    join = read_join(found[JOIN])
    branch = read_branch(join, found[ARRIVAL], ARRIVAL)
    returned_by(record)
    return Arrival(join, branch)


def is_of_join(record: Record) -> bool:
    """Return whether a record is an arrival or a marker of a join, and not a task."""
    return any(name in (ARRIVAL, JOINED) for name, _ in record.headers() or ())


def returned_by(record: Record) -> Any:
    """Return the return value of the branch whose arrival this record is; None for a record without a value.

    Raises:
        InvalidHeader: the value is not a member of the header `task-inputs`.
    """
    value = record.value()
    if value is None:
        return None
    try:
        (returned,) = read_inputs(b"[%b]" % value)
    except ValueError:
        raise InvalidHeader("the value of an arrival must be one member of the header task-inputs") from None
    except InvalidHeader as error:
        raise InvalidHeader(f"the value of an arrival: {error}") from None
    return returned


def check_branch(found: Mapping[str, bytes | None]) -> None:
    """Checks the headers of a task that is a branch, or a part of one, before it begins.

    Raises:
        InvalidHeader: one of them is missing, or cannot be read.
    """
    if (JOIN in found) is not (BRANCH in found):
        raise InvalidHeader(f"of the headers {JOIN} and {BRANCH} there is only one")
    if JOIN in found:
        read_branch(read_join(found[JOIN]), found[BRANCH])


def merged(paths: Iterable[Path]) -> Path:
    """Return the union of these paths, with the offsets in ascending order."""
    found: dict[str, dict[int, set[int]]] = {}
    for path in paths:
        for topic, partitions in path.items():
            for partition, offsets in partitions.items():
                found.setdefault(topic, {}).setdefault(partition, set()).update(offsets)
    return {topic: {number: sorted(at) for number, at in places.items()} for topic, places in found.items()}


def place_of(record: Record) -> Path:
    """Return the path that contains only this task."""
    return {record.topic(): {record.partition(): [record.offset()]}}
