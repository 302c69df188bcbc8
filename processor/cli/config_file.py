"""Values of options that the command line does not give: from the environment, then from a TOML file.

Both become defaults of the command (`Context.default_map`), as text: `Entry.read` reads a value the same way from each
source.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from processor.errors import LoadError
from processor.options.connection import kafka_config_of
from processor.options.entry import Entry
from processor.options.kinds import PAIR
from processor.options.option import VARIABLE_PREFIX as PREFIX
from processor.options.option_set import entries_of
from processor.settings import Settings

KAFKA_CONFIG = "kafka_config"
RUN_OPTIONS = frozenset(entry.name for entry in entries_of(Settings))
"""Names of every option of `run`, in Python's spelling: other commands, which have fewer, may share its file."""

_PLACES = "processor.places"
_KAFKA_CONFIG = "processor.kafka_config"
_PAIRS_BREAK = re.compile(r"[,\s]+(?=(?:[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+|acks|debug|partitioner|retries)=)")
"""The separator of two pairs in one line: commas or spaces before `some.kafka.key=`.

The key must have a dot, as have all of the client's except these few. The value of `sasl.oauthbearer.config` itself has
the form `principal=a scope=b`, and must not be split.
"""


def read_lower_sources(context: typer.Context, config: str | None, entries: Mapping[str, Entry]) -> str | None:
    """Make the values of the environment and of a file the defaults of a command's options.

    `--config` is eager: this is called before any other option looks for its default.

    Args:
        context: the command's.
        config: the file that the command line names.
        entries: the command's options by name.

    Raises:
        LoadError: the file cannot be read or parsed, or holds a key or value that no option takes.
    """
    if context.resilient_parsing:
        return config
    config = config or os.environ.get(f"{PREFIX}CONFIG") or None
    settable = {name: entry for name, entry in entries.items() if not entry.is_argument and name != "config"}
    in_file = read(config, settable.keys() | RUN_OPTIONS) if config is not None else {}
    in_environment = from_environment(os.environ, settable.values())
    places = dict.fromkeys(in_file, f"in {config}")
    places |= {name: f"in {PREFIX}{name.upper()}" for name in in_environment}
    context.meta[_PLACES] = places
    context.meta[_KAFKA_CONFIG] = [
        (f" (in {config})", in_file.get(KAFKA_CONFIG, ())),
        (f" (in {PREFIX}{KAFKA_CONFIG.upper()})", in_environment.get(KAFKA_CONFIG, ())),
    ]
    context.default_map = {**_as_each_takes_it(in_file, settable, config or ""), **in_environment}
    return config


def place_of(context: typer.Context, name: str) -> str:
    """Return the source of an option's value that is not from the command line: " (in FILE)", or empty."""
    place: str | None = context.meta.get(_PLACES, {}).get(name)
    return f" ({place})" if place else ""


def merged_kafka_config(context: typer.Context, pairs: Iterable[str]) -> dict[str, str]:
    """Return the Kafka settings of all sources. The last source with a key wins; `pairs`, the command line's, are last.

    Each key is looked up on its own: `-X client.id=a` must not drop a password that the environment gives.

    Raises:
        SettingsError: a pair has no key or no '=', or a key is refused.
    """
    merged: dict[str, str] = {}
    for place, found in [*context.meta.get(_KAFKA_CONFIG, ()), ("", pairs)]:
        merged |= kafka_config_of(found, place)
    return merged


def from_environment(environment: Mapping[str, str], entries: Iterable[Entry]) -> dict[str, Any]:
    """Return the options that the environment sets, by name, as text. An empty variable sets nothing."""
    found: dict[str, Any] = {}
    for entry in entries:
        text = environment.get(entry.variable, "").strip()
        if text:
            found[entry.name] = pairs_in(text) if entry.kind is PAIR else words_in(text) if entry.is_several else text
    return found


def words_in(text: str) -> list[str]:
    """Several values in one variable, split at commas and white space."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def pairs_in(text: str) -> list[str]:
    """Return several KEY=VALUE of one variable: one on each line, or split where the next `some.key=` begins.

    A value may contain '=', commas and spaces. Pairs must be on lines of their own if a value contains a space followed
    by `some.key=`.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return [line.removesuffix(",") for line in lines]
    return [pair for line in lines for pair in _PAIRS_BREAK.split(line) if pair]


def read(file: str, known: Iterable[str]) -> dict[str, Any]:
    """The options that `file` sets, by parameter name: text, or a list of texts.

    Raises:
        LoadError: with the file's name, in one sentence that repeats no value.
    """
    try:
        with Path(file).open("rb") as opened:
            table = tomllib.load(opened)
    except OSError as error:
        raise LoadError(f"--config {file!r} cannot be read: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise LoadError(f"--config {file!r} is not TOML: {_one_line(error)}") from error
    except UnicodeDecodeError as error:
        raise LoadError(f"--config {file!r} is not TOML: byte {error.start} is not valid UTF-8") from error
    except RecursionError as error:
        raise LoadError(f"--config {file!r} is not TOML that can be read: it is nested too deeply") from error
    known = frozenset(known)
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise LoadError(f"--config {file!r} has an unknown key {key!r}{_near(key, known)}")
        if name in found:
            raise LoadError(f"--config {file!r} sets {key!r} twice, once with '-' and once with '_'")
        found[name] = _texts(file, key, value) if name != KAFKA_CONFIG else _pairs(file, key, value)
    return found


def _as_each_takes_it(found: Mapping[str, Any], entries: Mapping[str, Entry], file: str) -> dict[str, Any]:
    """Adapt values to a command: a single topic becomes a list for `run`, a list of one a single one for `produce`."""
    taken: dict[str, Any] = {}
    for name, value in found.items():
        is_list = isinstance(value, list)
        if name in entries and entries[name].is_repeatable:
            taken[name] = value if is_list else [value]
        elif is_list and name in entries:
            if len(value) != 1:
                raise LoadError(f"--config {file!r}: {entries[name].key} must be one value, not a list of {len(value)}")
            taken[name] = value[0]
        else:
            taken[name] = value
    return taken


def _pairs(file: str, key: str, value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}={_text(file, f'{key}.{name}', item)}" for name, item in _flat(value)]
    texts = _texts(file, key, value)
    return texts if isinstance(texts, list) else [texts]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the full keys: in TOML, a key with dots is nested tables, and `fetch.min.bytes = 1` is three deep."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _texts(file: str, key: str, value: object) -> str | list[str]:
    if isinstance(value, list):
        return [_text(file, key, item) for item in value]
    return _text(file, key, value)


def _text(file: str, key: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise LoadError(f"--config {file!r}: {key} must be text, a number or a boolean, not {_kind(value)}")


def _kind(value: object) -> str:
    return "a table" if isinstance(value, dict) else "a list in a list" if isinstance(value, list) else "a date or time"


def _near(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key.replace("_", "-"), [name.replace("_", "-") for name in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else "; the keys are the long names of the options"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
