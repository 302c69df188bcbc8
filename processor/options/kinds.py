"""The types that an option's value can have: how a text is read as such a value, and the type's name in errors."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from enum import EnumType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from processor.options.bounds import Bounds, Count, bounds_in

TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE = frozenset({"false", "f", "no", "n", "off", "0"})

_WHOLE = re.compile(r"([+-]?\d[\d_]*)(?:\.0*)?")
"""An integer, also in the form in which programs write a float: `2.0`."""


class Kind(NamedTuple):
    """A type of values."""

    noun: str
    """The type in an error, as in "must be an integer"."""
    read: Callable[[str], Any]
    """Returns the value of a text; raises ValueError if the text is not valid."""
    holds: Callable[[Any], bool]
    """Returns whether a Python value is of this type."""
    schema: Mapping[str, Any]
    """The type in JSON Schema."""
    metavar: str | None
    """The placeholder of a value in the help; empty for a flag, which takes none; None for the option's own name."""
    choices: tuple[str, ...] = ()


def _integer(text: str) -> int:
    if (whole := _WHOLE.fullmatch(text.strip())) is None:
        raise ValueError(text)
    return int(whole[1])


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError(text)
    return word in TRUE


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(text: str) -> Count:
    try:
        return _integer(text)
    except ValueError:
        return bounds_in(text)


def _is_count(value: Any) -> bool:
    return all(map(_is_integer, value)) if isinstance(value, Bounds) else _is_integer(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


INTEGER = Kind("an integer", _integer, _is_integer, {"type": "integer"}, "N")
NUMBER = Kind("a number", _number, _is_number, {"type": "number"}, "NUMBER")
TRUTH = Kind("true or false", _truth, lambda value: isinstance(value, bool), {"type": "boolean"}, "")
TEXT = Kind("text", str, lambda value: isinstance(value, str | os.PathLike), {"type": "string"}, None)
COUNT = Kind(
    "an integer, or a range such as 8..64",
    _count,
    _is_count,
    {"type": ["integer", "string"], "pattern": r"^[1-9][0-9]*\.\.[1-9][0-9]*$"},
    "N|MIN..MAX",
)
PAIR = Kind("a table of texts", str, _is_text_table, {"type": "object"}, "KEY=VALUE")
"""A `KEY=VALUE`, which can be repeated; the option's value is a table of all of them."""

_KINDS: Mapping[Any, Kind] = {int: INTEGER, float: NUMBER, bool: TRUTH, str: TEXT, Count: COUNT}


def either(nouns: Sequence[str]) -> str:
    """Return several nouns as alternatives: `a, b or c`."""
    return f"{', '.join(nouns[:-1])} or {nouns[-1]}" if len(nouns) > 1 else nouns[0]


def text_fault(value: Any) -> str | None:
    """Return what is wrong with the characters of a text, or of a table of texts; None if nothing is.

    Options are sent to the consumers as JSON, and may be names of files.
    """
    texts = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else [value]
    for text in texts:
        if isinstance(text, str) and "\0" in text:
            return "must not contain a NUL character"
        if isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text):
            return "must be valid UTF-8"
    return None


def kind_of(hint: Any, *, case_sensitive: bool = True) -> Kind:
    """Return the kind of one value of an annotation. For a list or a tuple, it is the items' kind; None is ignored."""
    origin = get_origin(hint)
    if origin is dict:
        return PAIR
    if origin is Literal:
        return _choice(get_args(hint), str, case_sensitive)
    if isinstance(hint, EnumType):
        members: list[Any] = list(hint)
        return _choice([member.value for member in members], hint, case_sensitive)
    return _KINDS[hint]


def _choice(choices: Any, made: Callable[[str], Any], case_sensitive: bool) -> Kind:
    known = {choice if case_sensitive else choice.casefold(): choice for choice in choices}

    def read(text: str) -> Any:
        try:
            return made(known[text if case_sensitive else text.casefold()])
        except KeyError:
            raise ValueError(text) from None

    noun = either(choices)
    return Kind(
        noun, read, lambda value: value in known.values(), {"enum": list(choices)}, "|".join(choices), tuple(choices)
    )
