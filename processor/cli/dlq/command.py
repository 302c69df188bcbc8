"""`processor dlq`: the group of commands for dead letters."""

from __future__ import annotations

from collections.abc import Callable

from processor.cli.command_group import command_group
from processor.cli.dlq.listing import list_
from processor.cli.dlq.replay import discard, replay
from processor.cli.dlq.show import show

COMMANDS: dict[str, Callable[..., int]] = {"list": list_, "show": show, "replay": replay, "discard": discard}

dlq = command_group("dlq", "List, show, replay and discard dead letters.", COMMANDS)
