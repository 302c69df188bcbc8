"""Finds the reader's schemas that handlers declare, by file name or by full name."""

from __future__ import annotations

import difflib
from pathlib import Path

from processor.avro.names import qualified_aliases
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, read_document
from processor.errors import LoadError

SUFFIX = ".avsc"


def reader_schema(declared: str, schemas: Schemas, folder: str | None = None) -> Schema:
    """The schema that a handler declares as `declared`.

    Args:
        declared: the full name of a record, or a file name that ends in .avsc. A file is looked up in `folder`, then
            in the current folder.
        schemas: resolves the full name, and the types that a file references.
        folder: the folder of `--schemas`.

    Raises:
        LoadError: there is no such file or record, or the file does not define a record.
    """
    schema = find_schema(declared, schemas, folder, of="of a handler ")
    if schema.name is None or schema.definition["type"] != "record":
        raise LoadError(f"the schema {declared!r} of a handler is not a record")
    return schema


def find_schema(name: str, schemas: Schemas, folder: str | None = None, of: str = "") -> Schema:
    """The schema with a full name, or in a file.

    Args:
        name: a full name, or a file name that ends in .avsc. A file is looked up in `folder`, then in the current
            folder.
        schemas: resolves the full name, and the types that a file references.
        folder: the folder of `--schemas`.
        of: inserted into the error message: what declares the schema, with a space after it.

    Raises:
        LoadError: there is no such file or type.
    """
    return _of_file(name, schemas, folder, of) if name.endswith(SUFFIX) else _of_name(name, schemas, of)


def written_names(reader: Schema) -> list[str]:
    """Full names of the records that `reader` reads: its own name, then its aliases, sorted."""
    return [reader.definition["name"], *sorted(qualified_aliases(reader.definition))]


def _of_file(declared: str, schemas: Schemas, folder: str | None, of: str) -> Schema:
    places = [Path(folder, declared)] if folder is not None else []
    path = next((path for path in (*places, Path(declared)) if path.is_file()), None)
    if path is None:
        wanted = "is not in" if folder is None else f"is neither in --schemas {folder!r} nor in"
        raise LoadError(f"the schema {declared!r} {of}{wanted} the current folder {Path.cwd()}")
    scope = schemas.definitions.detached()
    return scope.schema(str(path), scope.add(str(path), read_document(path)))


def _of_name(declared: str, schemas: Schemas, of: str) -> Schema:
    if declared in schemas.by_name:
        return schemas.by_name[declared]
    near = difflib.get_close_matches(declared, schemas.by_name, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; a file's name ends in {SUFFIX}"
    raise LoadError(f"the schema {declared!r} {of}is not in --schemas, or is defined more than once{hint}")
