"""`processor control`: the group of commands that pause and resume the work of a running group."""

from __future__ import annotations

from collections.abc import Callable

from processor.cli.command_group import command_group
from processor.cli.control.listing import list_pauses
from processor.cli.control.pause import pause, resume

COMMANDS: dict[str, Callable[..., int]] = {"pause": pause, "resume": resume, "list": list_pauses}

control = command_group("control", "Pause and resume the work of a group that has a control topic.", COMMANDS)
