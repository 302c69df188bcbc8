"""`Option`: the properties of one option, written once.

An option is an annotated field of a set of options (or an annotated parameter of a command):

    workers: Annotated[int, Option("Worker threads per consumer.", Panel.WORK, short="-w", at_least=1)] = 32

Its type, its name and its default are the field's. `entries_of` is the table: the command line, the environment
variables, the keys of the TOML file, the README's table and the chart's schema of values are made from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from processor.errors import ProcessorError, SettingsError

VARIABLE_PREFIX: Final = "PROCESSOR_"

SECONDS: Final = "SECONDS"
BYTES: Final = "BYTES"


class Panel(StrEnum):
    """The headings of the help and of the README, in their order."""

    KAFKA = "Kafka"
    WORK = "Work"
    VALUES = "Values"
    REGISTRY = "Schema registry"
    WRITING = "Schema registry, writing"
    FAILURES = "Failures"
    LIMITS = "Limits"
    LOGS = "Logs and settings"
    COMMAND = "Options"


@dataclass(frozen=True)
class Option:
    """The properties of an option beyond the name, the type and the default of its field.

    Args:
        help: the description in the help and in the README: a sentence, or a noun phrase with a full stop.
        panel: the heading under which the option is listed.
        short: the short flag, such as `-w`.
        metavar: the placeholder of the value in the help, or its unit; by default it follows from the type.
        at_least: the minimum.
        at_most: the maximum.
        above: a bound that the value must exceed.
        default_shown: the description of the default, where the default itself is not readable.
        name: the option's name in Python's spelling, if it differs from the field's.
        rule: a further check. It returns what is wrong with a value, in the words that follow the option's name, or
            None.
        rule_error: the error that is raised when the rule finds a fault.
        case_sensitive: whether the case of a choice matters.
    """

    help: str
    panel: Panel = Panel.COMMAND
    short: str | None = None
    metavar: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    default_shown: str | None = None
    name: str | None = None
    rule: Callable[[Any], str | None] | None = None
    rule_error: type[ProcessorError] = SettingsError
    case_sensitive: bool = True


@dataclass(frozen=True)
class Argument(Option):
    """A positional argument of the command line, called by its `metavar`. Nothing else can set it."""
