"""How record values are encoded: the format, the schemas, and the schema registry."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Final

from msgspec.structs import fields as fields_of_struct

from processor.errors import SettingsError
from processor.options.option import Option, Panel
from processor.options.option_set import OptionSet
from processor.options.value_formats import VALUE_FORMATS, WITH_SCHEMAS, ValueFormat
from processor.registry_settings import RegistrySettings, SubjectNameStrategy


def _no_folder(folder: str) -> str | None:
    is_folder = os.path.isdir(folder)  # noqa: PTH112 — Path.is_dir raises for a name that is too long
    return None if is_folder else f"{str(folder)!r} is not a folder"


@dataclass(frozen=True, kw_only=True, repr=False)
class SchemaOptions(OptionSet):
    """Where Avro schemas come from."""

    schemas: Annotated[
        str | None,
        Option(
            "Folder of .avsc files, added to the shipped schemas.",
            Panel.VALUES,
            metavar="FOLDER",
            default_shown="the shipped schemas",
            rule=_no_folder,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, repr=False)
class RegistryOptions(OptionSet):
    """A schema registry, and how a client is authenticated there."""

    schema_registry: Annotated[
        str | None,
        Option(
            "URL of a Confluent-compatible schema registry, also as https://USER:PASSWORD@HOST; needs the extra "
            "'registry'.",
            Panel.REGISTRY,
            metavar="URL",
        ),
    ] = None
    schema_registry_user: Annotated[
        str | None, Option("User name for basic authentication.", Panel.REGISTRY, metavar="NAME")
    ] = None
    schema_registry_password_file: Annotated[
        str | None, Option("File that contains the user's password.", Panel.REGISTRY, metavar="FILE")
    ] = None
    schema_registry_token_file: Annotated[
        str | None,
        Option("File that contains a bearer token, instead of a user and a password.", Panel.REGISTRY, metavar="FILE"),
    ] = None
    schema_registry_ca: Annotated[
        str | None,
        Option(
            "PEM file with the certificate authorities to trust.",
            Panel.REGISTRY,
            metavar="FILE",
            default_shown="those of the certifi package",
        ),
    ] = None
    schema_registry_certificate: Annotated[
        str | None, Option("PEM file with the client certificate.", Panel.REGISTRY, metavar="FILE")
    ] = None
    schema_registry_key: Annotated[
        str | None,
        Option(
            "PEM file with the client certificate's private key.",
            Panel.REGISTRY,
            metavar="FILE",
            default_shown="in the certificate's file",
        ),
    ] = None

    @property
    def registry(self) -> RegistrySettings | None:
        """Return the settings of the schema registry; None without one.

        Raises:
            SettingsError: two of its options contradict each other, or one is given without `schema_registry`.
        """
        given = {name: getattr(self, option) for option, name in REGISTRY_FIELDS.items() if hasattr(self, option)}
        if self.schema_registry is not None:
            return RegistrySettings(**given)
        for option, name in REGISTRY_FIELDS.items():
            if name in given and given[name] != _default_of(type(self), option):
                key = option.replace("_", "-") if given[name] is not False else f"no-{option.replace('_', '-')}"
                raise SettingsError(f"--{key} is given without --schema-registry")
        return None

    def check_together(self) -> None:
        """Refuse options of a registry that contradict each other.

        Raises:
            SettingsError: two options contradict each other.
        """
        super().check_together()
        _ = self.registry


@dataclass(frozen=True, kw_only=True, repr=False)
class SubjectOptions(RegistryOptions):
    """A schema registry, and how the subjects of schemas are named there."""

    subject_name_strategy: Annotated[
        SubjectNameStrategy,
        Option(
            "How the subject of a schema is named: topic (TOPIC-value), record (NAME) or topic-record (TOPIC-NAME).",
            Panel.REGISTRY,
            metavar="RULE",
        ),
    ] = "topic"


@dataclass(frozen=True, kw_only=True, repr=False)
class ReadingOptions(SchemaOptions, RegistryOptions):
    """The options of commands that read values."""

    value_format: Annotated[ValueFormat, Option("Encoding of record values.", Panel.VALUES)] = "avro"

    def check_together(self) -> None:
        """Refuse a registry for values that have no schema.

        Raises:
            SettingsError: two options contradict each other.
        """
        super().check_together()
        if self.registry is not None and not VALUE_FORMATS[self.value_format].has_schemas:
            raise SettingsError(
                f"--schema-registry is for --value-format {WITH_SCHEMAS}: values in {self.value_format} have no schema"
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class WritingOptions(ReadingOptions, SubjectOptions):
    """The options of commands that read and write values."""

    auto_register: Annotated[bool, Option("Register missing schemas.", Panel.WRITING)] = True
    use_latest_version: Annotated[
        bool, Option("Write with the latest schema of the subject, and register nothing.", Panel.WRITING)
    ] = False


def _registry_fields() -> Mapping[str, str]:
    options = {field.name for field in fields(WritingOptions)}
    names = [field.name for field in fields_of_struct(RegistrySettings)]
    prefixed = {name: f"schema_registry_{name}" if name != "url" else "schema_registry" for name in names}
    return {prefixed[name] if prefixed[name] in options else name: name for name in names}


REGISTRY_FIELDS: Final[Mapping[str, str]] = _registry_fields()
"""The options of a schema registry, each with its name in `RegistrySettings`."""


def _default_of(options: type[OptionSet], name: str) -> Any:
    return next(field.default for field in fields(options) if field.name == name and field.default is not MISSING)
