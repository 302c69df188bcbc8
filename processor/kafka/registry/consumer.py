"""Implementations of `SchemaRegistry`: non-blocking for consumers, blocking for producers and tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from processor.avro.schema import Schema
from processor.codec.registry_port import Framing
from processor.errors import DecodeError, LoadError, NotARegistry, NotReady, RegistryAccessDenied, RegistryError
from processor.kafka.registry.cache import AnswerCache, Fetch
from processor.registry_settings import RegistrySettings
from processor.telemetry.events import Emit
from processor.version import install_command

if TYPE_CHECKING:
    from processor.kafka.registry.client import RegistryClient
    from processor.kafka.registry.subjects import RegistrySubjects

BLOCKING_RETRIES = 2
"""Retries of a blocking request, such as a producer's at its start."""

RESULT_SCHEMA_SECONDS = 30.0
"""Delay between two checks whether a rejected schema of results is accepted by now."""

Request = int | bytes | tuple[str, Schema]
"""A schema's ID or GUID, or a topic and the schema to write to it."""
Answer = Schema | Framing


def open_registry(settings: RegistrySettings, retries: int = BLOCKING_RETRIES) -> RegistryClient:
    """Opens a connection whose calls block until there is a response.

    Raises:
        LoadError: a required library is not installed, or a file in the settings cannot be used.
    """
    try:
        from processor.kafka.registry.client import RegistryClient, open_client
    except ImportError as error:
        raise LoadError(
            f"--schema-registry requires a library that is not installed ({error.name}): {install_command('registry')}"
        ) from error
    return RegistryClient(settings, open_client(settings, retries))


class BlockingRegistry:
    """A `SchemaRegistry` that waits for each response."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self.framing_for = client.framing_for

    def schema_by_id(self, schema_id: int) -> Schema:
        """See `SchemaRegistry`; raises RegistryError if there is no response."""
        with _load_error_as_decode_error():
            return self._client.schema_by_id(schema_id)

    def schema_by_guid(self, guid: bytes) -> Schema:
        """See `SchemaRegistry`; raises RegistryError if there is no response."""
        with _load_error_as_decode_error():
            return self._client.schema_by_guid(guid)


def open_subjects(settings: RegistrySettings) -> RegistrySubjects:
    """Opens a connection for listing and comparing what is registered.

    Raises:
        LoadError: as `open_registry`.
    """
    open_registry(settings).close()  # raises if a library is not installed
    from processor.kafka.registry.client import open_client
    from processor.kafka.registry.subjects import RegistrySubjects

    return RegistrySubjects(settings, open_client(settings, BLOCKING_RETRIES))


class ConsumerRegistry:
    """The non-blocking `SchemaRegistry` of a consumer. Threads may share it."""

    def __init__(
        self,
        settings: RegistrySettings,
        emit: Emit,
        connect: Callable[[], RegistryClient] | None = None,
    ) -> None:
        """`connect` opens a connection; None for `open_registry`."""
        self._connect = connect or (lambda: open_registry(settings, retries=0))
        self._answers: AnswerCache[Request, Answer] = AnswerCache(settings.address, self._connected, emit)

    def check(self, framings: list[tuple[str, Schema]]) -> None:
        """Sends the first requests and blocks, to report configuration errors at the start. Tolerates an outage.

        Args:
            framings: the topics to write to, each with the schema of its values.

        Raises:
            LoadError: the client cannot be opened, or the registry rejects a schema.
            RegistryAccessDenied: the registry denies this client access.
            NotARegistry: the response is not from a schema registry.
        """
        with self._connect() as client:
            try:
                client.check()
                for topic, schema in framings:
                    self._answers.store((topic, schema), client.framing_for(topic, schema))
            except (RegistryAccessDenied, NotARegistry):
                raise
            except RegistryError as error:
                self._answers.record_failure(error)

    def schema_by_id(self, schema_id: int) -> Schema:
        """See `SchemaRegistry`."""
        return self._schema(schema_id)

    def schema_by_guid(self, guid: bytes) -> Schema:
        """See `SchemaRegistry`."""
        return self._schema(guid)

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        """See `SchemaRegistry`; a rejected schema is not the task's fault, and may be accepted later: NotReady."""
        try:
            framing = self._answers.get((topic, schema))
        except LoadError as error:
            raise NotReady(str(error), RESULT_SCHEMA_SECONDS) from error
        assert isinstance(framing, Framing)
        return framing

    def _schema(self, request: int | bytes) -> Schema:
        try:  # no context manager, which costs more than all the rest: this runs for every record
            return self._answers.get(request)  # type: ignore[return-value] # the answer to an ID or GUID is a schema
        except LoadError as error:
            raise DecodeError(str(error)) from error

    @contextmanager
    def _connected(self) -> Iterator[Fetch[Request, Answer]]:
        with self._connect() as client:

            def fetch(request: Request) -> Answer:
                match request:
                    case int():
                        return client.schema_by_id(request)
                    case bytes():
                        return client.schema_by_guid(request)
                    case (topic, schema):
                        return client.framing_for(topic, schema)

            yield fetch


@contextmanager
def _load_error_as_decode_error() -> Iterator[None]:
    """A schema that the registry does not have makes the value undecodable."""
    try:
        yield
    except LoadError as error:
        raise DecodeError(str(error)) from error
