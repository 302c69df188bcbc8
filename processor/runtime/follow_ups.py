"""What follows from a task: the next one of its chain where it succeeds, and dead letters of all of them where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from processor.engine.record import Headers, Record
from processor.engine.terms import Terms
from processor.handlers.links import AFTER, INPUTS, THEN, Planned, read_plan, write_inputs, write_plan
from processor.handlers.task import InvalidHeader, Task
from processor.handlers.terms import headers_for_terms
from processor.runtime.ports import OutputRecord

TRACE: Final = ("traceparent", "tracestate")
"""A task that follows belongs to the trace of its predecessor, unless its producer has given it one."""


def is_followed(terms: Mapping[int, Terms], record: Record) -> bool:
    """Return whether another task follows from this one. `terms` are those of its partition, by offset."""
    own = terms.get(record.offset()) if terms else None
    return own is not None and own.followed


def next_record(task: Task, value: Any) -> OutputRecord:
    """Return the record of the task that follows from one that returned `value`.

    Raises:
        EncodeError: the value cannot be carried by a header.
    """
    record = task._record
    headers = dict(record.headers() or ())
    planned, *later = read_plan(headers[THEN])
    links: Headers = [("task-id", f"{task.id}/1".encode("utf-8", "backslashreplace")), (INPUTS, write_inputs([value]))]
    if later:
        links.append((THEN, write_plan(later)))
    terms = headers_for_terms(delay=planned.delay, expires_in=planned.expires_in)
    own = {name for name, _ in planned.headers}
    span = task._span.trace.headers if task._span is not None else headers.items()
    trace = [(name, value) for name, value in span if name in TRACE and name not in own]
    return _sent(planned, record, [*planned.headers, *trace, *terms, *links])


def unmet_records(record: Record, task_id: str) -> Iterator[OutputRecord]:
    """Yield a record for each task that was to follow from a dead-lettered one, to be a dead letter as well.

    None of them can run, so that a replay of everything runs each task once: after its predecessor.
    """
    headers = dict(record.headers() or ())
    try:
        plan = read_plan(headers[THEN]) if THEN in headers else []
    except InvalidHeader:  # it is why the task is a dead letter, or would have been
        return
    after = (AFTER, task_id.encode("utf-8", "backslashreplace"))
    name = task_id
    for planned in plan:
        name += "/1"
        links: Headers = [("task-id", name.encode("utf-8", "backslashreplace")), after]
        yield _sent(planned, record, [*planned.headers, *links])


def _sent(planned: Planned, after: Record, headers: Headers) -> OutputRecord:
    return OutputRecord(planned.topic or after.topic(), planned.key.encode(), planned.value, headers)
