"""`processor schema list`, `show` and `diff`: what there is, and what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from processor.avro.readers import schema_called
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, load_schemas
from processor.avro.tools.compatibility import breaks
from processor.avro.tools.differences import differences
from processor.cli import options
from processor.cli.schema.baselines import Against, baselines
from processor.cli.schema.check import needed, own_names
from processor.cli.schema.registered import Registered, SubjectTopic, open_subjects, registry_of
from processor.errors import LoadError
from processor.registry_settings import RegistrySettings

if TYPE_CHECKING:
    from processor.kafka.registry.subjects import RegistrySubjects

NameArgument = Annotated[
    str, typer.Argument(metavar="SCHEMA", help="An .avsc file, or the full name of a type.", show_default=False)
]


def list_(
    schemas: options.Schemas = None,
    schema_registry: options.SchemaRegistry = None,
    schema_registry_user: options.SchemaRegistryUser = None,
    schema_registry_password_file: options.SchemaRegistryPasswordFile = None,
    schema_registry_token_file: options.SchemaRegistryTokenFile = None,
    schema_registry_ca: options.SchemaRegistryCa = None,
    schema_registry_certificate: options.SchemaRegistryCertificate = None,
    schema_registry_key: options.SchemaRegistryKey = None,
    config: options.Config = None,
) -> int:
    """List every type with its fingerprint and its file; with --schema-registry, every subject that is there."""
    registry = registry_of(
        schema_registry=schema_registry,
        schema_registry_user=schema_registry_user,
        schema_registry_password_file=schema_registry_password_file,
        schema_registry_token_file=schema_registry_token_file,
        schema_registry_ca=schema_registry_ca,
        schema_registry_certificate=schema_registry_certificate,
        schema_registry_key=schema_registry_key,
    )
    return _list_files(schemas) if registry is None else _list_subjects(registry)


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
    except LoadError as error:  # another team's Protobuf is no reason to tell of nothing
        return str(error)
    return "".join(f"version {v.number}  ID {v.schema_id}  {v.schema.name or 'nameless'}" for v in versions)


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
    schemas: options.Schemas = None,
    topic: SubjectTopic = None,
    schema_registry: options.SchemaRegistry = None,
    schema_registry_user: options.SchemaRegistryUser = None,
    schema_registry_password_file: options.SchemaRegistryPasswordFile = None,
    schema_registry_token_file: options.SchemaRegistryTokenFile = None,
    schema_registry_ca: options.SchemaRegistryCa = None,
    schema_registry_certificate: options.SchemaRegistryCertificate = None,
    schema_registry_key: options.SchemaRegistryKey = None,
    subject_name_strategy: options.SubjectNames = "topic",
    config: options.Config = None,
) -> int:
    """Show a type's fingerprint, its Parsing Canonical Form and its definition with all that it refers to, as JSON.

    With --schema-registry also the version and the ID under which it is registered.
    """
    registry = registry_of(
        schema_registry=schema_registry,
        schema_registry_user=schema_registry_user,
        schema_registry_password_file=schema_registry_password_file,
        schema_registry_token_file=schema_registry_token_file,
        schema_registry_ca=schema_registry_ca,
        schema_registry_certificate=schema_registry_certificate,
        schema_registry_key=schema_registry_key,
        subject_name_strategy=subject_name_strategy,
    )
    loaded = load_schemas(schemas)
    schema = schema_called(name, loaded, schemas)
    places = None if registry is None else Registered(registry, topic).places(schema)
    typer.echo(_shown(schema, loaded, places))
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


def _shown(schema: Schema, loaded: Schemas, places: list[dict[str, object]] | None) -> str:
    document = {
        "name": schema.name,
        "file": loaded.files.get(schema.name or ""),
        "fingerprint": schema.fingerprint.hex(),
        "registered": places,
        "canonical_form": schema.canonical_form,
        "definition": schema.definition,
    }
    told = {member: value for member, value in document.items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()
