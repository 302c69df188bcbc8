"""Where an option's value comes from when the command line does not give it: the environment, then a TOML file.

Both become defaults of the command (`Context.default_map`), as text, so that a value is read the same way
wherever it was written.
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
from processor.settings import Settings

PREFIX = "PROCESSOR_"
NO_OPTIONS = frozenset(
    {"app", "file", "files", "logs", "config", "help", "version", "install_completion", "show_completion"}
)
KAFKA_CONFIG = "kafka_config"
RUN_OPTIONS = frozenset({"topic", *Settings.__struct_fields__} - {"topics"})
"""Every option of `run` by its parameter's name: a file may be shared with commands that know fewer."""

_WHERE = "processor.where"
_LOWER_KAFKA_CONFIG = "processor.kafka_config"
_PAIRS_BREAK = re.compile(r"[,\s]+(?=(?:[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+|acks|debug|partitioner|retries)=)")
"""Between two pairs of one line: a comma or space after which `some.kafka.key=` follows.

The key must have a dot, as all of the client's have but these few: `sasl.oauthbearer.config` is one value
that itself reads `principal=a scope=b`.
"""


def read_lower_sources(context: typer.Context, config: str | None) -> str | None:
    """The callback of `--config`: it is eager, so it runs before any other option looks for its default.

    Raises:
        LoadError: the file cannot be read or parsed, or holds a key or value that no option takes.
    """
    if context.resilient_parsing:
        return config
    config = config or os.environ.get(PREFIX + "CONFIG") or None
    names = {param.name for param in context.command.params if param.name} - NO_OPTIONS
    found: dict[str, Any] = {}
    where: dict[str, str] = {}
    if config is not None:
        found = read(config, names | RUN_OPTIONS)
        where = dict.fromkeys(found, f"in {config}")
    multiple = {param.name for param in context.command.params if getattr(param, "multiple", False)}
    set_outside = from_environment(os.environ, names, multiple)
    where.update({name: f"in {PREFIX}{name.upper()}" for name in set_outside})
    context.meta[_WHERE] = where
    context.meta[_LOWER_KAFKA_CONFIG] = [*found.get(KAFKA_CONFIG, ()), *set_outside.get(KAFKA_CONFIG, ())]
    context.default_map = {**_as_each_takes_it(found, multiple, where), **set_outside}
    return config


def where_set(context: typer.Context, name: str) -> str | None:
    """Where the default of the option `name` was found, for a message: "in FILE", "in VARIABLE", or None."""
    where: str | None = context.meta.get(_WHERE, {}).get(name)
    return where


def lower_kafka_config(context: typer.Context) -> list[str]:
    """The pairs that the file and the environment give, in this order."""
    pairs: list[str] = context.meta.get(_LOWER_KAFKA_CONFIG, [])
    return pairs


def from_environment(environment: Mapping[str, str], names: Iterable[str], multiple: set[str]) -> dict[str, Any]:
    """The options among `names` that the environment sets; an empty variable sets nothing."""
    found: dict[str, Any] = {}
    for name in names:
        text = environment.get(PREFIX + name.upper(), "").strip()
        if not text:
            continue
        found[name] = text if name not in multiple else pairs_in(text) if name == KAFKA_CONFIG else words_in(text)
    return found


def words_in(text: str) -> list[str]:
    """Several values in one variable, split at commas and white space."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def pairs_in(text: str) -> list[str]:
    """Several KEY=VALUE in one variable: one a line, or split where the next `some.key=` begins.

    A value may hold '=', commas and spaces; one that itself holds a space and then `some.key=` has to be given
    one a line.
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LoadError(f"--config {file!r} is not TOML: {_one_line(error)}") from error
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


def _as_each_takes_it(found: Mapping[str, Any], multiple: set[str], where: Mapping[str, str]) -> dict[str, Any]:
    """A single topic is a list of one for `run`; a list of one is a single topic for `produce`."""
    taken: dict[str, Any] = {}
    for name, value in found.items():
        if name in multiple:
            taken[name] = value if isinstance(value, list) else [value]
        elif isinstance(value, list):
            if len(value) != 1:
                raise LoadError(f"{name.replace('_', '-')} {where[name]} must be one value, not a list of {len(value)}")
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
    """A TOML key with dots that is not quoted makes tables: `fetch.min.bytes = 1` is three deep."""
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
