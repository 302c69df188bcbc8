"""`processor schema generate` and `sample`: classes for handlers, and random tasks to test them with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec

from processor.avro.names import named_types
from processor.avro.readers import find_schema
from processor.avro.schema import Schema
from processor.avro.schemas import load_schemas
from processor.avro.tools.classes import Classes, Style
from processor.avro.tools.sample import Sampler
from processor.cli.schema.check import own_names, required_folder
from processor.errors import LoadError, SettingsError
from processor.options.option import Argument, Option
from processor.options.values import SchemaOptions

NamesArgument = Annotated[
    list[str] | None,
    Argument("An .avsc file, or the full name of a type.", metavar="SCHEMA", default_shown="all of --schemas"),
]


def generate(
    files: SchemaOptions,
    names: NamesArgument = None,
    style: Annotated[Style, Option("Kind of classes: dataclasses or msgspec structs.")] = "dataclass",
    output: Annotated[
        str | None,
        Option("File to write the module to.", short="-o", metavar="FILE", default_shown="standard output"),
    ] = None,
) -> int:
    """Generate a Python module with a class per record, for handlers annotated with Task[…]."""
    text = Classes(_chosen(names, files), style).text()
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(output).write_text(text, "utf-8")
    except OSError as caught:
        raise SettingsError(f"--output {output!r} cannot be written: {caught.strerror}") from None
    return 0


def sample(
    files: SchemaOptions,
    names: NamesArgument = None,
    count: Annotated[int, Option("Number of tasks.", short="-n", at_least=1)] = 10,
    sessions: Annotated[int, Option("Number of sessions.", at_least=1)] = 3,
    seed: Annotated[
        int | None,
        Option("Seed of the random values; equal seeds produce equal tasks.", default_shown="random"),
    ] = None,
) -> int:
    """Print random tasks whose payloads are values of the schemas, as JSON Lines for `processor produce`."""
    samplers = [(schema, Sampler(schema, seed)) for schema in chosen_records(names, files)]
    for number in range(count):
        schema, sampler = samplers[number % len(samplers)]
        session = f"s{number // len(samplers) % sessions + 1}"
        task = {"session_id": session, "name": schema.name or "", "payload": sampler.value()}
        sys.stdout.write(msgspec.json.encode(task).decode() + "\n")
    return 0


def chosen_records(names: list[str] | None, files: SchemaOptions) -> list[Schema]:
    """Return the named types; without names, the records of `--schemas` that are not part of another record.

    Raises:
        SettingsError: there are neither names nor `--schemas`.
        LoadError: there is no such type, or no record.
    """
    chosen = _chosen(names, files) if names else _outer_records(_chosen(names, files))
    if not chosen:
        raise LoadError("--schemas contains no record")
    return chosen


def _outer_records(schemas: list[Schema]) -> list[Schema]:
    records = [schema for schema in schemas if schema.definition["type"] == "record"]
    parts = {name for schema in records for name in named_types(schema.definition) if name != schema.name}
    return [schema for schema in records if schema.name not in parts] or records


def _chosen(names: list[str] | None, files: SchemaOptions) -> list[Schema]:
    if not names:
        loaded = load_schemas(required_folder(files))
        return [loaded.by_name[name] for name in own_names(loaded)]
    loaded = load_schemas(files.schemas)
    return [find_schema(name, loaded, files.schemas) for name in names]
