"""`Schemas`: the shipped schemas and those of a folder, by fingerprint and by name."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from processor.avro.definitions import Definitions
from processor.avro.schema import Schema
from processor.errors import LoadError

PACKAGE = Path(__file__).resolve().parent.parent


class Schemas:
    """Every type that a set of `.avsc` files defines.

    A subfolder may redefine a name, as older versions of a schema do. All versions are found by fingerprint. A name
    resolves to the version in the outermost folder, provided there is only one at that depth.
    """

    def __init__(
        self,
        by_name: dict[str, Schema],
        others: list[Schema],
        definitions: Definitions | None = None,
        files: dict[str, str] | None = None,
    ) -> None:
        self.by_name = by_name
        self.by_fingerprint = {schema.fingerprint: schema for schema in (*others, *by_name.values())}
        self.definitions = definitions or Definitions()
        """The scope in which further files resolve their references."""
        self.files = files or {}
        """For each name in `by_name`, the file that defines it."""


def load_schemas(folder: str | None = None) -> Schemas:
    """Loads the shipped schemas, and every `.avsc` file in `folder` and its subfolders.

    Files may reference each other's types in any order. A type that a folder defines twice must be the same.

    Raises:
        LoadError: a file cannot be read, is not a valid schema, contradicts another file or references an undefined
            type. The message names the file.
    """
    shipped = list(_files(shipped_folder()))
    return _loaded(shipped, Path(), []) if folder is None else _loaded(shipped, Path(folder), _checked(folder))


@cache
def shipped_schemas() -> Schemas:
    """The schemas that are part of this package."""
    return load_schemas()


def shipped_folder(package: Path = PACKAGE) -> Path:
    """The folder of the shipped schemas: inside the installed package, or next to it in a source tree.

    Raises:
        LoadError: neither folder exists: the installation is incomplete.
    """
    for folder in (package / "schemas", package.parent / "schemas"):
        if (folder / "task.avsc").is_file():
            return folder
    raise LoadError(f"the schemas shipped with processor are missing from {package}: reinstall the package")


def _checked(folder: str) -> list[Path]:
    if not os.path.isdir(folder):  # noqa: PTH112 — Path.is_dir raises for a name that is too long
        raise LoadError(f"--schemas {folder!r} is not a folder")
    files = list(_files(Path(folder)))
    if not files:
        raise LoadError(f"--schemas {folder!r} contains no .avsc file")
    return files


def _files(folder: Path) -> Iterator[Path]:
    """Yields the `.avsc` files, without those in hidden folders: a mounted ConfigMap links to files in one."""
    for path in sorted(folder.rglob("*.avsc")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _loaded(shipped: list[Path], folder: Path, paths: list[Path]) -> Schemas:
    root = Definitions()
    scopes = {folder: root}
    found = [(root, path, root.add(str(path), read_document(path))) for path in shipped]
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        scope = _scope(scopes, path.parent)
        found.append((scope, path, scope.add(str(path), read_document(path))))
    named = [
        _Version(name, len(place.parts), scope.schema(origin, name), origin)
        for place, scope in scopes.items()
        for name, origin in scope.origins().items()
    ]
    unnamed = [scope.schema(str(path), node) for scope, path, node in found if not scope.defines(node)]
    outermost = list(_outermost(named))
    by_name = {version.name: version.schema for version in outermost}
    files = {version.name: version.file for version in outermost}
    return Schemas(by_name, [*unnamed, *(version.schema for version in named)], root, files)


class _Version(NamedTuple):
    name: str
    depth: int
    schema: Schema
    file: str


def _outermost(named: list[_Version]) -> Iterator[_Version]:
    """For each name the version in the outermost folder, unless that depth has different ones."""
    for _, versions in groupby(sorted(named, key=lambda one: one[:2]), key=lambda one: one.name):
        first, *rest = versions
        if all(other.schema.definition == first.schema.definition for other in rest if other.depth == first.depth):
            yield first


def _scope(scopes: dict[Path, Definitions], folder: Path) -> Definitions:
    if folder not in scopes:
        scopes[folder] = _scope(scopes, folder.parent).nested()
    return scopes[folder]


def read_document(path: Path) -> Any:
    """Parses an `.avsc` file into JSON data.

    Raises:
        LoadError: it cannot be read, or is not JSON.
    """
    try:
        text = path.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_document(str(path), text)


def parse_document(origin: str, text: bytes | str) -> Any:
    """Parses the text of a schema into JSON data.

    Raises:
        LoadError: it is not JSON. The message starts with `origin`.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise LoadError(f"{origin}: the schema is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise LoadError(f"{origin}: not JSON: {error}") from error
