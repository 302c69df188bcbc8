"""`Definitions`: named Avro types from many files, which may reference each other in any order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from processor.avro.schema import Schema, compile_schema
from processor.errors import LoadError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})
FULL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class Definition(NamedTuple):
    """One named type. All names in it are full names, and a named type inside it is replaced by its name."""

    origin: str
    node: dict[str, Any]


class Definitions:
    """The named types of one folder: a scope in which each name has one meaning.

    A name that the scope does not define is resolved in the enclosing scopes, then in the nested scopes, which must
    agree on it.
    """

    def __init__(self, enclosing: Definitions | None = None) -> None:
        self._by_name: dict[str, Definition] = {}
        self._enclosing = enclosing
        self._nested: list[Definitions] = []

    def nested(self) -> Definitions:
        """Adds the scope of a subfolder, which may redefine a name, as an older version of a schema does."""
        self._nested.append(Definitions(self))
        return self._nested[-1]

    def detached(self) -> Definitions:
        """A scope for a file outside the folder: it resolves names here, but no other scope sees its types."""
        return Definitions(self)

    def origins(self) -> dict[str, str]:
        """For each name defined in this scope, the file that defined it first."""
        return {name: definition.origin for name, definition in self._by_name.items()}

    def defines(self, node: Any) -> bool:
        """Return whether `node`, a result of `add`, is the name of a type of this scope."""
        return isinstance(node, str) and node in self._by_name

    def of(self, origin: str, name: str) -> Definition | None:
        """Resolves a name: in this scope, in the enclosing ones, then in nested ones. None if no scope defines it.

        Raises:
            LoadError: several nested scopes define it differently: the reference in `origin` is ambiguous.
        """
        if name in self._by_name:
            return self._by_name[name]
        if self._enclosing is not None:
            return self._enclosing.of(origin, name)
        found = list(self._in_nested(name))
        if len({str(_without_docs(definition.node)) for definition in found}) > 1:
            places = " and in ".join(definition.origin for definition in found)
            raise LoadError(f"{origin}: the type {name} is defined differently in {places}")
        return found[0] if found else None

    def _in_nested(self, name: str) -> Iterator[Definition]:
        for nested in self._nested:
            if name in nested._by_name:  # noqa: SLF001
                yield nested._by_name[name]  # noqa: SLF001
            yield from nested._in_nested(name)  # noqa: SLF001

    def add(self, origin: str, document: Any) -> Any:
        """Adds the named types that `document` defines. Returns the document with full names in their place.

        Raises:
            LoadError: it is not a valid Avro schema, or redefines a name of this scope. The message names `origin`.
        """
        try:
            return self._qualified(origin, document, "")
        except KeyError as error:
            raise LoadError(f"{origin}: a type lacks its {error}") from error
        except RecursionError:
            raise LoadError(f"{origin}: the schema is nested too deeply") from None

    def schema(self, origin: str, node: Any) -> Schema:
        """The schema of `node`, a result of `add`, with every type that it references included.

        Raises:
            LoadError: a referenced type is not defined, or the schema is invalid.
        """
        assembly = _Assembly(self)
        try:
            definition = assembly.inlined(origin, node)
            name = node if isinstance(node, str) and node not in PRIMITIVES else None
            return compile_schema(name, definition)
        except LoadError:
            raise
        except RecursionError:
            raise LoadError(f"{origin}: the schema is nested too deeply") from None
        except Exception as error:
            raise LoadError(f"{origin}: not a valid Avro schema: {error}") from error

    def _qualified(self, origin: str, node: Any, namespace: str) -> Any:
        if isinstance(node, list):
            return [self._qualified(origin, branch, namespace) for branch in node]
        if isinstance(node, str):
            return node if node in PRIMITIVES or "." in node or not namespace else f"{namespace}.{node}"
        if not isinstance(node, dict):
            raise LoadError(f"{origin}: {node!r} is not an Avro type")
        kind = node["type"]
        if kind in ("array", "map"):
            inner = "items" if kind == "array" else "values"
            return {**_nameless(node), inner: self._qualified(origin, node[inner], namespace)}
        if isinstance(kind, str) and kind in NAMED:
            return self._defined(origin, node, namespace)
        # {"type": "string", "logicalType": …} is kept; {"type": {…}} and {"type": "a.Reference"} are unwrapped.
        is_primitive = isinstance(kind, str) and kind in PRIMITIVES
        return _nameless(node) if is_primitive else self._qualified(origin, kind, namespace)

    def _defined(self, origin: str, node: dict[str, Any], namespace: str) -> str:
        name = _full_name(origin, node, namespace)
        inner = name.rpartition(".")[0]
        own = {**node, "name": name, "namespace": inner}
        if node["type"] in ("record", "error"):
            own["fields"] = [self._field(origin, name, field, inner) for field in _fields(origin, name, node)]
        elif node["type"] == "fixed":
            _check_size(origin, name, node["size"])
        known = self._by_name.setdefault(name, Definition(origin, own))
        if known.node is not own and _without_docs(known.node) != _without_docs(own):
            raise LoadError(f"{origin}: {name} is defined differently in {known.origin}")
        return name

    def _field(self, origin: str, record: str, field: Any, namespace: str) -> dict[str, Any]:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str) or "type" not in field:
            raise LoadError(f"{origin}: {record} has a field without a name or a type")
        return {**field, "type": self._qualified(origin, field["type"], namespace)}


class _Assembly:
    """Builds one self-contained schema: a named type is defined at its first use and referenced by name afterwards."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._included: set[str] = set()

    def inlined(self, origin: str, node: Any) -> Any:
        if isinstance(node, list):
            return [self.inlined(origin, branch) for branch in node]
        if isinstance(node, str):
            return node if node in PRIMITIVES else self._named(origin, node)
        if node["type"] == "array":
            self._reject_empty_items(origin, node["items"])
            return {**node, "items": self.inlined(origin, node["items"])}
        return {**node, "values": self.inlined(origin, node["values"])} if node["type"] == "map" else node

    def _named(self, origin: str, name: str) -> Any:
        if name in self._included:
            return name
        origin, node = self._definition(origin, name)
        self._included.add(name)
        if "fields" in node:
            fields = [{**field, "type": self.inlined(origin, field["type"])} for field in node["fields"]]
            node = {**node, "fields": fields}
        return node

    def _definition(self, origin: str, name: str) -> Definition:
        definition = self._definitions.of(origin, name)
        if definition is None:
            raise LoadError(f"{origin}: the type {name} is not defined")
        return definition

    def _reject_empty_items(self, origin: str, items: Any) -> None:
        """Rejects arrays whose items encode to zero bytes: ten bytes could then declare enough items to fill memory."""
        if self._is_empty(origin, items, frozenset()):
            raise LoadError(f"{origin}: an array's items encode to zero bytes: a short value could declare any number")

    def _is_empty(self, origin: str, node: Any, within: frozenset[str]) -> bool:
        """Return whether every value of the type encodes to zero bytes; `within` breaks cycles."""
        if not isinstance(node, str) or node in PRIMITIVES:
            kind = node["type"] if isinstance(node, dict) else node
            return bool(kind == "null")
        if node in within:
            return False
        origin, named = self._definition(origin, node)
        if named["type"] == "fixed":
            return not named.get("size")
        types = [field["type"] for field in named.get("fields", ())]
        return named["type"] != "enum" and all(self._is_empty(origin, kind, within | {node}) for kind in types)


def _full_name(origin: str, node: dict[str, Any], namespace: str) -> str:
    name = node["name"]
    own = node.get("namespace", namespace)
    if isinstance(name, str) and isinstance(own, str):
        full = name if "." in name or not own else f"{own}.{name}"
        if FULL_NAME.fullmatch(full):
            return full
    raise LoadError(f"{origin}: {name!r} is not a valid name of an Avro type")


def _fields(origin: str, record: str, node: dict[str, Any]) -> list[Any]:
    fields = node["fields"]
    if not isinstance(fields, list):
        raise LoadError(f"{origin}: the fields of {record} are not a list")
    return fields


def _check_size(origin: str, name: str, size: Any) -> None:
    if type(size) is not int or size < 0:
        raise LoadError(f"{origin}: the size of {name} must be a number of bytes, not {size!r}")


def _nameless(node: dict[str, Any]) -> dict[str, Any]:
    """A type that has no name in Avro, without the attribute `name` that some authors give it."""
    return {name: member for name, member in node.items() if name != "name"}


def _without_docs(node: dict[str, Any]) -> dict[str, Any]:
    """A definition without `doc` and `aliases`: two files may repeat a type with different documentation."""
    kept = {name: member for name, member in node.items() if name not in ("doc", "aliases", "fields")}
    return kept | {"fields": [_without_docs(field) for field in node.get("fields", ())]}
