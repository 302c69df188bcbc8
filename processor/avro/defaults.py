"""Default values of a reader's fields: from their JSON form in a schema to the Python value that a handler gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processor.avro.fault import Fault
from processor.avro.logical import with_logical_type

Resolve = Callable[[Any], Any]
"""Returns the definition of a type that a schema references by name; returns any other type unchanged."""


def default_maker(node: Any, default: Any, resolve: Resolve) -> Callable[[], Any]:
    """A function that returns the default value. Each call makes a new list or dict, since a handler may edit it.

    Raises:
        ValueError: the default does not match its type.
    """
    value = default_value(node, default, resolve)
    if isinstance(value, list | dict):
        return lambda: default_value(node, default, resolve)
    return lambda: value


def default_value(node: Any, default: Any, resolve: Resolve) -> Any:
    """The Python value of `default` for a field of type `node` (Avro specification 1.12, "Complex Types").

    Raises:
        ValueError: the default does not match its type.
    """
    node = resolve(node)
    if isinstance(node, list):
        return _of_union(node, default, resolve)
    kind = node["type"] if isinstance(node, dict) else node
    if not _fits(kind, default):
        raise ValueError(f"the default {default!r} is not a valid {kind}")
    if kind == "array":
        return [default_value(node["items"], item, resolve) for item in default]
    if kind == "map":
        return {key: default_value(node["values"], item, resolve) for key, item in default.items()}
    if kind in ("record", "error"):
        return {field["name"]: _of_field(field, default, resolve) for field in node["fields"]}
    if kind in ("bytes", "fixed"):
        default = default.encode("latin-1")
    elif kind in ("float", "double"):
        default = float(default)
    try:
        return with_logical_type(lambda data, at: (default, at), node)(b"", 0)[0]
    except Fault as fault:
        raise ValueError(f"the default {default!r} is {fault.reason}") from None


def _of_field(field: Any, default: dict[str, Any], resolve: Resolve) -> Any:
    if field["name"] in default:
        return default_value(field["type"], default[field["name"]], resolve)
    if "default" in field:
        return default_value(field["type"], field["default"], resolve)
    raise ValueError(f"the default {default!r} lacks the field {field['name']}")


def _of_union(branches: list[Any], default: Any, resolve: Resolve) -> Any:
    """The value in the first branch that matches; before version 1.12 the specification required the very first."""
    for branch in branches:
        try:
            return default_value(branch, default, resolve)
        except ValueError:
            continue
    raise ValueError(f"the default {default!r} matches no branch of its union")


def _fits(kind: str, default: Any) -> bool:
    if kind in ("int", "long"):
        return type(default) is int
    if kind in ("float", "double"):
        return type(default) in (int, float)
    expected = {
        "null": type(None),
        "boolean": bool,
        "array": list,
        "map": dict,
        "record": dict,
        "error": dict,
    }
    return type(default) is expected.get(kind, str)
