"""Checks whether a task or a join is cancelled, and the exception that is raised instead of calling its handler."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from processor.engine.assignment import Assignment
from processor.engine.cancels import Cancel, Cancels
from processor.engine.record import Record
from processor.handlers.joins import NAME
from processor.handlers.links import JOIN, JOINED
from processor.handlers.task import NO_CONTENT, REPLAYS, Task, identity_of

P = TypeVar("P", bound=Hashable)


class CancelledTask(Exception):
    """An operator has cancelled the task. Raised instead of calling its handler."""

    def __init__(self, cancel: Cancel, task: Task) -> None:
        super().__init__()
        self.cancel = cancel
        self.task = task


def cancel_of(cancels: Cancels, task: Task) -> Cancel | None:
    """Return the cancellation that covers the task; None if none does."""
    key = task._record.key()
    if not cancels.may_cover(key):
        return None
    replayed_at = task.timestamp if REPLAYS in task.headers else None
    return cancels.of_session(key, task.name, task.timestamp) or cancels.of_id(task.id, replayed_at)


def cancel_of_join(cancels: Cancels, record: Record) -> Cancel | None:
    """Return the cancellation that covers a record of a join; None if none does.

    An arrival is cancelled with the task that would follow from its join, not with its branch, which has succeeded. The
    record by which a group begins has the group's ID. A marker is never cancelled: what follows was sent already.
    """
    key = record.key()
    if key is None or not cancels.may_cover(key):
        return None
    names = {name for name, _ in record.headers() or ()}
    if JOINED in names:
        return None
    subject = key.decode("utf-8", "backslashreplace") if JOIN in names else identity_of(record, NO_CONTENT).id
    kind, milliseconds = record.timestamp()
    timestamp = milliseconds if kind else -1
    replayed_at = timestamp if REPLAYS in names else None
    return cancels.of_session(key, NAME, timestamp) or cancels.of_id(subject, replayed_at)


def recall_joins(assignment: Assignment[P], cancels: Cancels) -> None:
    """Refuses joins that are cancelled, so that workers get their arrivals again and settle them. Under the lock."""
    for ledger, joins in list(assignment.joining()):
        for identity, join in list(joins.open.items()):
            is_named = not join.is_ending and cancels.names(identity[0])
            if is_named and any(cancel_of_join(cancels, record) is not None for record in join.kept.values()):
                assignment.refuse(ledger, identity, None)
