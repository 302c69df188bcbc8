"""A registry's part in `processor schema`: what is there, held against, and registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from processor.avro.schema import Schema
from processor.errors import SettingsError
from processor.options.option import Option, Panel
from processor.options.values import RegistryOptions
from processor.registry_settings import RegistrySettings

if TYPE_CHECKING:
    from processor.kafka.registry.subjects import RegistrySubjects, Version

SubjectTopic = Annotated[
    str | None,
    Option(
        "Topic by which subjects are named; not needed with --subject-name-strategy record.",
        Panel.REGISTRY,
        short="-t",
    ),
]


class Registered:
    """What a registry has, with subjects named as the options have it."""

    def __init__(self, settings: RegistrySettings, topic: str | None) -> None:
        """Raises:
        SettingsError: subjects are named by a topic, and there is none.
        """
        if topic is None and settings.subject_name_strategy != "record":
            strategy = settings.subject_name_strategy
            raise SettingsError(
                f"--topic is missing: with --subject-name-strategy {strategy} a subject is named by its topic"
            )
        self._settings = settings
        self._topic = topic or ""

    @property
    def origin(self) -> str:
        """What to call it."""
        return f"the schema registry at {self._settings.address}"

    def subject(self, schema: Schema) -> str:
        """What a schema is registered under."""
        return self._settings.subject(self._topic, schema.name)

    def versions(self, schemas: Iterable[Schema], every: bool) -> list[Version]:
        """The latest version of each subject, or all versions, the latest first.

        Raises:
            RegistryError: the registry cannot be asked.
            LoadError: what it has cannot be read.
        """
        subjects = sorted({self.subject(schema) for schema in schemas})
        with self._open() as client:
            return [version for subject in subjects for version in client.versions(subject, None if every else 1)]

    def places(self, schema: Schema) -> list[dict[str, object]]:
        """Where a schema is registered: subject, version and ID.

        Raises:
            RegistryError: the registry cannot be asked.
        """
        subject = self.subject(schema)
        with self._open() as client:
            place = client.place_of(subject, schema)
        return [{"subject": subject, "version": place[0], "id": place[1]}] if place else []

    def register(self, schemas: list[Schema]) -> Iterator[tuple[str, int]]:
        """Registers each; its subject and its ID.

        Raises:
            LoadError: the registry does not take one.
            RegistryError: the registry cannot be asked.
        """
        with self._open() as client:
            for schema in schemas:
                subject = self.subject(schema)
                yield subject, client.register(subject, schema)

    def _open(self) -> RegistrySubjects:
        return open_subjects(self._settings)


def open_subjects(settings: RegistrySettings) -> RegistrySubjects:
    """A connection that answers, or an error that says why not.

    Raises:
        RegistryError: the registry cannot be asked.
        LoadError: what it takes to ask is not installed.
    """
    from processor.kafka.registry import (
        consumer as registry,  # here, so that most of `processor schema` needs no Kafka client
    )

    return registry.open_subjects(settings)


def needed_registry(options: RegistryOptions, why: str) -> RegistrySettings:
    """The registry that the options name.

    Raises:
        SettingsError: they name none.
    """
    if (settings := options.registry) is None:
        raise SettingsError(f"--schema-registry is missing: {why}")
    return settings
