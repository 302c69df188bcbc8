"""`processor offsets`: the group of commands for a group's committed offsets."""

from __future__ import annotations

from collections.abc import Callable

from processor.cli.command_group import command_group
from processor.cli.offsets.reset import reset
from processor.cli.offsets.show import show

COMMANDS: dict[str, Callable[..., int]] = {"show": show, "reset": reset}

offsets = command_group("offsets", "Show and reset the offsets that a group has committed.", COMMANDS)
