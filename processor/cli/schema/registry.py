"""Access to a schema registry for `processor schema`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from processor.avro.schema import Schema
from processor.errors import SettingsError
from processor.options.option import Option
from processor.options.values import RegistryOptions
from processor.registry_settings import RegistrySettings

if TYPE_CHECKING:
    from processor.kafka.registry.subjects import RegistrySubjects, Version

SubjectTopic = Annotated[
    str | None,
    Option("Topic whose subjects are used; unused with --subject-name-strategy record.", short="-t"),
]


class Registered:
    """The registered schemas, by the subjects that the options select."""

    def __init__(self, settings: RegistrySettings, topic: str | None) -> None:
        """Sends no request yet.

        Raises:
            SettingsError: the subject name strategy requires a topic, and there is none.
        """
        if topic is None and settings.subject_name_strategy != "record":
            raise SettingsError(
                f"--topic is missing: --subject-name-strategy {settings.subject_name_strategy} requires it"
            )
        self._settings = settings
        self._topic = topic or ""

    @property
    def origin(self) -> str:
        """The registry's name in messages."""
        return f"the schema registry at {self._settings.address}"

    def subject(self, schema: Schema) -> str:
        """The subject of a schema."""
        return self._settings.subject(self._topic, schema.name)

    def versions(self, schemas: Iterable[Schema], every: bool) -> list[Version]:
        """The latest version of each subject, or with `every` all versions, the latest first.

        Raises:
            RegistryError: the registry does not respond.
            LoadError: a registered schema is unusable.
        """
        subjects = sorted({self.subject(schema) for schema in schemas})
        with self._open() as client:
            return [version for subject in subjects for version in client.versions(subject, None if every else 1)]

    def places(self, schema: Schema) -> list[dict[str, object]]:
        """Subject, version and ID of a schema's registration; empty if it is not registered.

        Raises:
            RegistryError: the registry does not respond.
        """
        subject = self.subject(schema)
        with self._open() as client:
            place = client.registration(subject, schema)
        return [{"subject": subject, "version": place[0], "id": place[1]}] if place else []

    def register(self, schemas: list[Schema]) -> Iterator[tuple[str, int]]:
        """Registers each schema; yields its subject and ID.

        Raises:
            LoadError: the registry rejects a schema.
            RegistryError: the registry does not respond.
        """
        with self._open() as client:
            for schema in schemas:
                subject = self.subject(schema)
                yield subject, client.register(subject, schema)

    def _open(self) -> RegistrySubjects:
        return open_subjects(self._settings)


def open_subjects(settings: RegistrySettings) -> RegistrySubjects:
    """Opens a connection to the registry.

    Raises:
        LoadError: a required library is not installed, or a file in the settings cannot be used.
    """
    from processor.kafka.registry import (
        consumer as registry,  # here, so that most of `processor schema` needs no Kafka client
    )

    return registry.open_subjects(settings)


def required_registry(options: RegistryOptions, reason: str) -> RegistrySettings:
    """The registry that the options describe.

    Raises:
        SettingsError: `--schema-registry` is not set. The message ends with `reason`.
    """
    if (settings := options.registry) is None:
        raise SettingsError(f"--schema-registry is missing: {reason}")
    return settings
