"""`processor schema register`: schemas put into a registry before anybody writes with them."""

from __future__ import annotations

import typer

from processor.cli import options
from processor.cli.schema.make import NamesArgument, chosen_records
from processor.cli.schema.registered import Registered, SubjectTopic, needed_registry, registry_of
from processor.errors import SettingsError


def register(
    names: NamesArgument = None,
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
    """Register records in a schema registry, each with all that it refers to inside.

    The registry refuses what its own level of compatibility forbids; the exit code is then 5.
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
    known = Registered(needed_registry(registry, "it names what to register in"), topic)
    chosen = chosen_records(names, schemas)
    subjects = {known.subject(schema): schema.name for schema in chosen}
    if len(subjects) < len(chosen):
        raise SettingsError(
            f"{len(chosen)} schemas would be one subject: name the one to register, or use another"
            " --subject-name-strategy"
        )
    for subject, schema_id in known.register(chosen):
        typer.echo(f"{subjects[subject]}: registered as {subject}, ID {schema_id}")
    return 0
