"""A command with subcommands, such as `processor offsets show`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from processor.cli.parameters import HELP_OPTIONS, Group, add_command


def command_group(name: str, help_text: str, commands: Mapping[str, Callable[..., int]]) -> typer.Typer:
    """Return the command `name`. Without a subcommand, it shows its help."""
    group = typer.Typer(
        name=name,
        cls=Group,
        help=help_text,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings=HELP_OPTIONS,
        invoke_without_command=True,
    )

    @group.callback()
    def no_command(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    for command, function in commands.items():
        add_command(group, command, function)
    return group
