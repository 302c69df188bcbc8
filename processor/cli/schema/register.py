"""`processor schema register`: schemas put into a registry before anybody writes with them."""

from __future__ import annotations

import typer

from processor.cli.schema.make import NamesArgument, chosen_records
from processor.cli.schema.registered import Registered, SubjectTopic, needed_registry
from processor.errors import SettingsError
from processor.options.values import SchemaOptions, SubjectOptions


def register(
    files: SchemaOptions,
    subjects: SubjectOptions,
    names: NamesArgument = None,
    topic: SubjectTopic = None,
) -> int:
    """Register records in a schema registry, each with all that it refers to inside.

    The registry refuses what its own level of compatibility forbids; the exit code is then 5.
    """
    known = Registered(needed_registry(subjects, "it names what to register in"), topic)
    chosen = chosen_records(names, files)
    names_by_subject = {known.subject(schema): schema.name for schema in chosen}
    if len(names_by_subject) < len(chosen):
        raise SettingsError(
            f"{len(chosen)} schemas would be one subject: name the one to register, or use another"
            " --subject-name-strategy"
        )
    for subject, schema_id in known.register(chosen):
        typer.echo(f"{names_by_subject[subject]}: registered as {subject}, ID {schema_id}")
    return 0
