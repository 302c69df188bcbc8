"""`Cancels`: which tasks an operator has cancelled."""

from __future__ import annotations

from typing import Literal, NamedTuple


class CancelTarget(NamedTuple):
    """The target of a cancellation: a task, or the tasks of a session."""

    kind: Literal["task", "session"]
    text: str
    """The task's ID, or the session's key as text."""
    name: str | None = None
    """Only the tasks of the session with this name; None for all of them."""


class Cancel(NamedTuple):
    """The time and the author of a cancellation, and the outcome of its tasks. Times are in milliseconds since the
    epoch.

    The cancellation of a session covers its tasks that were produced until `since`. The cancellation of a task covers
    every record with the task's ID, even one that is produced later, such as a task that follows another one. It does
    not cover a replay after `since`.
    """

    since: int
    by: str
    until: int
    """When it ends: consumers look for its tasks until then."""
    dead_letter: bool = False
    """Whether the cancelled tasks become dead letters."""


class Cancels:
    """The cancellations that are in force.

    Not thread-safe: changes need one lock around each call. Reads need none.
    """

    def __init__(self) -> None:
        self.in_force: dict[CancelTarget, Cancel] = {}
        self._by_id: dict[str, Cancel] = {}
        self._by_session: dict[str, dict[str | None, Cancel]] = {}

    def begin(self, target: CancelTarget, cancel: Cancel) -> bool:
        """Cancel the target's tasks. Return whether this is new: a consumer may read the same record twice."""
        is_new = self.in_force.get(target) != cancel
        self.in_force[target] = cancel
        if target.kind == "task":
            self._by_id[target.text] = cancel
        else:
            self._by_session.setdefault(target.text, {})[target.name] = cancel
        return is_new

    def end(self, target: CancelTarget) -> bool:
        """End the target's cancellation. Return whether it was in force."""
        if self.in_force.pop(target, None) is None:
            return False
        if target.kind == "task":
            del self._by_id[target.text]
        else:
            of_session = self._by_session[target.text]
            del of_session[target.name]
            if not of_session:
                del self._by_session[target.text]
        return True

    def ended(self, epoch: float) -> list[CancelTarget]:
        """Return the targets whose cancellation is over at `epoch`, in seconds since the epoch."""
        return [target for target, cancel in list(self.in_force.items()) if cancel.until <= epoch * 1000]

    def may_cover(self, key: bytes | None) -> bool:
        """Return whether any task with this record key may be cancelled."""
        return bool(self._by_id) or (bool(self._by_session) and key is not None and _text(key) in self._by_session)

    def names(self, text: str) -> bool:
        """Return whether a cancellation is about the task with this ID, or the session with this key."""
        return text in self._by_id or text in self._by_session

    def of_id(self, task_id: str, replayed_at: int | None = None) -> Cancel | None:
        """Return the cancellation of this task ID if it covers the task, else None.

        Args:
            task_id: the task's.
            replayed_at: when `processor dlq replay` sent its record, in milliseconds since the epoch; None if it was
                not replayed, -1 if its record has no time. A replay after the cancellation is meant to run.
        """
        cancel = self._by_id.get(task_id)
        if cancel is not None and replayed_at is not None and replayed_at > cancel.since:
            return None
        return cancel

    def of_session(self, key: bytes | None, name: str, timestamp: int) -> Cancel | None:
        """Return the cancellation of the task's session if it covers the task, else None.

        Args:
            key: the record's; a record without a key belongs to no session.
            name: the task's.
            timestamp: the record's, in milliseconds since the epoch; -1 if it has none, and then none covers it.
        """
        of_session = self._by_session.get(_text(key)) if key is not None and self._by_session else None
        if of_session is None:
            return None
        cancels = (of_session.get(None), of_session.get(name))
        return next((cancel for cancel in cancels if cancel is not None and 0 <= timestamp <= cancel.since), None)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
