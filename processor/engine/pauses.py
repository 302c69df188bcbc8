"""`Pauses`: which sessions, task names and partitions an operator has paused."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["session", "name", "partition", "all"]


class Target(NamedTuple):
    """The target of a pause."""

    kind: Kind
    text: str
    """The session's key as text, the task name, TOPIC:PARTITION, or an empty text for all."""


ALL = Target("all", "")


class Pause(NamedTuple):
    """The start of a pause, and the user who has ordered it."""

    since: int
    """In milliseconds since the epoch."""
    by: str


def text_of(key: bytes | None) -> str | None:
    """Return a record key as the text that names a session in commands; None without a key."""
    return key.decode("utf-8", "backslashreplace") if key is not None else None


class Pauses:
    """The pauses that are in force.

    Not thread-safe: changes need one lock around each call. Reads need none.
    """

    def __init__(self) -> None:
        self.in_force: dict[Target, Pause] = {}

    def begin(self, target: Target, pause: Pause) -> bool:
        """Pause the target. Return whether it was not paused before; if it was, only time and author change."""
        is_new = target not in self.in_force
        self.in_force[target] = pause
        return is_new

    def end(self, target: Target) -> bool:
        """Resume the target. Return whether it was paused."""
        return self.in_force.pop(target, None) is not None

    def of_lane(self, partition: str, key: bytes | None) -> Pause | None:
        """Return the pause that covers a session of a partition.

        Args:
            partition: TOPIC:PARTITION.
            key: of the session's records; a record without a key belongs to no session.
        """
        target = self.target_of(partition, key, None)
        return self.in_force.get(target) if target is not None else None

    def target_of(self, partition: str, key: bytes | None, name: str | None) -> Target | None:
        """Return the target of the widest pause that covers a task; None if none does.

        With None as `name`, only pauses that cover every task of the lane count.
        """
        in_force = self.in_force
        if ALL in in_force:
            return ALL
        targets = [Target("partition", partition)]
        if key is not None:
            targets.append(Target("session", text_of(key) or ""))
        if name is not None:
            targets.append(Target("name", name))
        return next((target for target in targets if target in in_force), None)

    def of_name(self, name: str) -> Pause | None:
        """Return the pause that covers the tasks of a name."""
        return self.in_force.get(Target("name", name))
