"""A schema registry for consumers, which never waits, and for producers, which do once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from processor.avro.schema import Schema
from processor.codec.registry_port import Framing
from processor.errors import DecodeError, LoadError, NotNow, RegistryError, RegistryRefusal, RegistryUnknown
from processor.kafka.registry.cache import Ask, Lookups
from processor.registry_settings import RegistrySettings
from processor.telemetry.events import Emit
from processor.version import install_command

if TYPE_CHECKING:
    from processor.kafka.registry.client import RegistryClient
    from processor.kafka.registry.subjects import RegistrySubjects

PATIENT_RETRIES = 2
"""Of a producer, which asks once, at its start."""

REFUSED_SECONDS = 30.0
"""Between two questions whether results may be written by now."""

Question = int | bytes | tuple[str, Schema]
"""A schema by its ID or its GUID, or how values for a topic and a schema are written."""
Answer = Schema | Framing


def open_registry(settings: RegistrySettings, retries: int = PATIENT_RETRIES) -> RegistryClient:
    """A connection to a registry; each call on it waits for its answer.

    Raises:
        LoadError: the client's libraries are not installed, or a file that the settings name cannot be used.
    """
    try:
        from processor.kafka.registry.client import RegistryClient, open_client
    except ImportError as error:
        raise LoadError(
            f"--schema-registry needs more than is installed ({error.name}): {install_command('registry')}"
        ) from error
    return RegistryClient(settings, open_client(settings, retries))


class PatientRegistry:
    """The `SchemaRegistry` of who has the time to wait for each answer."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self.framing_for = client.framing_for

    def schema_by_id(self, schema_id: int) -> Schema:
        """See `SchemaRegistry`; RegistryError where it cannot be asked."""
        with _dead_letter():
            return self._client.schema_by_id(schema_id)

    def schema_by_guid(self, guid: bytes) -> Schema:
        """See `SchemaRegistry`; RegistryError where it cannot be asked."""
        with _dead_letter():
            return self._client.schema_by_guid(guid)


def open_subjects(settings: RegistrySettings) -> RegistrySubjects:
    """The same for whoever looks at what is registered.

    Raises:
        LoadError: as `open_registry`.
    """
    open_registry(settings).close()  # says what is not installed
    from processor.kafka.registry.client import open_client
    from processor.kafka.registry.subjects import RegistrySubjects

    return RegistrySubjects(settings, open_client(settings, PATIENT_RETRIES))


class ConsumerRegistry:
    """The `SchemaRegistry` of a consumer. Any thread may ask; nobody waits."""

    def __init__(
        self,
        settings: RegistrySettings,
        emit: Emit,
        connect: Callable[[], RegistryClient] | None = None,
    ) -> None:
        """`connect` opens a connection, as `open_registry` does."""
        self._connect = connect or (lambda: open_registry(settings, retries=0))
        self._lookups: Lookups[Question, Answer] = Lookups(settings.address, self._asked, emit)

    def check(self, framings: list[tuple[str, Schema]]) -> None:
        """Asks once, and waits: a mistake is to be told at the start. A registry that is away is not one.

        Args:
            framings: the topics that will be written to, and the schemas that values are made for.

        Raises:
            LoadError: the client cannot be opened, or the registry does not take a schema.
            RegistryRefusal: the registry does not let this client in.
            RegistryUnknown: what answers is no registry.
        """
        with self._connect() as client:
            try:
                client.check()
                for topic, schema in framings:
                    self._lookups.learn((topic, schema), client.framing_for(topic, schema))
            except (RegistryRefusal, RegistryUnknown):
                raise
            except RegistryError as error:
                self._lookups.suffer(error)

    def schema_by_id(self, schema_id: int) -> Schema:
        """See `SchemaRegistry`."""
        return self._schema(schema_id)

    def schema_by_guid(self, guid: bytes) -> Schema:
        """See `SchemaRegistry`."""
        return self._schema(guid)

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        """See `SchemaRegistry`; a refusal is no task's fault, and may end."""
        try:
            framing = self._lookups.get((topic, schema))
        except LoadError as error:
            raise NotNow(str(error), REFUSED_SECONDS) from error
        assert isinstance(framing, Framing)
        return framing

    def _schema(self, question: int | bytes) -> Schema:
        try:  # not `_dead_letter`, which costs more than all the rest: this is asked for every record
            return self._lookups.get(question)  # type: ignore[return-value] # what is asked for by number is a schema
        except LoadError as error:
            raise DecodeError(str(error)) from error

    @contextmanager
    def _asked(self) -> Iterator[Ask[Question, Answer]]:
        with self._connect() as client:

            def ask(question: Question) -> Answer:
                match question:
                    case int():
                        return client.schema_by_id(question)
                    case bytes():
                        return client.schema_by_guid(question)
                    case (topic, schema):
                        return client.framing_for(topic, schema)

            yield ask


@contextmanager
def _dead_letter() -> Iterator[None]:
    """A value is not to be read whose schema the registry does not have."""
    try:
        yield
    except LoadError as error:
        raise DecodeError(str(error)) from error
