"""`processor schema`: the group of commands for Avro schemas."""

from __future__ import annotations

from collections.abc import Callable

import typer

from processor.cli.parameters import HELP_OPTIONS, Group, add_command
from processor.cli.schema.check import check
from processor.cli.schema.generate import generate, sample
from processor.cli.schema.register import register
from processor.cli.schema.show import diff, list_, show

schema = typer.Typer(
    name="schema",
    cls=Group,
    help="Check, list, compare and register Avro schemas; generate classes and sample tasks from them.",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings=HELP_OPTIONS,
    invoke_without_command=True,
)


@schema.callback()
def _no_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


_COMMANDS: dict[str, Callable[..., int]] = {
    "check": check,
    "list": list_,
    "show": show,
    "diff": diff,
    "generate": generate,
    "sample": sample,
    "register": register,
}
for _name, _function in _COMMANDS.items():
    add_command(schema, _name, _function)
