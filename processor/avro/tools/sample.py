"""`Sampler`: random values of a schema, the same for the same seed."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from processor.avro.logical import logical_type
from processor.avro.schema import Schema
from processor.errors import LoadError

DEEPEST = 4
"""From this depth on a value is made as small as its schema lets it be."""

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
"""Times lie within the year that begins here."""
YEAR_SECONDS = 366 * 24 * 3600


class Sampler:
    """Values as Avro has them in Python: a `Decimal` for a decimal, a `datetime` for a time stamp."""

    def __init__(self, schema: Schema, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._schema = schema
        self._names: dict[str, Any] = {}

    def value(self) -> Any:
        """One more.

        Raises:
            LoadError: every value of the schema contains another one without end.
        """
        try:
            return self._made(self._schema.definition, 0)
        except RecursionError:
            raise LoadError(f"{self._schema.name} contains itself without end: no value of it exists") from None

    def _made(self, node: Any, depth: int) -> Any:
        if isinstance(node, str) and node in self._names:
            node = self._names[node]
        if isinstance(node, list):
            return self._made(self._branch(node, depth), depth)
        if isinstance(node, str):
            return self._primitive(node)
        if "name" in node:
            self._names[node["name"]] = node
        logical = _LOGICAL.get(logical_type(node) or "")
        return logical(self._random, node) if logical else self._complex(node, depth)

    def _complex(self, node: Any, depth: int) -> Any:
        kind = node["type"]
        if kind in ("record", "error"):
            return {field["name"]: self._made(field["type"], depth + 1) for field in node["fields"]}
        if kind == "enum":
            return self._random.choice(node["symbols"])
        if kind == "fixed":
            return self._random.randbytes(node["size"])
        if kind == "array":
            return [self._made(node["items"], depth + 1) for _ in range(self._length(depth))]
        if kind == "map":
            return {_word(self._random): self._made(node["values"], depth + 1) for _ in range(self._length(depth))}
        return self._primitive(kind)

    def _branch(self, branches: list[Any], depth: int) -> Any:
        """Any; from some depth on one that holds nothing, where there is one."""
        if depth < DEEPEST:
            return self._random.choice(branches)
        return min(branches, key=_weight)

    def _length(self, depth: int) -> int:
        return self._random.randint(1, 3) if depth < DEEPEST else 0

    def _primitive(self, kind: str) -> Any:
        return _PRIMITIVE[kind](self._random)


def _weight(branch: Any) -> int:
    """0 for nothing, 1 for what holds no other value, 2 for what may."""
    if branch == "null":
        return 0
    return 1 if isinstance(branch, str) and branch in _PRIMITIVE else 2


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 8)))


def _real(chance: random.Random) -> float:
    """With few binary digits, so that a float has it as it is."""
    return chance.randint(-8000, 8000) / 8


def _moment(chance: random.Random, node: Any) -> datetime:
    return BEGIN + timedelta(milliseconds=chance.randrange(YEAR_SECONDS * 1000))


def _decimal(chance: random.Random, node: Any) -> Decimal:
    digits = node["precision"]
    if node["type"] == "fixed":  # which may be smaller than the precision it claims
        digits = min(digits, len(str(2 ** (8 * node["size"] - 1))) - 1)
    return Decimal(chance.randrange(10 ** min(digits, 9))).scaleb(-node.get("scale", 0))


_PRIMITIVE: dict[str, Callable[[random.Random], Any]] = {
    "null": lambda chance: None,
    "boolean": lambda chance: chance.random() < 0.5,
    "int": lambda chance: chance.randint(0, 1000),
    "long": lambda chance: chance.randint(0, 1_000_000),
    "float": _real,
    "double": _real,
    "bytes": lambda chance: chance.randbytes(chance.randint(0, 8)),
    "string": _word,
}
_LOGICAL: dict[str, Callable[[random.Random, Any], Any]] = {
    "decimal": _decimal,
    "uuid": lambda chance, node: UUID(int=chance.getrandbits(128), version=4),
    "date": lambda chance, node: date(2024, 1, 1) + timedelta(days=chance.randrange(366)),
    "time-millis": lambda chance, node: _moment(chance, node).time(),
    "time-micros": lambda chance, node: _moment(chance, node).time(),
    "timestamp-millis": _moment,
    "timestamp-micros": _moment,
    "local-timestamp-millis": lambda chance, node: _moment(chance, node).replace(tzinfo=None),
    "local-timestamp-micros": lambda chance, node: _moment(chance, node).replace(tzinfo=None),
}
