"""`processor control pause` and `processor control resume`."""

from __future__ import annotations

from processor.boot.tokens import with_tokens
from processor.cli.control.author import author, now
from processor.cli.control.selection import TargetOptions
from processor.cli.output import note
from processor.engine.pauses import Pause, Target
from processor.kafka.control_topic import commands_of, send_command
from processor.options.connection import ConnectionOptions


def pause(connection: ConnectionOptions, options: TargetOptions) -> int:
    """Pause the tasks of a session, a name, a partition, or the whole group until they are resumed.

    Running tasks continue, and so do all others. The order of each session
    is kept. The pause survives restarts of the fleet.

    The command acts at once. The control topic is created if it is missing.
    """
    connection = with_tokens(connection, lambda _: None)
    send_command(connection, options.control_topic, options.group, options.target, Pause(now(), author()))
    note(f"paused for group {options.group}: {_described(options.target)}")
    return 0


def resume(connection: ConnectionOptions, options: TargetOptions) -> int:
    """End one pause. Tasks that another pause covers still wait.

    --all ends only the pause of the whole group. The command acts at once.
    """
    connection = with_tokens(connection, lambda _: None)
    was_paused = options.target in commands_of(connection, options.control_topic, options.group).pauses.in_force
    send_command(connection, options.control_topic, options.group, options.target, None)
    state = "resumed" if was_paused else "was not paused"
    note(f"{state} for group {options.group}: {_described(options.target)}")
    return 0


def _described(target: Target) -> str:
    return "everything" if target.kind == "all" else f"{target.kind} {target.text}"
