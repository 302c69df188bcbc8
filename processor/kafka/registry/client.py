"""`RegistryClient`: what is asked of a schema registry, each call waiting for the answer; its errors become ours here.

Needs what the extra `session-processor[registry]` installs; `open_registry` says so where it is missing.
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
from processor.avro.schemas import parsed
from processor.codec.framing import check_carries, confluent
from processor.codec.registry_port import Framing
from processor.errors import LoadError, ProcessorError, RegistryError, RegistryRefusal, RegistryUnknown
from processor.kafka.secret_files import secret_in
from processor.registry_settings import RegistrySettings

ANSWER_SECONDS = 5.0
"""How long the registry gets for one answer."""

RETRY_MILLISECONDS = 250

LARGEST_ID = 2**31 - 1
"""An ID is a signed 32-bit number to every registry, and above 0."""

MESSAGE_CHARACTERS = 300

REFUSED = frozenset({401, 403})
NOT_NOW = frozenset({408, 429})


def open_client(settings: RegistrySettings, retries: int) -> SchemaRegistryClient:
    """Confluent's client; nothing is asked yet.

    Args:
        settings: where, and what lets one in.
        retries: how often a request that found nobody is repeated before it has failed.

    Raises:
        LoadError: a file that the settings name cannot be read, or is not what it should be.
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
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, and names no file
        files = [path for path in (settings.ca, settings.certificate, settings.key) if path is not None]
        reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
        raise LoadError(f"a file for the schema registry's TLS ({', '.join(files)}) cannot be used: {reason}") from None


def _access(settings: RegistrySettings) -> dict[str, Any]:
    if settings.user_in_url is not None:
        return {"basic.auth.user.info": ":".join(settings.user_in_url)}
    if settings.user is not None and settings.password_file is not None:
        password = secret_in(settings.password_file, "--schema-registry-password-file")
        return {"basic.auth.user.info": f"{settings.user}:{password}"}
    if settings.token_file is None:
        return {}
    token = secret_in(settings.token_file, "--schema-registry-token-file")
    # The client asks for a logical cluster, which is Confluent Cloud's; other registries do not look at it.
    source = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.token": token}
    return {**source, "bearer.auth.logical.cluster": ""}


class _NoPage(RegistryUnknown):
    """HTTP 404 without a word of what is not found."""


class RegistryClient:
    """One connection to a schema registry, to be closed; as a context it closes itself. One thread uses it."""

    def __init__(self, settings: RegistrySettings, client: SchemaRegistryClient) -> None:
        self._settings = settings
        self._client = client

    def check(self) -> None:
        """Asks the least that there is to ask.

        Raises:
            RegistryError: nothing answers.
            RegistryRefusal: it does not let this client in.
            RegistryUnknown: what answers is no schema registry.
        """
        try:
            with self._told("its schema types"):
                types: object = self._client.get_schema_types()
        except LoadError as error:
            raise RegistryUnknown(str(error)) from error
        if not isinstance(types, list):
            raise self._unknown("it does not tell the types of its schemas")

    def schema_by_id(self, schema_id: int) -> Schema:
        """The schema with this ID, what it refers to included.

        Raises:
            LoadError: the registry has answered: there is none, or none that can be read with.
            RegistryError: it cannot be asked.
        """
        about = f"schema {schema_id}"
        if not 0 < schema_id <= LARGEST_ID:
            raise LoadError(f"{about} is in no registry: an ID is from 1 to {LARGEST_ID}")
        return self._compiled(about, self._found(about, lambda: self._client.get_schema(schema_id)))

    def schema_by_guid(self, guid: bytes) -> Schema:
        """The schema with this GUID of 16 bytes.

        Raises:
            LoadError: the registry has answered: there is none, or none that can be read with.
            RegistryError: it cannot be asked.
        """
        text = str(UUID(bytes=guid))
        about = f"schema {text}"
        return self._compiled(about, self._found(about, lambda: self._client.get_schema_by_guid(text)))

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        """How the values of `topic` that are made for `schema` are written, as the settings have it.

        Raises:
            LoadError: the registry does not take the schema, or has none, or the latest cannot stand for it.
            RegistryError: it cannot be asked.
        """
        subject = self._settings.subject(topic, schema.name)
        if self._settings.use_latest_version:
            return self._latest(subject, schema)
        if self._settings.auto_register:
            return confluent(self.register(subject, schema), schema)
        with self._told(f"{schema.name} under {subject} (nothing is registered without --auto-register)"):
            return confluent(whole(self._client.lookup_schema(subject, registered(schema)).schema_id), schema)

    def register(self, subject: str, schema: Schema) -> int:
        """Registers the schema, if it is not there yet; its ID.

        Raises:
            LoadError: the registry does not take it.
            RegistryError: it cannot be asked.
        """
        with self._told(f"the registration of {schema.name} under {subject}"):
            return whole(self._client.register_schema(subject, registered(schema)))

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _found(self, about: str, ask: Callable[[], Registered]) -> Registered:
        try:
            with self._told(about):
                return ask()
        except _NoPage as error:
            self.check()  # a registry that knows no GUIDs says the same as a gateway whose registry is away
            raise LoadError(f"{self._place} has no {about}") from error

    def _latest(self, subject: str, schema: Schema) -> Framing:
        about = f"the latest schema of {subject}"
        with self._told(about):
            latest = self._client.get_latest_version(subject)
            schema_id = whole(latest.schema_id)
        compiled = self._compiled(about, latest.schema)
        check_carries(compiled, schema, about)
        return confluent(schema_id, compiled)

    def _compiled(self, about: str, registered: Registered) -> Schema:
        if registered.schema_type not in (None, "AVRO"):
            raise LoadError(f"{about} is {registered.schema_type}, not Avro")
        if registered.schema_str is None:
            raise self._unknown(f"there is no schema in what it says of {about}")
        definitions = Definitions()
        for name, text in self._references(about, registered, {}).items():
            definitions.add(name, parsed(name, text))
        node = definitions.add(about, parsed(about, registered.schema_str))
        return definitions.schema(about, node)

    def _references(self, about: str, registered: Registered, found: dict[str, str]) -> dict[str, str]:
        """The texts of all that the schema refers to, by subject and version."""
        for reference in registered.references or ():
            subject, version = reference.subject, reference.version
            if subject is None or version is None:
                raise LoadError(f"{about} refers to a schema without saying where that is")
            name = f"{subject} version {version}"
            if name in found:
                continue
            with self._told(f"{about}: what it refers to, {name},"):
                # A subject that is deleted is still what older schemas refer to.
                other = self._client.get_version(subject, version, deleted=True)
            found[name] = other.schema.schema_str or ""
            self._references(about, other.schema, found)
        return found

    @contextmanager
    def _told(self, about: str) -> Iterator[None]:
        """Turns whatever the client raises into this program's errors."""
        try:
            yield
        except SchemaRegistryError as error:
            raise self._meaning(error, about) from error
        except ProcessorError:
            raise
        except Exception as error:  # of an HTTP library, its transports, and readers of answers
            if isinstance(error, ValueError | KeyError | TypeError | AttributeError):
                raise self._unknown(f"what it says of {about} cannot be read") from error
            raise RegistryError(f"no answer from {self._place}: {_one_line(error)}") from error

    def _meaning(self, error: SchemaRegistryError, about: str) -> ProcessorError:
        status = error.http_status_code
        said = _one_line(error.error_message).removeprefix("Unknown Schema Registry Error: ")
        if status in REFUSED:
            return RegistryRefusal(f"{self._place} does not let this client in: HTTP {status}, {said}")
        # 40403 is a schema that a registry does not have, a bare 404 a page that whoever answers does not have.
        is_its_own = (error.error_code or 0) > 0
        if status == 404 and (not is_its_own or error.error_code == status):
            return _NoPage(str(self._unknown(f"it answers HTTP 404 to {about}")))
        if 400 <= status < 500 and status not in NOT_NOW and is_its_own:
            verb = "does not know" if status == 404 else "refuses"
            return LoadError(f"{self._place} {verb} {about}: {said} ({error.error_code})")
        return RegistryError(f"{self._place} answers HTTP {status} to {about}: {said}")

    def _unknown(self, why: str) -> RegistryUnknown:
        return RegistryUnknown(
            f"{self._place} answers, but not as a schema registry: {why};"
            " is the address complete, as http://HOST:8080/apis/ccompat/v7 is?"
        )

    @property
    def _place(self) -> str:
        return f"the schema registry at {self._settings.address}"


def registered(schema: Schema) -> Registered:
    """A schema as the registry's client takes it, with all that it refers to inside."""
    return Registered(msgspec.json.encode(schema.definition).decode(), "AVRO")


def whole(number: int | None) -> int:
    """Raises:
    ValueError: it is none.
    """
    if not isinstance(number, int):
        raise ValueError("an ID is a number")
    return number


def _one_line(said: object) -> str:
    text = " ".join(str(said).split()) or type(said).__name__
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]}…"
