"""Python classes made of Avro records, as the text of a module."""

from __future__ import annotations

import json
import keyword
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, Literal

from processor.avro.defaults import Lookup, default_value
from processor.avro.logical import logical_type
from processor.avro.schema import Schema
from processor.errors import LoadError

Style = Literal["dataclass", "msgspec"]

PRIMITIVES = {
    "null": "None",
    "boolean": "bool",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "bytes": "bytes",
    "string": "str",
    "fixed": "bytes",
}
LOGICAL = {
    "decimal": "Decimal",
    "uuid": "UUID",
    "date": "dt.date",
    "time-millis": "dt.time",
    "time-micros": "dt.time",
    "timestamp-millis": "dt.datetime",
    "timestamp-micros": "dt.datetime",
    "local-timestamp-millis": "dt.datetime",
    "local-timestamp-micros": "dt.datetime",
}
TEXT = frozenset({"str", "bytes", *LOGICAL.values()})
"""What is text in JSON: in a union of two of these nobody could tell which one a text is."""

TAKEN = frozenset({*PRIMITIVES.values(), "Decimal", "UUID", "Any", "StrEnum", "dt", "msgspec", "dataclass", "field"})
"""What a class must not be called in the module."""

IMPORTS = {
    "dt": "import datetime as dt",
    "field": "from dataclasses import dataclass, field",
    "dataclass": "from dataclasses import dataclass",
    "Decimal": "from decimal import Decimal",
    "StrEnum": "from enum import StrEnum",
    "Any": "from typing import Any",
    "UUID": "from uuid import UUID",
}
"""In the order in which they stand."""

EMPTY = {"lambda: []": "list", "lambda: {}": "dict"}

DOC_WIDTH = 100


class Classes:
    """The classes of some schemas, each type once and after those that it needs."""

    def __init__(self, schemas: Iterable[Schema], style: Style = "dataclass") -> None:
        """Raises:
        LoadError: two types would have one name, or a field's name cannot be a dataclass's.
        """
        self._style = style
        self._types: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._bodies: list[str] = []
        self._used: set[str] = set()
        self._literals = Literals(self._names, self._defined)
        for schema in schemas:
            self._annotation(schema.definition)

    def text(self) -> str:
        """The module."""
        return "\n".join([*self._head(), *(f"\n\n{body}" for body in self._bodies)]) + "\n"

    def _head(self) -> Iterator[str]:
        yield '"""Made by `processor schema generate`: change the schemas, and make it again."""'
        yield "\nfrom __future__ import annotations"
        standard = [line for name, line in IMPORTS.items() if name in self._used]
        if "field" in self._used:  # whose line imports it, too
            standard = [line for line in standard if line != IMPORTS["dataclass"]]
        if standard:
            yield "\n" + "\n".join(standard)
        if "msgspec" in self._used:
            yield "\nimport msgspec"

    def _annotation(self, node: Any) -> str:
        node = self._defined(node)
        if isinstance(node, list):
            return self._union(node)
        kind = node["type"] if isinstance(node, dict) else node
        if kind == "fixed":
            self._types[node["name"]] = node
        if logical := LOGICAL.get(logical_type(node) or ""):
            self._used.add(logical.partition(".")[0])
            return logical
        if kind == "array":
            return f"list[{self._annotation(node['items'])}]"
        if kind == "map":
            return f"dict[str, {self._annotation(node['values'])}]"
        return PRIMITIVES[kind] if kind in PRIMITIVES else self._class(node)

    def _union(self, branches: list[Any]) -> str:
        names = list(dict.fromkeys(self._annotation(branch) for branch in branches))
        if not self._can_be_told_apart(names):
            self._used.add("Any")
            return "Any"
        return " | ".join(sorted(names, key=lambda name: name == "None"))

    def _can_be_told_apart(self, names: list[str]) -> bool:
        """As msgspec asks: at most one of a union's types may be text, one an object and one an array."""
        kinds = {self._names[full]: node["type"] for full, node in self._types.items() if full in self._names}
        texts = [name for name in names if name in TEXT or kinds.get(name) == "enum"]
        objects = [name for name in names if name.startswith("dict[") or kinds.get(name) in ("record", "error")]
        arrays = [name for name in names if name.startswith("list[")]
        return max(len(texts), len(objects), len(arrays)) <= 1

    def _class(self, node: Any) -> str:
        full, name = node["name"], _class_name(node["name"])
        if full in self._names:
            return name
        if name in self._names.values():
            other = next(other for other, taken in self._names.items() if taken == name)
            raise LoadError(f"{other} and {full} would both be the class {name}: generate them into two modules")
        self._types[full], self._names[full] = node, name
        self._bodies.append("\n".join(self._enum(name, node) if node["type"] == "enum" else self._record(name, node)))
        return name

    def _enum(self, name: str, node: Any) -> list[str]:
        self._used.add("StrEnum")
        symbols = [f"    {member(symbol)} = {text(symbol)}" for symbol in node["symbols"]]
        return [f"class {name}(StrEnum):", *_doc(node), *symbols]

    def _record(self, name: str, node: Any) -> list[str]:
        fields = [line for field in node["fields"] for line in self._field(node["name"], field)]
        doc = _doc(node)
        lines = [*doc, *([""] if doc and fields else []), *fields] or ["    pass"]
        self._used.add(self._style)
        if self._style == "msgspec":
            return [f"class {name}(msgspec.Struct, kw_only=True):", *lines]
        return ["@dataclass(kw_only=True)", f"class {name}:", *lines]

    def _field(self, record: str, field: Any) -> Iterator[str]:
        name, annotation = field["name"], self._annotation(field["type"])
        default = self._default(field) if "default" in field else None
        if keyword.iskeyword(name) or name.startswith("__"):
            if self._style == "dataclass":
                raise LoadError(f"{record}: a dataclass can have no field called {name}: use --style msgspec")
            default = f"msgspec.field({', '.join(filter(None, (_argument(default), f'name={text(name)}')))})"
            name = f"{name.strip('_')}_"
        elif default is not None and default.startswith("lambda: "):
            default = f"{self._field_function()}({_argument(default)})"
        yield f"    {name}: {annotation}{'' if default is None else f' = {default}'}"
        yield from _doc(field)

    def _field_function(self) -> str:
        if self._style == "msgspec":
            return "msgspec.field"
        self._used.add("field")
        return "field"

    def _default(self, field: Any) -> str:
        """The default; a function that makes it, where it could be changed."""
        literal = self._literals.of(field["type"], field["default"])
        return f"lambda: {literal}" if isinstance(field["default"], list | dict) else literal

    def _defined(self, node: Any) -> Any:
        return self._types.get(node, node) if isinstance(node, str) else node


def _argument(default: str | None) -> str:
    if default is None:
        return ""
    if not default.startswith("lambda: "):
        return f"default={default}"
    return f"default_factory={EMPTY.get(default, default)}"


def _class_name(full: str) -> str:
    name = full.rpartition(".")[2]
    name = name[:1].upper() + name[1:]
    return f"{name}_" if keyword.iskeyword(name) or name in TAKEN else name


def _doc(node: Any) -> list[str]:
    """What the schema says to people, as a docstring."""
    said = node.get("doc")
    if not isinstance(said, str) or not said.strip():
        return []
    lines = textwrap.wrap(said.replace("\\", "\\\\").replace('"', "'"), DOC_WIDTH, break_on_hyphens=False)
    end = [] if len(lines) == 1 else ['    """']
    return [f'    """{lines[0]}{"" if end else chr(34) * 3}', *(f"    {line}" for line in lines[1:]), *end]


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
