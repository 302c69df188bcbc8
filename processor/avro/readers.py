"""Readers' schemas: those that handlers say they understand."""

from __future__ import annotations

import difflib
from pathlib import Path

from processor.avro.names import qualified_aliases
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, document
from processor.errors import LoadError

SUFFIX = ".avsc"


def reader_schema(declared: str, schemas: Schemas, folder: str | None = None) -> Schema:
    """The schema that a handler declares as `declared`: the name of a file, or the full name of a record.

    Args:
        declared: a file ends in .avsc; it is looked for in `folder`, then in the current one.
        schemas: what its types, or it itself, may be found in by name.
        folder: that of `--schemas`.

    Raises:
        LoadError: there is no such file or record, or the file is no single record.
    """
    schema = schema_called(declared, schemas, folder, of="of a handler ")
    if schema.name is None or schema.definition["type"] != "record":
        raise LoadError(f"the schema {declared!r} of a handler is no record")
    return schema


def schema_called(name: str, schemas: Schemas, folder: str | None = None, of: str = "") -> Schema:
    """The schema in a file, or with a full name.

    Args:
        name: a file ends in .avsc; it is looked for in `folder`, then in the current one.
        schemas: what its types, or it itself, may be found in by name.
        folder: that of `--schemas`.
        of: whose it is, for the message.

    Raises:
        LoadError: there is no such file or type.
    """
    return _of_file(name, schemas, folder, of) if name.endswith(SUFFIX) else _of_name(name, schemas, of)


def written_names(reader: Schema) -> list[str]:
    """The full names of the records that are read as `reader`: its own and its aliases."""
    return [reader.definition["name"], *sorted(qualified_aliases(reader.definition))]


def _of_file(declared: str, schemas: Schemas, folder: str | None, of: str) -> Schema:
    places = [Path(folder, declared)] if folder is not None else []
    path = next((path for path in (*places, Path(declared)) if path.is_file()), None)
    if path is None:
        wanted = "is not in" if folder is None else f"is neither in --schemas {folder!r} nor in"
        raise LoadError(f"the schema {declared!r} {of}{wanted} the current folder {Path.cwd()}")
    scope = schemas.definitions.beside()
    return scope.schema(str(path), scope.add(str(path), document(path)))


def _of_name(declared: str, schemas: Schemas, of: str) -> Schema:
    if declared in schemas.by_name:
        return schemas.by_name[declared]
    near = difflib.get_close_matches(declared, schemas.by_name, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; a file's name ends in {SUFFIX}"
    raise LoadError(f"the schema {declared!r} {of}is no type in --schemas, or one of several{hint}")
