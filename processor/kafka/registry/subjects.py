"""What is registered: subjects, their versions, and where a schema stands among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from confluent_kafka.schema_registry.error import SchemaRegistryError

from processor.avro.schema import Schema
from processor.kafka.registry.client import RegistryClient, registered, whole

NOT_THERE = frozenset({40401, 40402, 40403})
"""No such subject, version or schema (Confluent's API reference, "Errors")."""

Answer = TypeVar("Answer")


class Version(NamedTuple):
    """A schema as it is registered."""

    subject: str
    number: int
    schema_id: int
    schema: Schema

    def __str__(self) -> str:
        return f"{self.subject} version {self.number}"


class RegistrySubjects(RegistryClient):
    """A connection to a schema registry for whoever looks around in it."""

    def subjects(self) -> list[str]:
        """What schemas are registered under, sorted.

        Raises:
            RegistryError: it cannot be asked.
        """
        with self._told("its subjects"):
            return sorted(self._client.get_subjects())

    def versions(self, subject: str, most: int | None = None) -> list[Version]:
        """The versions of a subject, the latest first, and at most so many; none where there is no such subject.

        Raises:
            LoadError: one of them is not Avro, or cannot be read with.
            RegistryError: it cannot be asked.
        """
        with self._told(f"the versions of {subject}"):
            numbers = _known(lambda: self._client.get_versions(subject)) or []
        return [self._version(subject, number) for number in sorted(numbers, reverse=True)[:most]]

    def place_of(self, subject: str, schema: Schema) -> tuple[int, int] | None:
        """Under which version and ID a subject has this schema; None where it does not.

        Raises:
            RegistryError: it cannot be asked.
        """
        with self._told(f"{schema.name} under {subject}"):
            found = _known(lambda: self._client.lookup_schema(subject, registered(schema)))
            return None if found is None else (whole(found.version), whole(found.schema_id))

    def _version(self, subject: str, number: int) -> Version:
        about = f"{subject} version {number}"
        with self._told(about):
            found = self._client.get_version(subject, number)
            schema_id = whole(found.schema_id)
        return Version(subject, number, schema_id, self._compiled(about, found.schema))


def _known(ask: Callable[[], Answer]) -> Answer | None:
    """The answer; None where the registry says that there is no such subject, version or schema."""
    try:
        return ask()
    except SchemaRegistryError as error:
        if error.error_code in NOT_THERE:
            return None
        raise
