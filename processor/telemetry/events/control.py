"""Events of the control topic: commands that pause, resume and cancel tasks, and faults of reading them."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from processor.telemetry.events.event import Event, Level


class PauseOrder(msgspec.Struct, kw_only=True):
    """A pause: its target, its start, and the user who gave the command."""

    kind: Literal["session", "name", "partition", "all"]
    """kind of the target"""
    session_id: str
    """the session; empty for another kind of target"""
    task_name: str
    """the task name; empty for another kind of target"""
    partition: str
    """TOPIC:PARTITION; empty for another kind of target"""
    since: int
    """when the command was given, in milliseconds since the epoch"""
    by: str
    """the user who gave it, as USER@HOST"""


class ControlPaused(PauseOrder, Event):
    """A command in the control topic paused tasks: none of them begins until it is resumed; running tasks continue."""

    event: ClassVar[str] = "control.paused"


class ControlResumed(Event):
    """A command in the control topic ended a pause. Tasks that another pause covers still wait."""

    event: ClassVar[str] = "control.resumed"

    kind: Literal["session", "name", "partition", "all"]
    """kind of the target"""
    session_id: str
    """the session; empty for another kind of target"""
    task_name: str
    """the task name; empty for another kind of target"""
    partition: str
    """TOPIC:PARTITION; empty for another kind of target"""


class ControlCancelled(Event):
    """A command in the control topic cancelled tasks: tasks that have not begun are settled without running, and
    running tasks are interrupted. Each is logged as `task.cancelled`.
    """

    event: ClassVar[str] = "control.cancelled"

    task_id: str
    """the task; empty if the tasks of a session are cancelled"""
    session_id: str
    """the session; empty if one task is cancelled"""
    task_name: str
    """the name of the cancelled tasks of the session; empty for all"""
    since: int
    """when the command was given, in milliseconds since the epoch; a session's tasks that are produced later are not
    covered"""
    until: int
    """when the cancellation expires, in milliseconds since the epoch"""
    dead_letter: bool
    """whether the tasks become dead letters"""
    by: str
    """the user who gave the command, as USER@HOST"""


class ControlCancelEnded(Event):
    """A cancellation has ended. Tasks that it covered and that are not settled yet run."""

    event: ClassVar[str] = "control.cancel_ended"

    task_id: str
    """the task; empty if the tasks of a session were cancelled"""
    session_id: str
    """the session; empty if one task was cancelled"""
    task_name: str
    """the name of the cancelled tasks of the session; empty for all"""
    reason: Literal["expired", "withdrawn"]
    """whether it expired, or an operator ended it"""


class ControlForeignRecord(Event):
    """The control topic contains a record that is not a command. The consumer ignores all such records; only the first
    is logged.
    """

    event: ClassVar[str] = "control.foreign_record"
    level: ClassVar[Level] = "warning"

    error: str
    """what is wrong with it"""


class ControlFailed(Event):
    """The control topic cannot be read any more. The commands that were read stay in force, and reading is retried."""

    event: ClassVar[str] = "control.failed"
    level: ClassVar[Level] = "warning"

    topic: str
    error: str


class ControlUnread(Event):
    """The control topic could not be read to its end in time. The consumer starts, and may run paused tasks until it
    has read the topic.
    """

    event: ClassVar[str] = "control.unread"
    level: ClassVar[Level] = "warning"

    waited_seconds: float
    """how long the start waited"""
