"""`RegistryClient`: blocking requests to a schema registry, whose errors are translated into those of this package.

It requires the extra `session-processor[registry]`; `open_registry` reports if that is missing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import msgspec
from confluent_kafka.schema_registry import Schema as Registered
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from processor.avro.definitions import Definitions
from processor.avro.schema import Schema
from processor.avro.schemas import parse_document
from processor.codec.framing import check_substitute, confluent
from processor.codec.registry_port import Framing
from processor.errors import LoadError, NotARegistry, ProcessorError, RegistryAccessDenied, RegistryError
from processor.kafka.secret_files import secret_in
from processor.registry_settings import RegistrySettings

ANSWER_SECONDS = 5.0
"""Time limit for one request."""

RETRY_MILLISECONDS = 250

LARGEST_ID = 2**31 - 1
"""Schema IDs are positive signed 32-bit integers in every registry."""

MESSAGE_CHARACTERS = 300

ACCESS_DENIED_STATUSES = frozenset({401, 403})
TRANSIENT_STATUSES = frozenset({408, 429})


def open_client(settings: RegistrySettings, retries: int) -> SchemaRegistryClient:
    """Opens Confluent's client, without a request.

    Args:
        settings: the registry's address and credentials.
        retries: how often a request is repeated if there is no response.

    Raises:
        LoadError: a file in the settings cannot be read, or does not have the expected contents.
    """
    config: dict[str, Any] = {
        "url": settings.address,
        "timeout": ANSWER_SECONDS,
        "max.retries": retries,
        "retries.wait.ms": RETRY_MILLISECONDS,
        **_access(settings),
    }
    for option, name in (("ca", "ssl.ca"), ("certificate", "ssl.certificate"), ("key", "ssl.key")):
        if (path := getattr(settings, option)) is not None:
            config[f"{name}.location"] = path
    try:
        return SchemaRegistryClient.new_client(config)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError without a file name
        files = [path for path in (settings.ca, settings.certificate, settings.key) if path is not None]
        reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
        raise LoadError(f"a TLS file for the schema registry ({', '.join(files)}) cannot be used: {reason}") from None


def _access(settings: RegistrySettings) -> dict[str, Any]:
    if settings.user_in_url is not None:
        return {"basic.auth.user.info": ":".join(settings.user_in_url)}
    if settings.user is not None and settings.password_file is not None:
        password = secret_in(settings.password_file, "--schema-registry-password-file")
        return {"basic.auth.user.info": f"{settings.user}:{password}"}
    if settings.token_file is None:
        return {}
    token = secret_in(settings.token_file, "--schema-registry-token-file")
    # The client requires a logical cluster, which only Confluent Cloud uses.
    source = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.token": token}
    return {**source, "bearer.auth.logical.cluster": ""}


class _PageNotFound(NotARegistry):
    """HTTP 404 without the registry's own error code."""


class RegistryClient:
    """One connection to a schema registry, for one thread. Close it, or use it as a context manager."""

    def __init__(self, settings: RegistrySettings, client: SchemaRegistryClient) -> None:
        self._settings = settings
        self._client = client

    def check(self) -> None:
        """Sends the smallest request there is.

        Raises:
            RegistryError: there is no response.
            RegistryAccessDenied: the registry denies this client access.
            NotARegistry: the response is not from a schema registry.
        """
        try:
            with self._translated_errors("the schema types"):
                types: object = self._client.get_schema_types()
        except LoadError as error:
            raise NotARegistry(str(error)) from error
        if not isinstance(types, list):
            raise self._not_a_registry("the response does not list schema types")

    def schema_by_id(self, schema_id: int) -> Schema:
        """The schema with this ID, including the schemas that it references.

        Raises:
            LoadError: the registry has no such schema, or an unusable one.
            RegistryError: there is no response.
        """
        about = f"schema {schema_id}"
        if not 0 < schema_id <= LARGEST_ID:
            raise LoadError(f"{about} cannot exist: schema IDs are from 1 to {LARGEST_ID}")
        return self._compile(about, self._fetched(about, lambda: self._client.get_schema(schema_id)))

    def schema_by_guid(self, guid: bytes) -> Schema:
        """The schema with this GUID of 16 bytes, including the schemas that it references.

        Raises:
            LoadError: the registry has no such schema, or an unusable one.
            RegistryError: there is no response.
        """
        text = str(UUID(bytes=guid))
        about = f"schema {text}"
        return self._compile(about, self._fetched(about, lambda: self._client.get_schema_by_guid(text)))

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        """How to write values of `schema` to `topic`, according to the settings.

        Raises:
            LoadError: the registry rejects the schema or does not have it, or the latest one cannot replace it.
            RegistryError: there is no response.
        """
        subject = self._settings.subject(topic, schema.name)
        if self._settings.use_latest_version:
            return self._latest(subject, schema)
        if self._settings.auto_register:
            return confluent(self.register(subject, schema), schema)
        with self._translated_errors(f"{schema.name} under {subject} (--no-auto-register is set)"):
            return confluent(checked_id(self._client.lookup_schema(subject, registered(schema)).schema_id), schema)

    def register(self, subject: str, schema: Schema) -> int:
        """Registers the schema unless it is registered already. Returns its ID.

        Raises:
            LoadError: the registry rejects the schema.
            RegistryError: there is no response.
        """
        with self._translated_errors(f"the registration of {schema.name} under {subject}"):
            return checked_id(self._client.register_schema(subject, registered(schema)))

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fetched(self, about: str, fetch: Callable[[], Registered]) -> Registered:
        try:
            with self._translated_errors(about):
                return fetch()
        except _PageNotFound as error:
            self.check()  # a registry without GUIDs responds like a gateway whose registry is down
            raise LoadError(f"{self._place} has no {about}") from error

    def _latest(self, subject: str, schema: Schema) -> Framing:
        about = f"the latest schema of {subject}"
        with self._translated_errors(about):
            latest = self._client.get_latest_version(subject)
            schema_id = checked_id(latest.schema_id)
        latest_schema = self._compile(about, latest.schema)
        check_substitute(latest_schema, schema, about)
        return confluent(schema_id, latest_schema)

    def _compile(self, about: str, registered: Registered) -> Schema:
        if registered.schema_type not in (None, "AVRO"):
            raise LoadError(f"{about} is {registered.schema_type}, not Avro")
        if registered.schema_str is None:
            raise self._not_a_registry(f"the response for {about} contains no schema")
        definitions = Definitions()
        for name, text in self._references(about, registered, {}).items():
            definitions.add(name, parse_document(name, text))
        node = definitions.add(about, parse_document(about, registered.schema_str))
        return definitions.schema(about, node)

    def _references(self, about: str, registered: Registered, found: dict[str, str]) -> dict[str, str]:
        """The texts of all schemas that the schema references, by subject and version."""
        for reference in registered.references or ():
            subject, version = reference.subject, reference.version
            if subject is None or version is None:
                raise LoadError(f"{about} references a schema without its subject or version")
            name = f"{subject} version {version}"
            if name in found:
                continue
            with self._translated_errors(f"{name}, which {about} references"):
                # Older schemas may reference a deleted subject.
                other = self._client.get_version(subject, version, deleted=True)
            found[name] = other.schema.schema_str or ""
            self._references(about, other.schema, found)
        return found

    @contextmanager
    def _translated_errors(self, about: str) -> Iterator[None]:
        """Translates every error of Confluent's client into one of this package; `about` names the request."""
        try:
            yield
        except SchemaRegistryError as error:
            raise self._translated(error, about) from error
        except ProcessorError:
            raise
        except Exception as error:  # from the HTTP library, its transports and the client's parsing
            if isinstance(error, ValueError | KeyError | TypeError | AttributeError):
                raise self._not_a_registry(f"the response for {about} cannot be parsed") from error
            raise RegistryError(f"no response from {self._place}: {_one_line(error)}") from error

    def _translated(self, error: SchemaRegistryError, about: str) -> ProcessorError:
        status = error.http_status_code
        message = _one_line(error.error_message).removeprefix("Unknown Schema Registry Error: ")
        if status in ACCESS_DENIED_STATUSES:
            return RegistryAccessDenied(f"{self._place} denies access: HTTP {status}, {message}")
        # 40403 is the registry's code for an unknown schema; a plain 404 means that the server has no such page.
        has_registry_code = (error.error_code or 0) > 0
        if status == 404 and (not has_registry_code or error.error_code == status):
            return _PageNotFound(str(self._not_a_registry(f"HTTP 404 for {about}")))
        if 400 <= status < 500 and status not in TRANSIENT_STATUSES and has_registry_code:
            verb = "does not have" if status == 404 else "rejects"
            return LoadError(f"{self._place} {verb} {about}: {message} ({error.error_code})")
        return RegistryError(f"{self._place} fails with HTTP {status} for {about}: {message}")

    def _not_a_registry(self, reason: str) -> NotARegistry:
        return NotARegistry(
            f"{self._place} does not respond as a schema registry: {reason};"
            " check that the address is complete, such as http://HOST:8080/apis/ccompat/v7"
        )

    @property
    def _place(self) -> str:
        return f"the schema registry at {self._settings.address}"


def registered(schema: Schema) -> Registered:
    """A schema in the form of Confluent's client, with all referenced types included."""
    return Registered(msgspec.json.encode(schema.definition).decode(), "AVRO")


def checked_id(value: int | None) -> int:
    """Returns the ID or version.

    Raises:
        ValueError: it is not an integer.
    """
    if not isinstance(value, int):
        raise ValueError("an ID must be an integer")
    return value


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]}…"
