"""`processor control`: the group of commands to the consumers of a running group."""

from __future__ import annotations

from collections.abc import Callable

from processor.cli.command_group import command_group
from processor.cli.control.cancel import cancel
from processor.cli.control.listing import list_commands
from processor.cli.control.pause import pause, resume
from processor.cli.control.workers import workers

COMMANDS: dict[str, Callable[..., int]] = {
    "cancel": cancel,
    "pause": pause,
    "resume": resume,
    "workers": workers,
    "list": list_commands,
}

control = command_group(
    "control",
    "Cancel, pause and resume tasks of a group that has a control topic, and set the number of its workers.",
    COMMANDS,
)
