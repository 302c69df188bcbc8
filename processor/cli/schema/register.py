"""`processor schema register`: registers schemas in a schema registry."""

from __future__ import annotations

import typer

from processor.cli.schema.generate import NamesArgument, chosen_records
from processor.cli.schema.registry import Registered, SubjectTopic, required_registry
from processor.errors import SettingsError
from processor.options.values import SchemaOptions, SubjectOptions


def register(
    files: SchemaOptions,
    subjects: SubjectOptions,
    names: NamesArgument = None,
    topic: SubjectTopic = None,
) -> int:
    """Register records in a schema registry, each with all referenced types included.

    The registry rejects a schema that violates its own compatibility level; the exit code is then 5.
    """
    known = Registered(required_registry(subjects, "give the URL of the registry"), topic)
    chosen = chosen_records(names, files)
    names_by_subject = {known.subject(schema): schema.name for schema in chosen}
    if len(names_by_subject) < len(chosen):
        raise SettingsError(
            f"{len(chosen)} schemas would share one subject: name the one to register, or use another"
            " --subject-name-strategy"
        )
    for subject, schema_id in known.register(chosen):
        typer.echo(f"{names_by_subject[subject]}: registered as {subject}, ID {schema_id}")
    return 0
