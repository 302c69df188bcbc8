"""`Schemas`: those that are shipped and those of a folder, by fingerprint and by name."""

from __future__ import annotations

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
    """Every type of some `.avsc` files.

    A folder inside another may give a name another meaning, as the older versions of a schema do. All are known by
    their fingerprints; by name the one in the outermost folder is, unless there are several there.
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
        """What a file beside them may refer to."""
        self.files = files or {}
        """Of each name in `by_name`, the file that defines it."""


def load_schemas(folder: str | None = None) -> Schemas:
    """The shipped schemas, and every `.avsc` file of `folder` and the folders in it.

    Files may refer to each other's types in any order. What is repeated in a folder must be the same.

    Raises:
        LoadError: a file cannot be read, is no schema, contradicts another or refers to nothing; it is named.
    """
    shipped = list(_files(shipped_folder()))
    return _loaded(shipped, Path(), []) if folder is None else _loaded(shipped, Path(folder), _checked(folder))


@cache
def shipped_schemas() -> Schemas:
    """What comes with this package."""
    return load_schemas()


def shipped_folder(package: Path = PACKAGE) -> Path:
    """Where the shipped schemas are: inside the installed package, or beside it in a source tree.

    Raises:
        LoadError: in neither place; the installation is incomplete.
    """
    for folder in (package / "schemas", package.parent / "schemas"):
        if (folder / "task.avsc").is_file():
            return folder
    raise LoadError(f"the schemas shipped with processor are missing from {package}: install it again")


def _checked(folder: str) -> list[Path]:
    if not Path(folder).is_dir():
        raise LoadError(f"--schemas {folder!r} is not a folder")
    files = list(_files(Path(folder)))
    if not files:
        raise LoadError(f"--schemas {folder!r} has no .avsc file in it")
    return files


def _files(folder: Path) -> Iterator[Path]:
    """Hidden folders are left out: a mounted ConfigMap keeps its files in one, and links to them."""
    for path in sorted(folder.rglob("*.avsc")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _loaded(shipped: list[Path], folder: Path, paths: list[Path]) -> Schemas:
    root = Definitions()
    scopes = {folder: root}
    found = [(root, path, root.add(str(path), document(path))) for path in shipped]
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        scope = _scope(scopes, path.parent)
        found.append((scope, path, scope.add(str(path), document(path))))
    named = [
        _Version(name, len(place.parts), scope.schema(origin, name), origin)
        for place, scope in scopes.items()
        for name, origin in scope.origins().items()
    ]
    nameless = [scope.schema(str(path), node) for scope, path, node in found if not scope.defines(node)]
    outermost = list(_outermost(named))
    by_name = {version.name: version.schema for version in outermost}
    files = {version.name: version.file for version in outermost}
    return Schemas(by_name, [*nameless, *(version.schema for version in named)], root, files)


class _Version(NamedTuple):
    name: str
    depth: int
    schema: Schema
    file: str


def _outermost(named: list[_Version]) -> Iterator[_Version]:
    """Of each name the version in the outermost folder, unless there are several."""
    for _, versions in groupby(sorted(named, key=lambda one: one[:2]), key=lambda one: one.name):
        first, *rest = versions
        if all(other.schema.definition == first.schema.definition for other in rest if other.depth == first.depth):
            yield first


def _scope(scopes: dict[Path, Definitions], folder: Path) -> Definitions:
    if folder not in scopes:
        scopes[folder] = _scope(scopes, folder.parent).narrower()
    return scopes[folder]


def document(path: Path) -> Any:
    """What an `.avsc` file says.

    Raises:
        LoadError: it cannot be read, or is no JSON.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror}") from error
    return parsed(str(path), text)


def parsed(origin: str, text: bytes | str) -> Any:
    """What the text of a schema says.

    Raises:
        LoadError: it is no JSON; with `origin`, where it comes from.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise LoadError(f"{origin}: the schema is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise LoadError(f"{origin}: not JSON: {error}") from error
