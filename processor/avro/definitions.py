"""`Definitions`: named Avro types from many places, which may refer to each other in any order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from processor.avro.schema import Schema, compiled
from processor.errors import LoadError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})
FULL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class Definition(NamedTuple):
    """One named type, every name in it a full one and every named type inside it replaced by its name."""

    origin: str
    node: dict[str, Any]


class Definitions:
    """What one folder says of named types; a name has one meaning in it.

    A type that it does not define itself is looked up in the wider ones, and then wherever else it is defined once.
    """

    def __init__(self, wider: Definitions | None = None) -> None:
        self._by_name: dict[str, Definition] = {}
        self._wider = wider
        self._narrower: list[Definitions] = []

    def narrower(self) -> Definitions:
        """Those of a folder inside: they may give a name another meaning, as an older version does."""
        self._narrower.append(Definitions(self))
        return self._narrower[-1]

    def beside(self) -> Definitions:
        """Those of a file outside: they see these, and nobody sees them."""
        return Definitions(self)

    def origins(self) -> dict[str, str]:
        """Every name, and where it was defined first."""
        return {name: definition.origin for name, definition in self._by_name.items()}

    def defines(self, node: Any) -> bool:
        """Whether what `add` gave back is the name of a type that is defined here."""
        return isinstance(node, str) and node in self._by_name

    def of(self, origin: str, name: str) -> Definition | None:
        """The meaning of a name here: its own, that of the wider ones, or the only one; None where it has none.

        Raises:
            LoadError: `origin` cannot mean one of several that are equally far.
        """
        if name in self._by_name:
            return self._by_name[name]
        if self._wider is not None:
            return self._wider.of(origin, name)
        found = list(self._below(name))
        if len({str(_meaning(definition.node)) for definition in found}) > 1:
            places = " and in ".join(definition.origin for definition in found)
            raise LoadError(f"{origin}: the type {name} is defined differently in {places}")
        return found[0] if found else None

    def _below(self, name: str) -> Iterator[Definition]:
        for narrower in self._narrower:
            if name in narrower._by_name:  # noqa: SLF001
                yield narrower._by_name[name]  # noqa: SLF001
            yield from narrower._below(name)  # noqa: SLF001

    def add(self, origin: str, document: Any) -> Any:
        """Takes what `document` defines. What it says itself comes back, full names standing for named types.

        Raises:
            LoadError: it is no Avro schema, or gives a known name another meaning; `origin` is named.
        """
        try:
            return self._qualified(origin, document, "")
        except KeyError as error:
            raise LoadError(f"{origin}: a type lacks {error}") from error
        except RecursionError:
            raise LoadError(f"{origin}: the schema is nested too deeply") from None

    def schema(self, origin: str, node: Any) -> Schema:
        """The schema of what `add` gave back, with everything inside it that it refers to.

        Raises:
            LoadError: a reference leads nowhere, or records could not be read with it.
        """
        assembly = _Assembly(self)
        try:
            definition = assembly.inlined(origin, node)
            name = node if isinstance(node, str) and node not in PRIMITIVES else None
            return compiled(name, definition)
        except LoadError:
            raise
        except RecursionError:
            raise LoadError(f"{origin}: the schema is nested too deeply") from None
        except Exception as error:
            raise LoadError(f"{origin}: no Avro schema: {error}") from error

    def _qualified(self, origin: str, node: Any, namespace: str) -> Any:
        if isinstance(node, list):
            return [self._qualified(origin, branch, namespace) for branch in node]
        if isinstance(node, str):
            return node if node in PRIMITIVES or "." in node or not namespace else f"{namespace}.{node}"
        if not isinstance(node, dict):
            raise LoadError(f"{origin}: {node!r} is no Avro type")
        kind = node["type"]
        if kind in ("array", "map"):
            inner = "items" if kind == "array" else "values"
            return {**node, inner: self._qualified(origin, node[inner], namespace)}
        if isinstance(kind, str) and kind in NAMED:
            return self._defined(origin, node, namespace)
        # {"type": "string", "logicalType": …} is kept; {"type": {…}} and {"type": "a.Reference"} are what they hold.
        return node if isinstance(kind, str) and kind in PRIMITIVES else self._qualified(origin, kind, namespace)

    def _defined(self, origin: str, node: dict[str, Any], namespace: str) -> str:
        name = _full_name(origin, node, namespace)
        inner = name.rpartition(".")[0]
        own = {**node, "name": name, "namespace": inner}
        if node["type"] in ("record", "error"):
            own["fields"] = [self._field(origin, name, field, inner) for field in _fields(origin, name, node)]
        known = self._by_name.setdefault(name, Definition(origin, own))
        if known.node is not own and _meaning(known.node) != _meaning(own):
            raise LoadError(f"{origin}: {name} is defined differently in {known.origin}")
        return name

    def _field(self, origin: str, record: str, field: Any, namespace: str) -> dict[str, Any]:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str) or "type" not in field:
            raise LoadError(f"{origin}: {record} has a field without a name or a type")
        return {**field, "type": self._qualified(origin, field["type"], namespace)}


class _Assembly:
    """One schema being put together: a named type in full where it is first met, by name from then on."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._met: set[str] = set()

    def inlined(self, origin: str, node: Any) -> Any:
        if isinstance(node, list):
            return [self.inlined(origin, branch) for branch in node]
        if isinstance(node, str):
            return node if node in PRIMITIVES else self._named(origin, node)
        if node["type"] == "array":
            self._refuse_weightless(origin, node["items"])
            return {**node, "items": self.inlined(origin, node["items"])}
        return {**node, "values": self.inlined(origin, node["values"])} if node["type"] == "map" else node

    def _named(self, origin: str, name: str) -> Any:
        if name in self._met:
            return name
        origin, node = self._definition(origin, name)
        self._met.add(name)
        if "fields" in node:
            fields = [{**field, "type": self.inlined(origin, field["type"])} for field in node["fields"]]
            node = {**node, "fields": fields}
        return node

    def _definition(self, origin: str, name: str) -> Definition:
        definition = self._definitions.of(origin, name)
        if definition is None:
            raise LoadError(f"{origin}: the type {name} is defined nowhere")
        return definition

    def _refuse_weightless(self, origin: str, items: Any) -> None:
        """An array says how many items follow. Where an item takes no bytes, a value of ten bytes fills the memory."""
        if self._weightless(origin, items, frozenset()):
            raise LoadError(f"{origin}: an array's items take no bytes, so that a short value could claim any number")

    def _weightless(self, origin: str, node: Any, within: frozenset[str]) -> bool:
        if not isinstance(node, str) or node in PRIMITIVES:
            kind = node["type"] if isinstance(node, dict) else node
            return bool(kind == "null")
        if node in within:
            return False
        origin, named = self._definition(origin, node)
        if named["type"] == "fixed":
            return not named.get("size")
        types = [field["type"] for field in named.get("fields", ())]
        return named["type"] != "enum" and all(self._weightless(origin, kind, within | {node}) for kind in types)


def _full_name(origin: str, node: dict[str, Any], namespace: str) -> str:
    name = node["name"]
    own = node.get("namespace", namespace)
    if isinstance(name, str) and isinstance(own, str):
        full = name if "." in name or not own else f"{own}.{name}"
        if FULL_NAME.fullmatch(full):
            return full
    raise LoadError(f"{origin}: {name!r} is no name for an Avro type")


def _fields(origin: str, record: str, node: dict[str, Any]) -> list[Any]:
    fields = node["fields"]
    if not isinstance(fields, list):
        raise LoadError(f"{origin}: the fields of {record} are no list")
    return fields


def _meaning(node: dict[str, Any]) -> dict[str, Any]:
    """A definition without what is said to people."""
    spoken = {name: member for name, member in node.items() if name not in ("doc", "aliases", "fields")}
    return spoken | {"fields": [_meaning(field) for field in node.get("fields", ())]}
