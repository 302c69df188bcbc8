"""The default of a reader's field, from how a schema writes it to the value that a handler gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processor.avro.fault import Fault
from processor.avro.logical import converted

Lookup = Callable[[Any], Any]
"""A type as it is defined, where a schema may only name it."""


def default_maker(node: Any, default: Any, defined: Lookup) -> Callable[[], Any]:
    """A function that makes the default value; a new one a call where a handler could change it.

    Raises:
        ValueError: the default is none of its type.
    """
    value = default_value(node, default, defined)
    if isinstance(value, list | dict):
        return lambda: default_value(node, default, defined)
    return lambda: value


def default_value(node: Any, default: Any, defined: Lookup) -> Any:
    """The value that a field of type `node` has by `default` (Avro specification 1.12, "Complex Types").

    Raises:
        ValueError: the default is none of its type.
    """
    node = defined(node)
    if isinstance(node, list):
        return _of_union(node, default, defined)
    kind = node["type"] if isinstance(node, dict) else node
    if not _fits(kind, default):
        raise ValueError(f"the default {default!r} is no {kind}")
    if kind == "array":
        return [default_value(node["items"], item, defined) for item in default]
    if kind == "map":
        return {key: default_value(node["values"], item, defined) for key, item in default.items()}
    if kind in ("record", "error"):
        return {field["name"]: _of_field(field, default, defined) for field in node["fields"]}
    if kind in ("bytes", "fixed"):
        default = default.encode("latin-1")
    elif kind in ("float", "double"):
        default = float(default)
    try:
        return converted(lambda data, at: (default, at), node)(b"", 0)[0]
    except Fault as fault:
        raise ValueError(f"the default {default!r} is {fault.reason}") from None


def _of_field(field: Any, default: dict[str, Any], defined: Lookup) -> Any:
    if field["name"] in default:
        return default_value(field["type"], default[field["name"]], defined)
    if "default" in field:
        return default_value(field["type"], field["default"], defined)
    raise ValueError(f"the default {default!r} lacks the field {field['name']}")


def _of_union(branches: list[Any], default: Any, defined: Lookup) -> Any:
    """Of the first branch that it fits; the specification asked for the very first until version 1.12."""
    for branch in branches:
        try:
            return default_value(branch, default, defined)
        except ValueError:
            continue
    raise ValueError(f"the default {default!r} is of no branch of its union")


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
