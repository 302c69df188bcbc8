"""`RegistrySubjects`: the subjects of a schema registry, their versions, and the version that a schema has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from confluent_kafka.schema_registry.error import SchemaRegistryError

from processor.avro.schema import Schema
from processor.kafka.registry.client import RegistryClient, checked_id, registered

NOT_FOUND_CODES = frozenset({40401, 40402, 40403})
"""Error codes for an unknown subject, version or schema (Confluent's API reference, "Errors")."""

Answer = TypeVar("Answer")


class Version(NamedTuple):
    """One registered version of a subject."""

    subject: str
    number: int
    schema_id: int
    schema: Schema

    def __str__(self) -> str:
        return f"{self.subject} version {self.number}"


class RegistrySubjects(RegistryClient):
    """A connection to a schema registry with requests for its subjects and versions."""

    def subjects(self) -> list[str]:
        """The names of all subjects, sorted.

        Raises:
            RegistryError: there is no response.
        """
        with self._translated_errors("the list of subjects"):
            return sorted(self._client.get_subjects())

    def versions(self, subject: str, limit: int | None = None) -> list[Version]:
        """The versions of a subject, the latest first, at most `limit`. Empty if there is no such subject.

        Raises:
            LoadError: a version is not Avro, or is unusable.
            RegistryError: there is no response.
        """
        with self._translated_errors(f"the versions of {subject}"):
            numbers = _found(lambda: self._client.get_versions(subject)) or []
        return [self._version(subject, number) for number in sorted(numbers, reverse=True)[:limit]]

    def registration(self, subject: str, schema: Schema) -> tuple[int, int] | None:
        """Version and ID of this schema in a subject; None if it is not registered there.

        Raises:
            RegistryError: there is no response.
        """
        with self._translated_errors(f"{schema.name} under {subject}"):
            found = _found(lambda: self._client.lookup_schema(subject, registered(schema)))
            return None if found is None else (checked_id(found.version), checked_id(found.schema_id))

    def _version(self, subject: str, number: int) -> Version:
        about = f"{subject} version {number}"
        with self._translated_errors(about):
            found = self._client.get_version(subject, number)
            schema_id = checked_id(found.schema_id)
        return Version(subject, number, schema_id, self._compile(about, found.schema))


def _found(fetch: Callable[[], Answer]) -> Answer | None:
    """The response; None if the registry has no such subject, version or schema."""
    try:
        return fetch()
    except SchemaRegistryError as error:
        if error.error_code in NOT_FOUND_CODES:
            return None
        raise
