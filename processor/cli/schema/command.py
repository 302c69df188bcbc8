"""`processor schema …`: Avro schemas checked, looked at, compared, and made into classes and samples."""

from __future__ import annotations

from collections.abc import Callable

import typer

from processor.cli.parameters import HELP_OPTIONS, Group, add_command
from processor.cli.schema.check import check
from processor.cli.schema.look import diff, list_, show
from processor.cli.schema.make import generate, sample
from processor.cli.schema.register import register

schema = typer.Typer(
    name="schema",
    cls=Group,
    help="Avro schemas: check them, look at them, register them, and make classes and sample tasks of them.",
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
