"""The command `processor`: its subcommands, each imported when it is needed, and errors in one line."""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.main import get_command

from processor.cli.parameters import HELP_OPTIONS, Command, Group, add_command
from processor.errors import ProcessorError

COMMANDS: Final = {
    "run": "run",
    "produce": "produce.command",
    "decode": "decode",
    "schema": "schema.command",
    "monitor": "monitor.command",
    "report": "monitor.report",
    "health": "health",
    "lag": "lag",
    "offsets": "offsets.command",
    "dlq": "dlq.command",
    "control": "control.command",
    "tail": "tail",
    "doctor": "doctor",
    "demo": "demo.command",
    "broker": "broker",
}
"""The module of each command below `processor.cli`. It has a function of the command's name, or a `Typer` with commands
of its own."""

WRONG_USAGE: Final = 2
DISK_TROUBLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""The errors of a write to standard output on a full or broken disk."""

INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as in a shell."""

ESCAPED: Final = "processor.escaped"
"""The error handler of standard output, see `_escaped`."""


class Commands(Group):
    """The subcommands. Only the one that runs is imported: `processor run` must not wait for the demo's imports."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 — Typer gives it
        """In the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 — Typer gives it
        """The subcommand called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _loaded(cmd_name)
        return self.commands[cmd_name]


def _loaded(name: str) -> Any:
    function = getattr(importlib.import_module(f"processor.cli.{COMMANDS[name]}"), name)
    if isinstance(function, typer.Typer):
        return get_command(function)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    add_command(alone, name, function, is_alone=name == "demo")
    return get_command(alone)


def variables() -> set[str]:
    """Return the environment variables of all commands. This imports every command."""
    found: set[str] = set()
    pending = [_loaded(name) for name in COMMANDS]
    while pending:
        command = pending.pop()
        if isinstance(command, Command):
            found.update(entry.variable for entry in command.entries.values())
        else:
            pending += command.commands.values()
    return found


app = typer.Typer(
    cls=Commands,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings=HELP_OPTIONS,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from processor.engine.build import BUILD
        from processor.kafka.config import client_versions
        from processor.version import installed_version

        client, library = client_versions()
        typer.echo(f"processor {installed_version()} (confluent-kafka {client}, librdkafka {library}, engine {BUILD})")
        raise typer.Exit


@app.callback()
def processor(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Tasks from Kafka: the sessions of each partition in parallel, every session in order, nothing lost."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; a mistake of the user is one line on stderr."""
    _occupy_standard_descriptors()
    _escape_what_cannot_be_written()
    command = get_command(app)
    try:
        exit_code = command.main(arguments, prog_name="processor", standalone_mode=False) or 0
        sys.stdout.flush()  # here: an error at the interpreter's exit would be a traceback
        return int(exit_code)
    except ProcessorError as error:
        return _complain(str(error), error.exit_code)
    except typer.TyperException as error:  # `in_our_words` should have translated all of them
        return _complain(error.format_message(), WRONG_USAGE)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.EPIPE, *DISK_TROUBLE):
            raise
        from processor.cli.output import silence  # here: it loads Rich

        silence(sys.stdout)
        return 1 if error.errno == errno.EPIPE else _complain(f"nothing can be written: {error.strerror}", 1)


def _occupy_standard_descriptors() -> None:
    """Open those of the three that are closed: else the next socket gets such a number, and output is written to it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
    if sys.stdout is None:  # so Python shows that it was closed
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 — it stays open


def _escape_what_cannot_be_written() -> None:
    """Escape characters that the encoding of standard output does not have: a locale need not be UTF-8."""
    codecs.register_error(ESCAPED, _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Return the characters as \uNNNN, which is also valid in the strings of JSON, and the position after them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


def _complain(sentence: str, exit_code: int) -> int:
    from processor.telemetry import logs  # here: most runs have no error to print

    logs.print_line(sentence)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
