"""`processor schema list`, `show` and `diff`: what there is, and what has changed."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from processor.cli import options
from processor.cli.baselines import Against, baselines
from processor.cli.schema_check import needed, own_names
from processor.codec.compatibility import breaks
from processor.codec.differences import differences
from processor.codec.readers import schema_called
from processor.codec.schema import Schema
from processor.codec.schemas import Schemas, load_schemas
from processor.errors import LoadError

NameArgument = Annotated[
    str, typer.Argument(metavar="SCHEMA", help="An .avsc file, or the full name of a type.", show_default=False)
]


def list_(schemas: options.Schemas = None, config: options.Config = None) -> int:
    """List every type with its fingerprint and its file."""
    loaded = load_schemas(schemas)
    names = sorted(loaded.by_name) if schemas is None else own_names(loaded)
    width = max(map(len, names), default=0)
    for name in names:
        schema = loaded.by_name[name]
        kind = schema.definition["type"]
        typer.echo(f"{name:{width}}  {kind:6}  {schema.fingerprint.hex()}  {loaded.files[name]}")
    return 0


def show(name: NameArgument, schemas: options.Schemas = None, config: options.Config = None) -> int:
    """Show a type's fingerprint, its Parsing Canonical Form and its definition with all that it refers to, as JSON."""
    loaded = load_schemas(schemas)
    schema = schema_called(name, loaded, schemas)
    typer.echo(_shown(schema, loaded))
    return 0


def diff(
    name: NameArgument,
    schemas: options.Schemas = None,
    against: Against = None,
    config: options.Config = None,
) -> int:
    """Tell what has changed in a type since what it was, and which levels of compatibility that keeps."""
    folder = needed(schemas)
    schema = schema_called(name, load_schemas(folder), folder)
    earlier = baselines(folder, against, transitive=False)
    if not earlier:
        raise LoadError(f"there is nothing to hold {name} against: give --against git:REV or a folder")
    (baseline,) = earlier
    old = baseline.by_name.get(schema.name or "")
    if old is None:
        raise LoadError(f"{baseline.origin} has no {schema.name}")
    changed = list(differences(old.definition, schema.definition))
    typer.echo("\n".join(changed) if changed else f"nothing has changed since {baseline.origin}")
    kept = [level for level in ("BACKWARD", "FORWARD", "FULL") if not breaks(schema, old, baseline.origin, level)]
    typer.echo(f"compatible with {baseline.origin}: {', '.join(kept) or 'not at all'}")
    return 0


def _shown(schema: Schema, loaded: Schemas) -> str:
    document = {
        "name": schema.name,
        "file": loaded.files.get(schema.name or ""),
        "fingerprint": schema.fingerprint.hex(),
        "canonical_form": schema.canonical_form,
        "definition": schema.definition,
    }
    told = {member: value for member, value in document.items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()
