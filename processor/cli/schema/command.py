"""`processor schema …`: Avro schemas checked, looked at, compared, and made into classes and samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from processor.cli.options import ENVIRONMENT_NOTE
from processor.cli.schema.check import check
from processor.cli.schema.look import diff, list_, show
from processor.cli.schema.make import generate, sample
from processor.cli.schema.register import register

_HELP: Any = {"help_option_names": ["-h", "--help"]}

schema = typer.Typer(
    name="schema",
    help="Avro schemas: check them, look at them, register them, and make classes and sample tasks of them.",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings=_HELP,
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
    schema.command(_name, epilog=ENVIRONMENT_NOTE, context_settings=_HELP)(_function)
