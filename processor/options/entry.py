"""`Entry`: an option together with its field: its names, its default as text, and how a value is read and checked."""

import functools
import operator
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

from processor.errors import SettingsError
from processor.options.bounds import bounds_of
from processor.options.kinds import COUNT, INTEGER, NUMBER, PAIR, TRUTH, Kind, kind_of, text_fault
from processor.options.option import BYTES, SECONDS, VARIABLE_PREFIX, Argument, Option, Panel

LONGEST_QUOTED: Final = 80
"""The most characters of a wrong value that an error repeats."""

REQUIRED: Final = MISSING
"""The default of an option that has none."""


@dataclass(frozen=True)
class Entry:
    """An option, and the name, the type and the default of its field."""

    field: str
    hint: Any
    """The annotation without None and without the option."""
    default: Any
    option: Option
    is_nullable: bool = False

    @functools.cached_property
    def kind(self) -> Kind:
        """The type of the value, or of each value if there may be several."""
        return kind_of(self.item, case_sensitive=self.option.case_sensitive)

    @property
    def item(self) -> Any:
        """The annotation of one value if there may be several; else the whole annotation."""
        return get_args(self.hint)[0] if self.is_several else self.hint

    @property
    def is_several(self) -> bool:
        """Return whether the option can be repeated, and its value is a list or a tuple."""
        return get_origin(self.hint) in (list, tuple)

    @property
    def is_repeatable(self) -> bool:
        """Return whether the option can be repeated."""
        return self.is_several or self.kind is PAIR

    @property
    def is_argument(self) -> bool:
        """Return whether it is a positional argument."""
        return isinstance(self.option, Argument)

    @property
    def is_required(self) -> bool:
        """Return whether it has no default."""
        return self.default is REQUIRED

    @property
    def name(self) -> str:
        """The name on the command line, in Python's spelling."""
        return self.option.name or self.field

    @property
    def key(self) -> str:
        """The long name, and the key in a TOML file. A field named like a keyword of Python ends with an underscore."""
        return self.name.rstrip("_").replace("_", "-")

    @property
    def flag(self) -> str:
        """The name that users see: `--workers`, or `APP` for an argument."""
        return self.metavar if self.is_argument else f"--{self.key}"

    @property
    def opposite(self) -> str | None:
        """The flag that switches off what is on by default."""
        return f"--no-{self.key}" if self.kind is TRUTH and self.default is True else None

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"{VARIABLE_PREFIX}{self.name.rstrip('_').upper()}"

    @property
    def metavar(self) -> str:
        """The placeholder of the value in the help; empty for a flag, which takes none."""
        named = (self.option.metavar, self.kind.metavar, self.name.upper())
        return next(metavar for metavar in named if metavar is not None)

    @property
    def default_text(self) -> str:
        """The default as readable text, with its unit; `required` if there is none."""
        if self.option.default_shown is not None or self.is_required:
            return self.option.default_shown or "required"
        if self.default is None or self.default in ((), [], {}):
            return "none"
        if self.kind is TRUTH:
            return "on" if self.default else "off"
        number = f"{self.default:.15g}" if self.kind in (INTEGER, NUMBER) else str(self.default)
        unit = {SECONDS: " s", BYTES: f" ({int(self.default) >> 20} MiB)"} if self.kind in (INTEGER, NUMBER) else {}
        return number + unit.get(self.metavar, "")

    def read(self, given: Any, place: str = "") -> Any:
        """Return the value that was given as a text, as several texts, or, for a flag, as a bool.

        Args:
            given: the text or texts.
            place: the source of the value, which follows the option's name in an error.

        Raises:
            ProcessorError: it cannot be read, is out of range, or breaks the option's rule.
        """
        if self.is_several:
            return get_origin(self.hint)(self._read_one(text, place) for text in given)
        return self._read_one(given, place)

    def _read_one(self, text: Any, place: str) -> Any:
        if not isinstance(text, str):
            return text
        try:
            value = self.kind.read(text)
        except ValueError:
            raise self.refused(self._wrong_type(text), place) from None
        self._check_one(value, place)
        return value

    def check(self, value: Any) -> None:
        """Check a value that a program passed.

        Raises:
            ProcessorError: it is of another type, out of range, or breaks the option's rule.
        """
        if value is None and self.is_nullable:
            return
        if self.is_several and not isinstance(value, list | tuple):
            raise self.refused(f"must be a tuple, not {_quoted(value)}")
        for each in value if self.is_several else (value,):
            self._check_one(each)
            if (fault := text_fault(each)) is not None:
                raise self.refused(fault)

    def _check_one(self, value: Any, place: str = "") -> None:
        wrong = self._out_of_range(value) if self.kind.holds(value) else self._wrong_type(value)
        if wrong is not None:
            raise self.refused(wrong, place)
        if self.option.rule is not None and (wrong := self.option.rule(value)) is not None:
            raise self.option.rule_error(f"{self.flag}{place} {wrong}")

    def refused(self, reason: str, place: str = "") -> SettingsError:
        """Return the error about a wrong value."""
        return SettingsError(f"{self.flag}{place} {reason}")

    def _wrong_type(self, value: Any) -> str:
        noun = "a number of seconds" if self.option.metavar == SECONDS else self.kind.noun
        return f"must be {noun}, not {_quoted(value)}"

    def _out_of_range(self, value: Any) -> str | None:
        low, high, above = self.option.at_least, self.option.at_most, self.option.above
        smallest, largest = bounds_of(value) if self.kind is COUNT else (value, value)
        fits = (low is None or smallest >= low) and (high is None or largest <= high)
        fits = fits and (above is None or smallest > above)
        if fits:
            return None
        return f"must be {self.range}, not {value if self.kind is COUNT else f'{value:.15g}'}"

    @property
    def range(self) -> str:
        """The bounds in words; empty if there are none."""
        low, high, above = self.option.at_least, self.option.at_most, self.option.above
        unit = " seconds" if self.option.metavar == SECONDS else ""
        if low is not None and high is not None:
            return f"from {low:.15g} to {high:.15g}{unit}"
        bounds = (("at least", low), ("at most", high), ("above", above))
        return next((f"{words} {bound:.15g}{unit}" for words, bound in bounds if bound is not None), "")


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}…"


def entry_of(name: str, hint: Any, default: Any) -> Entry:
    """The entry of a field or a parameter.

    Raises:
        TypeError: its annotation has no `Option`.
    """
    plain, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    option = next((extra for extra in extras if isinstance(extra, Option)), None)
    if option is None:
        raise TypeError(f"{name} has no Option in its annotation")
    # that of a Literal and None is a Union of typing
    is_union = isinstance(plain, types.UnionType) or get_origin(plain) is Union
    members = get_args(plain) if is_union else (plain,)
    kept = [member for member in members if member is not types.NoneType]
    hint = kept[0] if len(kept) == 1 else _one_literal(kept) or plain
    return Entry(name, hint, default, option, is_nullable=len(kept) < len(members))


def _one_literal(members: Sequence[Any]) -> Any:
    """Return one Literal for a union of several, each of which may be inside `Annotated`; None for other types."""
    plain = [get_args(member)[0] if get_origin(member) is Annotated else member for member in members]
    if any(get_origin(member) is not Literal for member in plain):
        return None
    values = tuple(value for member in plain for value in get_args(member))
    return operator.getitem(cast(Any, Literal), values)


def in_order(entries: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield entries in the order of the help: arguments first, then by panel, required options before the others."""
    panels = list(Panel)
    yield from sorted(
        entries.values(),
        key=lambda entry: (not entry.is_argument, panels.index(entry.option.panel), not entry.is_required),
    )
