"""Names of Avro's types: which there are in a definition, and which mean the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def same_name(writer: Any, reader: Any) -> bool:
    """By the name without its namespace, as the specification has it since version 1.11, or by an alias."""
    name = _unqualified(writer["name"])
    return name == _unqualified(reader["name"]) or writer["name"] in qualified_aliases(reader)


def qualified_aliases(node: Any) -> set[str]:
    """The aliases of a named type as full names: one without a namespace is in that of the type."""
    namespace = node["name"].rpartition(".")[0]
    return {
        alias if "." in alias or not namespace else f"{namespace}.{alias}"
        for alias in node.get("aliases") or ()
        if isinstance(alias, str)
    }


def _unqualified(name: str) -> str:
    return name.rpartition(".")[2]


def named_types(node: Any) -> dict[str, Any]:
    """Every named type inside a definition."""
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
