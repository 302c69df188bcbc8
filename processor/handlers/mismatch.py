"""Why a value does not match a type, in plain words: msgspec's own messages name Python's types and JSONPath."""

import re
from typing import Final

from processor.options.kinds import either

_TYPES: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "a boolean",
    "bytes": "bytes",
    "null": "null",
    "array": "an array",
    "object": "an object",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
    "duration": "a duration",
    "decimal": "a decimal number",
    "uuid": "a UUID",
}

_PLACE = re.compile(r"(.*?)(?: - at (?:`(?P<part>key)` in )?`\$?(?P<path>.*)`)?", re.DOTALL)
_EXPECTED = re.compile(r"Expected `([^`]*)`(.*?)(?:, got `?([^`]*)`?)?", re.DOTALL)
_MEMBER = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)


def mismatch(complaint: str, whole: str) -> str:
    """Return a message of msgspec as a clause: `cents must be an integer, not text`.

    Args:
        complaint: the text of a `msgspec.ValidationError`.
        whole: the name of the value itself, for a mismatch that is not in a part of it.
    """
    matched = _PLACE.fullmatch(complaint)
    what, part, path = matched.group(1, "part", "path") if matched else (complaint, None, None)
    path = (path or "").removeprefix(".").replace("[...]", "[…]")
    if (member := _MEMBER.fullmatch(what)) is not None:
        name = f"{path}.{member[2]}" if path else member[2]
        return f"{name} is missing" if member[1] == "missing required" else f"unknown member {name}"
    where = f"a {part} of {path or whole}" if part else path or whole
    if (expected := _EXPECTED.fullmatch(what)) is None:
        return f"{where}: {what[:1].lower()}{what[1:]}"
    wanted, bound, found = expected.groups()
    if bound == " of length >= 1":
        return f"{where} must not be empty"
    return f"{where} must be {_nouns(wanted)}{bound}" + (f", not {_nouns(found)}" if found else "")


def _nouns(types: str) -> str:
    return either([_TYPES.get(kind, kind) for kind in types.split(" | ")])
