"""The records that follow from a task. If it succeeds: the next task of its chain, the branches of a group, or an
arrival at a join. If it becomes a dead letter: dead letters of all tasks that were to follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from processor.engine.record import Headers, Record
from processor.engine.terms import Terms
from processor.handlers.exceptions import InvalidHeader
from processor.handlers.joins import (
    NAME,
    Arrival,
    Branch,
    Join,
    Path,
    merged,
    place_of,
    read_branch,
    read_join,
    write_branch,
    write_join,
    write_joined,
)
from processor.handlers.links import (
    AFTER,
    ARRIVAL,
    BRANCH,
    INPUTS,
    JOIN,
    JOINED,
    THEN,
    Planned,
    join_inputs,
    read_plan,
    write_input,
    write_inputs,
    write_plan,
)
from processor.handlers.task import Task
from processor.handlers.terms import EXPIRES, headers_for_terms
from processor.runtime.ports import OutputRecord

TRACE: Final = ("traceparent", "tracestate")
"""A task that follows belongs to the trace of its predecessor, unless its producer has given it one. The state belongs
to the parent, so it is not taken without it."""


class Origin(NamedTuple):
    """What all records that follow from one record have in common."""

    topic: str
    """The topic that they are sent to, unless one has its own."""
    run: str
    """The place of the record that they follow from, as TOPIC-PARTITION-OFFSET."""
    trace: Headers
    partition: int
    """The partition of that record. Joins wait there."""
    join: Join | None = None
    """The join at the end of their branch; None if they are not part of one."""
    branch: Branch | None = None


class Came(NamedTuple):
    """A branch that has arrived at its join."""

    value: bytes
    """Its return value, as one member of the header `task-inputs`."""
    path: Path


def is_followed(terms: Mapping[int, Terms], record: Record) -> bool:
    """Return whether another task follows from this one. `terms` are those of its partition, by offset."""
    own = terms.get(record.offset()) if terms else None
    return own is not None and own.followed


def next_records(task: Task, value: Any, *, may_repeat: bool) -> list[OutputRecord]:
    """Return what follows from a task that returned `value`: one record, or one for each branch of a group.

    Args:
        task: a task whose headers link it with others.
        value: what the handler returned.
        may_repeat: whether the task may run again although these records were sent; False with exactly-once.

    Raises:
        EncodeError: the value cannot be put into a header, or what follows is too large for one.
    """
    record = task._record
    headers = dict(record.headers() or ())
    span = task._span.trace.headers if task._span is not None else headers.items()
    join = branch = None
    if JOIN in headers:
        join = read_join(headers[JOIN])
        branch = read_branch(join, headers[BRANCH])
        if may_repeat:
            branch = Branch(branch.index, merged([branch.path, place_of(record)]))
    trace = [pair for pair in span if pair[0] in TRACE]
    origin = Origin(record.topic(), _run(record), trace, record.partition(), join, branch)
    if THEN in headers:
        return list(begin(origin, read_plan(headers[THEN]), f"{task.id}/1", write_inputs([value])))
    return [_arrival(origin, task.id, write_input(value))]


def first_records(record: Record, plan: Sequence[Planned], record_id: str) -> list[OutputRecord]:
    """Return the records by which the group begins that was submitted as `record`.

    Raises:
        EncodeError: what follows from the group is too large for a header.
    """
    return list(begin(_plain_origin(record), plan, record_id, None))


def joined_records(record: Record, arrival: Arrival, came: Sequence[Came]) -> list[OutputRecord]:
    """Return what follows from a join that an arrival completes, and then the marker of the complete join.

    The marker comes last: after a crash between the two, the join is completed again. There is no marker if no branch
    can run again.

    Args:
        record: the last arrival.
        arrival: the same, decoded.
        came: all branches, in their order.

    Raises:
        EncodeError: what the branches returned is too large for a header.
    """
    join = arrival.join
    path = merged(each.path for each in came)
    branch = None if join.branch is None else Branch(join.branch.index, merged([join.branch.path, path]))
    origin = _plain_origin(record)._replace(join=join.outer, branch=branch)
    inputs = join_inputs([each.value for each in came])
    if join.then:
        records = list(begin(origin, join.then, join.id, inputs))
    else:
        records = [_arrival(origin, join.id, b'{"inputs":%b}' % inputs)]
    if path:
        marker: Headers = [("task-name", NAME.encode()), (JOINED, write_joined(join, path))]
        records.append(OutputRecord(record.topic(), record.key(), None, marker, record.partition()))
    return records


def begin(origin: Origin, plan: Sequence[Planned], first_id: str, inputs: bytes | None) -> Iterator[OutputRecord]:
    """Yield the records by which a plan begins: one, or one for each branch of its group.

    Args:
        origin: what the records have in common.
        plan: tasks and groups, in the order in which they follow each other.
        first_id: the ID of the first task or group.
        inputs: the header `task-inputs` of the tasks that begin.

    Raises:
        EncodeError: what follows is too large for a header.
    """
    first, *later = plan
    if first.group is None:
        yield _task(origin, first, later, first_id, inputs)
        return
    for index, branch in enumerate(first.group):
        part = origin._replace(join=None, branch=None)
        if later or origin.join is not None:
            join = Join(
                f"{first_id}/then",
                origin.run,
                origin.topic,
                len(first.group),
                later,
                _end_of(first),
                origin.join,
                origin.branch,
                origin.partition,
            )
            part = origin._replace(join=join, branch=Branch(index, origin.branch.path if origin.branch else {}))
        yield from begin(part, branch, f"{first_id}/{index + 1}", inputs)


def unmet_records(record: Record, task_id: str) -> Iterator[OutputRecord]:
    """Yield a record for each task that was to follow from a dead-lettered one: these become dead letters as well.

    None of these records runs itself: on a replay of all dead letters, the first task runs, and the others follow from
    it. So each task runs once, after its predecessor.
    """
    headers = dict(record.headers() or ())
    try:
        plan = read_plan(headers[THEN]) if THEN in headers else []
        join = read_join(headers[JOIN]) if JOIN in headers else None
    except InvalidHeader:  # then what was to follow is unknown; the task is a dead letter for this reason, or would be
        return
    after = (AFTER, task_id.encode("utf-8", "backslashreplace"))
    planned = list(_named(plan, task_id if ARRIVAL in headers else f"{task_id}/1"))
    while join is not None:
        planned += _named(join.then, join.id)
        join = join.outer
    for each, name in planned:
        links: Headers = [("task-id", name.encode("utf-8", "backslashreplace")), after]
        yield OutputRecord(each.topic or record.topic(), each.key.encode(), each.value, [*each.headers, *links])


def _named(plan: Sequence[Planned], name: str) -> Iterator[tuple[Planned, str]]:
    """Yield each task of a plan with its ID. `name` is the ID of the first task or group."""
    for planned in plan:
        if planned.group is None:
            yield planned, name
            name += "/1"
        else:
            for index, branch in enumerate(planned.group):
                yield from _named(branch, f"{name}/{index + 1}")
            name += "/then"


def _task(
    origin: Origin, planned: Planned, later: Sequence[Planned], task_id: str, inputs: bytes | None
) -> OutputRecord:
    links: Headers = [("task-id", task_id.encode("utf-8", "backslashreplace"))]
    if inputs is not None:
        links.append((INPUTS, inputs))
    if later:
        links.append((THEN, write_plan(later)))
    if origin.join is not None and origin.branch is not None:
        links += [(JOIN, write_join(origin.join)), (BRANCH, write_branch(origin.branch))]
    terms = headers_for_terms(delay=planned.delay, expires_in=planned.expires_in)
    own = {name for name, _ in planned.headers}
    trace = [] if TRACE[0] in own else [(name, value) for name, value in origin.trace if name not in own]
    headers = [*planned.headers, *trace, *terms, *links]
    return OutputRecord(planned.topic or origin.topic, planned.key.encode(), planned.value, headers)


def _arrival(origin: Origin, branch_id: str, value: bytes) -> OutputRecord:
    """Return the arrival of the branch of `origin`, which has succeeded."""
    join, branch = origin.join, origin.branch
    assert join is not None
    assert branch is not None
    headers: Headers = [
        ("task-name", NAME.encode()),
        ("task-id", branch_id.encode("utf-8", "backslashreplace")),
        *origin.trace,
        (JOIN, write_join(join)),
        (ARRIVAL, write_branch(branch)),
    ]
    if join.expires is not None:
        headers.append((EXPIRES, str(join.expires).encode()))
    key = join.id.encode("utf-8", "backslashreplace")
    return OutputRecord(join.topic, key, value, headers, join.partition)


def _plain_origin(record: Record) -> Origin:
    trace = [pair for pair in record.headers() or () if pair[0] in TRACE]
    return Origin(record.topic(), _run(record), trace, record.partition())


def _run(record: Record) -> str:
    return f"{record.topic()}-{record.partition()}-{record.offset()}"


def _end_of(group: Planned) -> int | None:
    """Return the time by which all branches of a group that begins now must have succeeded, in epoch milliseconds."""
    if group.expires_in is None:
        return group.expires
    ((_, value),) = headers_for_terms(expires_in=group.expires_in)
    return int(value or b"0")
