"""A command's parameters, from the options in its function's annotations; and their values, from text.

A command is a function. Each of its parameters is either one option (`Annotated[int, Option(…)]`) or a set of options
(`settings: Settings`), of which every field is one. Typer gets the parameters for the help, the completion and the
parsing of the command line. Values are read by `Entry.read`: its errors are in the product's own words, and Pydantic,
with which Typer would read them, takes longer to load than a probe may.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from operator import getitem
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from processor.cli import config_file
from processor.cli.wrong_use import help_of, in_our_words, no_command, too_many
from processor.errors import SettingsError
from processor.options.entry import REQUIRED, Entry, entry_of, in_order
from processor.options.kinds import COUNT, PAIR
from processor.options.option import Option, Panel
from processor.options.option_set import OptionSet, entries_of

Options = TypeVar("Options", bound=OptionSet)

CONFIG: Final = Entry(
    "config", str, None, Option("TOML file with the same options by their long names.", Panel.LOGS, metavar="FILE")
)
"""`--config`, an option of every command that also reads options from the environment and a file."""

HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"]}

NO_BREAK_SPACE: Final = "\N{NO-BREAK SPACE}"

_ENTRIES: Final = "entries_of_options"

ENVIRONMENT_NOTE = (
    "Every option can be set by an environment variable, PROCESSOR_ and its long name (PROCESSOR_TOPIC, "
    "PROCESSOR_BACKOFF_MAX), and in the TOML file of --config. The command line wins over the environment, "
    "the environment over the file."
)


class Signature(NamedTuple):
    """The options of a command, and the function that takes their values."""

    function: Callable[..., int]
    entries: Mapping[str, Entry]
    """All options by name, including those of every set."""
    sets: Mapping[str, type[OptionSet]]
    """The function's parameters that are sets of options."""

    def call(self, values: Mapping[str, Any]) -> int:
        """Call the function with the values, by name; those of a set as one object.

        Raises:
            SettingsError: two options of a set contradict each other.
        """
        sets = {name: _made(options, values) for name, options in self.sets.items()}
        own = inspect.signature(self.function).parameters.keys() - sets.keys()
        return self.function(**sets, **{name: values[name] for name in own})


def _made(options: type[Options], values: Mapping[str, Any]) -> Options:
    return options(**{entry.field: values[entry.name] for entry in entries_of(options)})


def signature_of(function: Callable[..., int]) -> Signature:
    """Read the annotations of a command's function."""
    hints = get_type_hints(function, include_extras=True)
    entries: dict[str, Entry] = {}
    sets: dict[str, type[OptionSet]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if inspect.isclass(hints[name]) and issubclass(hints[name], OptionSet):
            sets[name] = hints[name]
            entries |= {entry.name: entry for entry in entries_of(hints[name])}
        else:
            default = REQUIRED if parameter.default is parameter.empty else parameter.default
            entries[name] = entry_of(name, hints[name], default)
    return Signature(function, entries, sets)


def add_command(app: typer.Typer, name: str, function: Callable[..., int], *, is_alone: bool = False) -> None:
    """Make a function a command of an application.

    Args:
        app: the application.
        name: the command's name.
        function: runs the command, with options in its annotations; it returns the exit code.
        is_alone: whether its options come from the command line only.
    """
    signature = signature_of(function)
    entries = dict(signature.entries) if is_alone else {**signature.entries, CONFIG.name: CONFIG}

    def call(context: typer.Context, **_: Any) -> int:
        return signature.call(context.params)

    call.__doc__ = function.__doc__
    call.__signature__ = _typers_view(entries)  # type: ignore[attr-defined]
    setattr(call, _ENTRIES, entries)  # Typer copies it to the callback that it creates
    epilog = None if is_alone else ENVIRONMENT_NOTE
    app.command(name, cls=Command, epilog=epilog, context_settings=HELP_OPTIONS)(call)


class Group(TyperGroup):
    """Commands by name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, all of them flags."""
        return _as_flags(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line up to the command's name.

        Raises:
            SettingsError: it cannot be read.
        """
        with in_our_words(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first argument names, and the other arguments.

        Raises:
            SettingsError: no command has that name.
        """
        if not ctx.resilient_parsing and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise no_command(args[0], self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command whose values are read by its entries."""

    allow_extra_args = True
    """Set, so that the error about extra arguments is not Typer's."""

    def __init__(self, *positional: Any, **settings: Any) -> None:
        super().__init__(*positional, **settings)
        self.entries: Mapping[str, Entry] = getattr(self.callback, _ENTRIES)
        parameters: list[Any] = self.params
        for parameter in parameters:
            entry = self.entries[parameter.name]
            parameter.process_value = functools.partial(self._value, entry)
            if not entry.metavar or entry.is_argument:
                parameter.display_type_rich = _no_type

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and `--help`."""
        parameters = super().get_params(ctx)
        _as_flags(parameters[len(self.params) :])
        return parameters

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            SettingsError: a value cannot be read, or there are more arguments than the command takes.
        """
        with in_our_words(ctx):
            left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            raise too_many(left, ctx)
        return left

    def _value(self, entry: Entry, context: typer.Context, given: Any) -> Any:
        """Return the value of an option from the command line, else from a lower source, else its default.

        Raises:
            SettingsError: it cannot be read, or it is missing.
            LoadError: the configuration file cannot be used.
        """
        source = getattr(context.get_parameter_source(entry.name), "name", "DEFAULT")
        if entry is CONFIG:
            return config_file.read_lower_sources(context, given, self.entries)
        if entry.kind is PAIR:
            return config_file.merged_kafka_config(context, given if source == "COMMANDLINE" else ())
        if source != "DEFAULT" and given not in (None, [], ()):
            return entry.read(given, config_file.place_of(context, entry.name) if source == "DEFAULT_MAP" else "")
        if entry.is_required:
            hint = "give it" if entry.is_argument else f"give it, or set {entry.variable}"
            raise SettingsError(f"{entry.flag} is missing: {hint}; see {help_of(context)}")
        return entry.default


def _as_flags(parameters: list[Any]) -> list[Any]:
    """Make parameters flags that only the command line sets, such as `--help`. They have no value to read."""
    for parameter in parameters:
        parameter.process_value = functools.partial(_flag, parameter)
        parameter.display_type_rich = _no_type
    return parameters


def _no_type(ctx: Any) -> None:
    """Show no type in the help, for a flag, which has none, and for an argument, whose name shows it."""


def _flag(parameter: Any, context: Any, value: Any) -> Any:
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def _typers_view(entries: Mapping[str, Entry]) -> inspect.Signature:
    """The parameters as Typer takes them."""
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    return inspect.Signature([context, *map(_typers_parameter, in_order(entries))])


def _typers_parameter(entry: Entry) -> inspect.Parameter:
    description = _typers_argument(entry) if entry.is_argument else _typers_option(entry)
    annotation: Any = getitem(
        Annotated, (_typers_type(entry), description)
    )  # Annotated[…] with values that a type checker cannot know
    default = inspect.Parameter.empty if entry.is_required else _typers_default(entry)
    return inspect.Parameter(entry.name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _typers_type(entry: Entry) -> Any:
    if entry.kind is PAIR:
        return list[str]
    if entry.kind is COUNT:
        return str
    return list.__class_getitem__(entry.item) if entry.is_several else entry.item


def _typers_default(entry: Entry) -> Any:
    if entry.is_repeatable:
        return None if entry.default is None else list(entry.default)
    is_whole = isinstance(entry.default, float) and entry.default.is_integer()
    return int(entry.default) if is_whole else entry.default


def _typers_option(entry: Entry) -> Any:
    names = [f"{entry.flag}/{entry.opposite}" if entry.opposite else entry.flag, entry.option.short]
    return typer.Option(
        *filter(None, names),
        metavar=entry.metavar or None,
        help=_help(entry),
        show_default=False,
        is_eager=entry is CONFIG,
        rich_help_panel=None if entry.option.panel is Panel.COMMAND else entry.option.panel,
    )


def _typers_argument(entry: Entry) -> Any:
    return typer.Argument(metavar=entry.metavar, help=_help(entry), show_default=False)


def _help(entry: Entry) -> str:
    """Return the help with the default appended, as Typer does. Brackets are escaped: Rich would read them as tags."""
    text = entry.option.help.replace("[", r"\[")
    if entry.default_text in ("required", "none", "off"):
        return text
    default = re.sub(r"(?<=\d) (?=[a-z])", NO_BREAK_SPACE, entry.default_text)
    return rf"{text} [dim]\[default:{NO_BREAK_SPACE}{default}][/dim]"
