"""Typer's errors about a command line, in the product's words: one sentence with what to do.

Errors about values are not among them: `processor.cli.parameters` reads values.
"""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer

from processor.errors import SettingsError


@contextlib.contextmanager
def in_our_words(context: Any) -> Iterator[None]:
    """Turn Typer's error about a command line into one of the product's own.

    Args:
        context: the context of the command whose line is read.

    Raises:
        SettingsError: in place of Typer's exception.
    """
    try:
        yield
    except typer.TyperException as error:
        raise SettingsError(_sentence(error, context)) from None


def _sentence(error: typer.TyperException, context: Any) -> str:
    option: str | None = getattr(error, "option_name", None)
    if option is None:
        return f"{_lowered(error.format_message().rstrip('.'))}; see {help_of(context)}"
    found = _parameter(context, option)
    if found is None:
        return _unknown("option", option, _options_of(context), context)
    if not found.is_flag:
        return f"{option} needs a value: {option} {found.metavar}; see {help_of(context)}"
    opposite = (
        f", and {found.secondary_opts[0]} is the opposite" if option in found.opts and found.secondary_opts else ""
    )
    return f"{option} takes no value{opposite}; see {help_of(context)}"


def no_command(name: str, known: Iterable[str], context: Any) -> SettingsError:
    """The error for a command that does not exist."""
    return SettingsError(_unknown("command", name, list(known), context))


def too_many(arguments: Sequence[str], context: Any) -> SettingsError:
    """The error for arguments that no parameter takes."""
    taken = [parameter.metavar for parameter in context.command.params if parameter.param_type_name == "argument"]
    takes = f"takes only {' and '.join(taken)}" if taken else "takes only options"
    given = " and ".join(map(_shown, arguments))
    kind = "argument" if len(arguments) == 1 else "arguments"
    return SettingsError(f"unexpected {kind} {given}: {context.command_path} {takes}; see {help_of(context)}")


def _shown(argument: str) -> str:
    """Return an argument without the part after '=', which may be a password whose -X is missing."""
    name, equals, _ = argument.partition("=")
    return repr(name + ("=…" if equals else ""))


def help_of(context: Any) -> str:
    """The command line that shows the help of a command."""
    return f"{context.command_path} --help"


def _unknown(kind: str, name: str, known: Sequence[str], context: Any) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    guess = f": did you mean {' or '.join(near)}? See" if near else "; see"
    return f"there is no {kind} {name or repr(name)}{guess} {help_of(context)}"


def _parameter(context: Any, option: str) -> Any:
    options = (each for each in context.command.get_params(context) if each.param_type_name == "option")
    return next((each for each in options if option in (*each.opts, *each.secondary_opts)), None)


def _options_of(context: Any) -> list[str]:
    return [option for param in context.command.params for option in (*param.opts, *param.secondary_opts)]


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence
