"""`Sampler`: random values of a schema, reproducible by their seed."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from processor.avro.logical import logical_type
from processor.avro.names import named_types
from processor.avro.schema import Schema
from processor.errors import LoadError

MAX_DEPTH = 4
"""The depth from which on values are as small as their schema allows: empty arrays, null branches."""

FIRST_TIME = datetime(2024, 1, 1, tzinfo=UTC)
"""Random times fall within the year that begins here."""
YEAR_SECONDS = 366 * 24 * 3600


class Sampler:
    """Generates values in their Python types: a `Decimal` for a decimal, a `datetime` for a timestamp."""

    def __init__(self, schema: Schema, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._schema = schema
        self._names = named_types(schema.definition)
        """A type may be defined in a branch that is not chosen, and used elsewhere."""

    def value(self) -> Any:
        """Generates the next value.

        Raises:
            LoadError: the schema requires infinite recursion, or one of no symbols or branches: no value of it exists.
        """
        try:
            return self._value(self._schema.definition, 0)
        except RecursionError:
            raise LoadError(f"{self._schema.name} always contains itself: no finite value of it exists") from None
        except IndexError:
            raise LoadError(
                f"{self._schema.name} contains an enum or a union of nothing: no value of it exists"
            ) from None

    def _value(self, node: Any, depth: int) -> Any:
        if isinstance(node, str) and node in self._names:
            node = self._names[node]
        if isinstance(node, list):
            return self._value(self._branch(node, depth), depth)
        if isinstance(node, str):
            return self._primitive(node)
        logical = _LOGICAL.get(logical_type(node) or "")
        return logical(self._random, node) if logical else self._complex(node, depth)

    def _complex(self, node: Any, depth: int) -> Any:
        kind = node["type"]
        if kind in ("record", "error"):
            return {field["name"]: self._value(field["type"], depth + 1) for field in node["fields"]}
        if kind == "enum":
            return self._random.choice(node["symbols"])
        if kind == "fixed":
            return self._random.randbytes(node["size"])
        if kind == "array":
            return [self._value(node["items"], depth + 1) for _ in range(self._length(depth))]
        if kind == "map":
            return {_word(self._random): self._value(node["values"], depth + 1) for _ in range(self._length(depth))}
        return self._primitive(kind)

    def _branch(self, branches: list[Any], depth: int) -> Any:
        """A random branch; from `MAX_DEPTH` on the smallest one."""
        if depth < MAX_DEPTH:
            return self._random.choice(branches)
        return min(branches, key=_size_rank)

    def _length(self, depth: int) -> int:
        return self._random.randint(1, 3) if depth < MAX_DEPTH else 0

    def _primitive(self, kind: str) -> Any:
        return _PRIMITIVE[kind](self._random)


def _size_rank(branch: Any) -> int:
    """The size rank of a branch: 0 for null, 1 for a primitive type, 2 for a type that may contain others."""
    if branch == "null":
        return 0
    return 1 if isinstance(branch, str) and branch in _PRIMITIVE else 2


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 8)))


def _float(rng: random.Random) -> float:
    """A number with few binary digits, which a 32-bit float represents exactly."""
    return rng.randint(-8000, 8000) / 8


def _datetime(rng: random.Random, node: Any) -> datetime:
    return FIRST_TIME + timedelta(milliseconds=rng.randrange(YEAR_SECONDS * 1000))


def _decimal(rng: random.Random, node: Any) -> Decimal:
    digits = node["precision"]
    if node["type"] == "fixed":  # it may be too small for its declared precision
        digits = min(digits, len(str(2 ** (8 * node["size"] - 1))) - 1)
    return Decimal(rng.randrange(10 ** min(digits, 9))).scaleb(-node.get("scale", 0))


_PRIMITIVE: dict[str, Callable[[random.Random], Any]] = {
    "null": lambda rng: None,
    "boolean": lambda rng: rng.random() < 0.5,
    "int": lambda rng: rng.randint(0, 1000),
    "long": lambda rng: rng.randint(0, 1_000_000),
    "float": _float,
    "double": _float,
    "bytes": lambda rng: rng.randbytes(rng.randint(0, 8)),
    "string": _word,
}
_LOGICAL: dict[str, Callable[[random.Random, Any], Any]] = {
    "decimal": _decimal,
    "uuid": lambda rng, node: UUID(int=rng.getrandbits(128), version=4),
    "date": lambda rng, node: date(2024, 1, 1) + timedelta(days=rng.randrange(366)),
    "time-millis": lambda rng, node: _datetime(rng, node).time(),
    "time-micros": lambda rng, node: _datetime(rng, node).time(),
    "timestamp-millis": _datetime,
    "timestamp-micros": _datetime,
    "local-timestamp-millis": lambda rng, node: _datetime(rng, node).replace(tzinfo=None),
    "local-timestamp-micros": lambda rng, node: _datetime(rng, node).replace(tzinfo=None),
}
