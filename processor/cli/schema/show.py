"""`processor schema list`, `show` and `diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from processor.avro.readers import find_schema
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, load_schemas
from processor.avro.tools.compatibility import Compatibility, incompatibilities
from processor.avro.tools.differences import differences
from processor.cli.schema.baselines import Against, baselines
from processor.cli.schema.check import own_names, required_folder
from processor.cli.schema.registry import Registered, SubjectTopic, open_subjects
from processor.errors import LoadError
from processor.options.option import Argument
from processor.options.values import RegistryOptions, SchemaOptions, SubjectOptions
from processor.registry_settings import RegistrySettings

if TYPE_CHECKING:
    from processor.kafka.registry.subjects import RegistrySubjects

NameArgument = Annotated[str, Argument("An .avsc file, or the full name of a type.", metavar="SCHEMA")]


def list_(files: SchemaOptions, subjects: RegistryOptions) -> int:
    """List every type with its fingerprint and file; with --schema-registry, every subject with its latest version."""
    registry = subjects.registry
    return _list_files(files.schemas) if registry is None else _list_subjects(registry)


def _list_subjects(registry: RegistrySettings) -> int:
    with open_subjects(registry) as client:
        names = client.subjects()
        width = max(map(len, names), default=0)
        for name in names:
            typer.echo(f"{name:{width}}  {_latest(client, name)}")
    return 0


def _latest(client: RegistrySubjects, subject: str) -> str:
    try:
        versions = client.versions(subject, 1)
    except LoadError as error:  # a subject in Protobuf must not end the list
        return str(error)
    return "".join(f"version {v.number}  ID {v.schema_id}  {v.schema.name or '(unnamed)'}" for v in versions)


def _list_files(schemas: str | None) -> int:
    loaded = load_schemas(schemas)
    names = sorted(loaded.by_name) if schemas is None else own_names(loaded)
    width = max(map(len, names), default=0)
    for name in names:
        schema = loaded.by_name[name]
        kind = schema.definition["type"]
        typer.echo(f"{name:{width}}  {kind:6}  {schema.fingerprint.hex()}  {loaded.files[name]}")
    return 0


def show(
    name: NameArgument,
    files: SchemaOptions,
    subjects: SubjectOptions,
    topic: SubjectTopic = None,
) -> int:
    """Show a type's fingerprint, Parsing Canonical Form and definition with all referenced types, as JSON.

    With --schema-registry, also show the version and ID under which it is registered.
    """
    registry = subjects.registry
    loaded = load_schemas(files.schemas)
    schema = find_schema(name, loaded, files.schemas)
    places = None if registry is None else Registered(registry, topic).places(schema)
    typer.echo(_shown(schema, loaded, places))
    return 0


def diff(
    name: NameArgument,
    files: SchemaOptions,
    against: Against = None,
) -> int:
    """Show what changed in a type since an earlier version, and which compatibility levels the change keeps."""
    folder = required_folder(files)
    schema = find_schema(name, load_schemas(folder), folder)
    earlier = baselines(folder, against, transitive=False)
    if not earlier:
        raise LoadError(f"there is no earlier version of {name} to compare with: set --against git:REV or a folder")
    (baseline,) = earlier
    old = baseline.by_name.get(schema.name or "")
    if old is None:
        raise LoadError(f"{baseline.origin} has no {schema.name}")
    changed = list(differences(old.definition, schema.definition))
    typer.echo("\n".join(changed) if changed else f"no changes since {baseline.origin}")
    levels: tuple[Compatibility, ...] = ("BACKWARD", "FORWARD", "FULL")
    kept = [level for level in levels if not incompatibilities(schema, old, baseline.origin, level)]
    typer.echo(f"compatible with {baseline.origin}: {', '.join(kept) or 'NONE'}")
    return 0


def _shown(schema: Schema, loaded: Schemas, places: list[dict[str, object]] | None) -> str:
    document = {
        "name": schema.name,
        "file": loaded.files.get(schema.name or ""),
        "fingerprint": schema.fingerprint.hex(),
        "registered": places,
        "canonical_form": schema.canonical_form,
        "definition": schema.definition,
    }
    known = {name: value for name, value in document.items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(known), indent=2).decode()
