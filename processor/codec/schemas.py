"""`Schemas`: those that are shipped and those of a folder, by fingerprint and by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from processor.codec.definitions import Definitions
from processor.codec.schema import Schema
from processor.errors import LoadError

PACKAGE = Path(__file__).resolve().parent.parent


class Schemas:
    """Every type of some `.avsc` files."""

    def __init__(self, by_name: dict[str, Schema], nameless: list[Schema]) -> None:
        self.by_name = by_name
        self.by_fingerprint = {schema.fingerprint: schema for schema in (*nameless, *by_name.values())}


def load_schemas(folder: str | None = None) -> Schemas:
    """The shipped schemas, and every `.avsc` file of `folder` and the folders in it.

    Files may refer to each other's types in any order. What a file repeats must be the same everywhere.

    Raises:
        LoadError: a file cannot be read, is no schema, contradicts another or refers to nothing; it is named.
    """
    shipped = list(_files(shipped_folder()))
    return _loaded(shipped if folder is None else [*shipped, *_files(_checked(folder))])


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


def _checked(folder: str) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise LoadError(f"--schemas {folder!r} is not a folder")
    if next(_files(path), None) is None:
        raise LoadError(f"--schemas {folder!r} has no .avsc file in it")
    return path


def _files(folder: Path) -> Iterator[Path]:
    """Hidden folders are left out: a mounted ConfigMap keeps its files in one, and links to them."""
    for path in sorted(folder.rglob("*.avsc")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _loaded(paths: list[Path]) -> Schemas:
    definitions = Definitions()
    nodes = [(str(path), definitions.add(str(path), _document(path))) for path in paths]
    by_name = {name: definitions.schema(origin, name) for name, origin in definitions.origins().items()}
    others = [(origin, node) for origin, node in nodes if not (isinstance(node, str) and node in by_name)]
    nameless = [definitions.schema(origin, node) for origin, node in others]
    return Schemas(by_name, nameless)


def _document(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError:
        raise LoadError(f"{path}: the schema is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: not JSON: {error}") from error
