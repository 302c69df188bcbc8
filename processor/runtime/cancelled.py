"""Whether a task is cancelled, and what is raised instead of calling its handler."""

from __future__ import annotations

from processor.engine.cancels import Cancel, Cancels
from processor.handlers.task import Task


class CancelledTask(Exception):
    """An operator has cancelled the task. Raised instead of calling its handler."""

    def __init__(self, cancel: Cancel, task: Task) -> None:
        super().__init__()
        self.cancel = cancel
        self.task = task


def cancel_of(cancels: Cancels, task: Task) -> Cancel | None:
    """Return the cancellation that covers the task; None where none does."""
    key = task._record.key()
    if not cancels.may_cover(key):
        return None
    return cancels.of_session(key, task.name, task.timestamp) or cancels.of_id(task.id)
