"""`processor schema`: the group of commands for Avro schemas."""

from __future__ import annotations

from collections.abc import Callable

from processor.cli.command_group import command_group
from processor.cli.schema.check import check
from processor.cli.schema.generate import generate, sample
from processor.cli.schema.register import register
from processor.cli.schema.show import diff, list_, show

_COMMANDS: dict[str, Callable[..., int]] = {
    "check": check,
    "list": list_,
    "show": show,
    "diff": diff,
    "generate": generate,
    "sample": sample,
    "register": register,
}
schema = command_group(
    "schema",
    "Check, list, compare and register Avro schemas; generate classes and sample tasks from them.",
    _COMMANDS,
)
