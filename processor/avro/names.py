"""Names of Avro types: the ones that a definition contains, and whether two of them match."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def same_name(writer: Any, reader: Any) -> bool:
    """Return whether the names match without their namespaces (as specified since Avro 1.11), or by an alias."""
    name = _unqualified(writer["name"])
    return name == _unqualified(reader["name"]) or writer["name"] in qualified_aliases(reader)


def qualified_aliases(node: Any) -> set[str]:
    """The aliases of a named type as full names. An alias without a namespace is in the type's own."""
    namespace = node["name"].rpartition(".")[0]
    return {
        alias if "." in alias or not namespace else f"{namespace}.{alias}"
        for alias in node.get("aliases") or ()
        if isinstance(alias, str)
    }


def _unqualified(name: str) -> str:
    return name.rpartition(".")[2]


def named_types(node: Any) -> dict[str, Any]:
    """Every named type inside a definition, by its full name."""
    return dict(_walked(node))


def _walked(node: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(node, list):
        for branch in node:
            yield from _walked(branch)
    elif isinstance(node, dict):
        if "name" in node:
            yield node["name"], node
        for inner in [field["type"] for field in node.get("fields", ())] + [node.get("items"), node.get("values")]:
            yield from _walked(inner)
