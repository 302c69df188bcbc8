"""`processor schema generate` and `sample`: classes for handlers, and tasks to try them with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from processor.avro.names import named_types
from processor.avro.readers import schema_called
from processor.avro.schema import Schema
from processor.avro.schemas import load_schemas
from processor.avro.tools.classes import Classes, Style
from processor.avro.tools.sample import Sampler
from processor.cli import options
from processor.cli.schema.check import needed, own_names
from processor.errors import LoadError, SettingsError

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SCHEMA]…", help="An .avsc file, or the full name of a type.", show_default="all of --schemas"
    ),
]
StyleOption = Annotated[
    Style,
    typer.Option("--style", metavar="dataclass|msgspec", help="What the classes are: dataclasses or msgspec structs."),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Where the module goes.", show_default="standard output"),
]
Count = Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many tasks.")]
Sessions = Annotated[int, typer.Option("--sessions", metavar="N", help="Over how many sessions.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="The same seed gives the same tasks.", show_default="another every time"),
]


def generate(
    names: NamesArgument = None,
    schemas: options.Schemas = None,
    style: StyleOption = "dataclass",
    output: Output = None,
    config: options.Config = None,
) -> int:
    """Make a Python module of the schemas' records, for handlers that are annotated with Task[…]."""
    text = Classes(_chosen(names, schemas), style).text()
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(output).write_text(text, "utf-8")
    except OSError as caught:
        raise SettingsError(f"--output {output!r} cannot be written: {caught.strerror}") from None
    return 0


def sample(
    names: NamesArgument = None,
    schemas: options.Schemas = None,
    count: Count = 10,
    sessions: Sessions = 3,
    seed: Seed = None,
    config: options.Config = None,
) -> int:
    """Write random tasks whose payloads are values of the schemas, as JSON Lines for `processor produce`."""
    for option, number in (("--count", count), ("--sessions", sessions)):
        if number < 1:
            raise SettingsError(f"{option} must be at least 1, not {number}")
    samplers = [(schema, Sampler(schema, seed)) for schema in chosen_records(names, schemas)]
    for number in range(count):
        schema, sampler = samplers[number % len(samplers)]
        session = f"s{number // len(samplers) % sessions + 1}"
        task = {"session_id": session, "name": schema.name or "", "payload": sampler.value()}
        sys.stdout.write(msgspec.json.encode(task).decode() + "\n")
    return 0


def chosen_records(names: list[str] | None, schemas: str | None) -> list[Schema]:
    """The types that are named; where none is, the records of `--schemas` that are no part of another one.

    Raises:
        SettingsError: nothing is named, and there is no `--schemas`.
        LoadError: there is no such type, or no record.
    """
    chosen = _chosen(names, schemas) if names else _outer_records(_chosen(names, schemas))
    if not chosen:
        raise LoadError("there is no record in --schemas")
    return chosen


def _outer_records(schemas: list[Schema]) -> list[Schema]:
    records = [schema for schema in schemas if schema.definition["type"] == "record"]
    parts = {name for schema in records for name in named_types(schema.definition) if name != schema.name}
    return [schema for schema in records if schema.name not in parts] or records


def _chosen(names: list[str] | None, schemas: str | None) -> list[Schema]:
    if not names:
        loaded = load_schemas(needed(schemas))
        return [loaded.by_name[name] for name in own_names(loaded)]
    loaded = load_schemas(schemas)
    return [schema_called(name, loaded, schemas) for name in names]
