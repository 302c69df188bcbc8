"""The command `processor`: its subcommands, each loaded when it is asked for, and errors in one line."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from processor.cli import config_file
from processor.cli.options import ENVIRONMENT_NOTE
from processor.errors import ProcessorError

COMMANDS: Final = {
    "run": "run",
    "produce": "produce.command",
    "decode": "decode",
    "schema": "schema.command",
    "monitor": "monitor.command",
    "report": "monitor.report",
    "health": "health",
    "demo": "demo.command",
}
"""The module of each command below `processor.cli`. It has a function of the command's name, or a `Typer` with commands
of its own."""

WRONG_USAGE: Final = 2
DISK_TROUBLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What a full or broken disk makes of a line on standard output."""

INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells have it."""


class Commands(TyperGroup):
    """Loads one subcommand only: `processor run` must not wait for what the demo imports."""

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
    epilog = None if name == "demo" else ENVIRONMENT_NOTE
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command(name, epilog=epilog, context_settings=_HELP)(function)
    return get_command(alone)


_HELP: Final = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=Commands,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings=_HELP,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from processor.kafka.config import client_versions
        from processor.version import __version__

        client, library = client_versions()
        typer.echo(f"processor {__version__} (confluent-kafka {client}, librdkafka {library})")
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
    """Runs the command line and returns the exit code; whatever is the user's mistake is one line on stderr."""
    _occupy_standard_descriptors()
    command = get_command(app)
    try:
        exit_code = command.main(arguments, prog_name="processor", standalone_mode=False) or 0
        sys.stdout.flush()  # here, and not at the interpreter's end, which has its own words for what goes wrong
        return int(exit_code)
    except ProcessorError as error:
        return _complain(str(error), error.exit_code)
    except typer.TyperException as error:
        return _complain(*_told(error))
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.EPIPE, *DISK_TROUBLE):
            raise
        from processor.cli.output import silence_standard_output  # here: it loads Rich

        silence_standard_output()
        return 1 if error.errno == errno.EPIPE else _complain(f"nothing can be written: {error.strerror}", 1)


def _occupy_standard_descriptors() -> None:
    """Where one of the three is closed, the next socket would get its number, and a library's cry would go into it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
    if sys.stdout is None:  # Python's own word for one that was closed
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 — for good


def _complain(sentence: str, exit_code: int) -> int:
    from processor.telemetry import logs  # here: most runs have nothing to complain about

    logs.say(sentence)
    return exit_code


def _told(error: typer.TyperException) -> tuple[str, int]:
    """A wrong use in one sentence, with what to do about it, and the exit code."""
    context = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    if parameter is not None:
        return _told_of(parameter, context, error)
    sentence = error.format_message().rstrip(".")
    if (wrong := getattr(error, "option_name", None)) is not None and hasattr(error, "possibilities"):
        sentence = f"there is no option {wrong}{_near(wrong, _options_of(context))}"
    elif sentence.startswith("No such command"):
        wrong = sentence.split("'")[1] if "'" in sentence else ""
        known = context.command.list_commands(context) if context is not None else list(COMMANDS)
        sentence = f"there is no command {wrong!r}{_near(wrong, known)}"
    return f"{_lowered(sentence)}; see {_help_of(context)}", WRONG_USAGE


def _told_of(parameter: Any, context: Any, error: typer.TyperException) -> tuple[str, int]:
    is_option = parameter.param_type_name == "option"
    name = _long_name(parameter) if is_option else parameter.metavar or parameter.name.upper()
    message = error.message.rstrip(".").removeprefix("Value error, ")
    if not message:  # only a parameter that is missing has none
        hint = f"give it, or set {config_file.PREFIX}{parameter.name.upper()}" if is_option else "give it"
        return f"{name} is missing: {hint}; see {_help_of(context)}", WRONG_USAGE
    where = config_file.where_set(context, parameter.name) if context is not None and is_option else None
    is_from_default = context is not None and context.get_parameter_source(parameter.name).name == "DEFAULT_MAP"
    place = f" ({where})" if where and is_from_default else ""
    return f"{name}{place}: {_lowered(message)}; see {_help_of(context)}", WRONG_USAGE


def _long_name(parameter: Any) -> str:
    return str(max(parameter.opts, key=len))


def _options_of(context: Any) -> list[str]:
    if context is None:
        return []
    return [option for param in context.command.params for option in (*param.opts, *param.secondary_opts)]


def _near(wrong: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def _help_of(context: Any) -> str:
    return f"{context.command_path if context is not None else 'processor'} --help"


if __name__ == "__main__":
    sys.exit(main())
