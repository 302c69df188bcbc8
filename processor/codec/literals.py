"""A default of an Avro field as Python writes it."""

from __future__ import annotations

import json
import keyword
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from processor.codec.defaults import Lookup, default_value
from processor.errors import LoadError

TAKEN_BY_ENUMS = frozenset({"mro", "name", "value"})


class Literals:
    """Defaults as text; classes by the names that they have in the module."""

    def __init__(self, classes: Mapping[str, str], defined: Lookup) -> None:
        self._classes = classes
        self._defined = defined

    def of(self, node: Any, default: Any) -> str:
        """The expression for the default of a field of type `node`.

        Raises:
            LoadError: it is of no branch of its union.
        """
        node = self._defined(node)
        if isinstance(node, list):
            return self.of(self._branch(node, default), default)
        kind = node["type"] if isinstance(node, dict) else node
        if kind == "array":
            return f"[{', '.join(self.of(node['items'], item) for item in default)}]"
        if kind == "map":
            entries = [f"{text(key)}: {self.of(node['values'], value)}" for key, value in default.items()]
            return "{" + ", ".join(entries) + "}"
        if kind == "enum":
            return f"{self._classes[node['name']]}.{member(default)}"
        if kind in ("record", "error"):
            return self._record(node, default)
        return _plain(default_value(node, default, self._defined))

    def _record(self, node: Any, default: Any) -> str:
        given = [field for field in node["fields"] if field["name"] in default]
        inner = [f"{field['name']}={self.of(field['type'], default[field['name']])}" for field in given]
        return f"{self._classes[node['name']]}({', '.join(inner)})"

    def _branch(self, branches: list[Any], default: Any) -> Any:
        for branch in branches:
            try:
                default_value(branch, default, self._defined)
            except ValueError:
                continue
            return branch
        raise LoadError(f"the default {default!r} is of no branch of its union")


def text(value: str) -> str:
    """With double quotes, as formatters have it: JSON's escapes are Python's."""
    return json.dumps(value, ensure_ascii=False)


def member(symbol: str) -> str:
    """The name of an enum's member; some names mean something else there."""
    taken = keyword.iskeyword(symbol) or symbol in TAKEN_BY_ENUMS or symbol.startswith("_")
    return f"{symbol.strip('_')}_" if taken else symbol


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, date | datetime | time):
        said = repr(value).removeprefix("datetime.").replace("datetime.timezone.utc", "dt.UTC")
        return f"dt.{said}"
    return repr(value)
