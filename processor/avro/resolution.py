"""`Resolution`: how a datum that one schema wrote is read with another (Avro specification 1.12, "Schema Resolution").

The pair is compiled once, into one function a type. What does not fit is told at that moment, as a list, and becomes
a `Fault` only when a value comes upon it, as in the Java library: an enum's unknown symbol harms no value without it.

This is not fastavro's resolution, which leaves defaults as JSON has them and shares them between values, applies the
writer's logical types instead of the reader's, and takes a union's branch -1 for its last. Nor is it the checker of
the `avro` package, which tells every place inside a union as "/", and no reason with its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from processor.avro.containers import array_step, enum_step, map_step, record_step, union_step
from processor.avro.defaults import default_maker
from processor.avro.fault import Fault, Unresolvable, joined
from processor.avro.logical import converted, misfit
from processor.avro.names import named_types, same_name
from processor.avro.primitives import PRIMITIVE_STEPS, Step, read_fixed, single

PROMOTIONS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("int", "long"): int,
    ("int", "float"): single,
    ("int", "double"): float,
    ("long", "float"): single,
    ("long", "double"): float,
    ("float", "double"): float,
    ("string", "bytes"): str.encode,
    ("bytes", "string"): bytes.decode,
}


class Mismatch(NamedTuple):
    """One thing that the reader's schema cannot make of the writer's."""

    path: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        path = joined(self.path)
        return f"field {path}: {self.reason}" if path else self.reason


class Resolved(NamedTuple):
    """A pair of types: how it is read, and what of it cannot be."""

    step: Step
    mismatches: list[Mismatch]


class Resolution:
    """A writer's and a reader's schema, compiled. Any thread may read with it."""

    def __init__(self, writer: Any, reader: Any | None = None) -> None:
        """Both are self-contained definitions with full names; without a reader the writer's is read as it is."""
        names = named_types(writer)
        pair = _Pair(names, names) if reader is None else _Pair(names, named_types(reader))
        self._step, self.mismatches = pair.resolve(writer, writer if reader is None else reader)

    def read(self, data: bytes, at: int) -> Any:
        """The datum that begins at byte `at` and takes the rest of `data`.

        Raises:
            Fault: the bytes are no datum of the writer's schema, or of no value that the reader's has.
        """
        try:
            value, end = self._step(data, at)
        except RecursionError:
            raise Fault(at, "it is nested too deeply") from None
        if end != len(data):
            left = len(data) - end
            fault = Fault(end, f"{left} {'byte follows' if left == 1 else 'bytes follow'} its end")
            fault.partial = value
            raise fault
        return value


class _Pair:
    """What compiles the types of two schemas, each pair of named ones once."""

    def __init__(self, writers: dict[str, Any], readers: dict[str, Any]) -> None:
        self._writers = writers
        self._readers = readers
        self._as_written = self if writers is readers else _Pair(writers, writers)
        """What reads a field that the reader does not want."""
        self._known: dict[tuple[str, str], tuple[list[Step], list[Mismatch]]] = {}

    def resolve(self, writer: Any, reader: Any) -> Resolved:
        writer, reader = _defined(writer, self._writers), _defined(reader, self._readers)
        if isinstance(writer, list):
            branches = [self.resolve(branch, reader) for branch in writer]
            return Resolved(union_step([step for step, _ in branches]), [m for _, found in branches for m in found])
        if isinstance(reader, list):
            return self._chosen(writer, reader)
        if "name" in _of(writer) and "name" in _of(reader):
            return self._once(writer, reader)
        return self._plain(writer, reader)

    def _chosen(self, writer: Any, branches: list[Any]) -> Resolved:
        """The branch of the reader's union that takes the writer's type: the same type before one it is promoted to."""
        candidates = sorted(branches, key=lambda branch: not _is_same(writer, _defined(branch, self._readers)))
        found: list[Resolved] = []
        for branch in candidates:
            resolved = self.resolve(writer, branch)
            if not resolved.mismatches:
                return resolved
            found.append(resolved)
        near = [one for one, branch in zip(found, candidates, strict=True) if self._is_near(writer, branch)]
        if near:
            return near[0]
        known = ", ".join(_called(branch) for branch in branches)
        return _failed(f"written as {_called(writer)}, which is no branch of the reader's union of {known}")

    def _is_near(self, writer: Any, branch: Any) -> bool:
        """Whether it is this branch that is meant, so that what is wrong is inside it."""
        return _is_same(writer, _defined(branch, self._readers))

    def _once(self, writer: Any, reader: Any) -> Resolved:
        """A pair of named types; a type may contain itself, and is then read by the step that is being made."""
        key = (writer["name"], reader["name"])
        if key in self._known:
            made, mismatches = self._known[key]
            return Resolved(_later(made), mismatches)
        made, mismatches = self._known[key] = [], []
        step, found = self._named(writer, reader)
        made.append(step)
        mismatches.extend(found)
        return Resolved(step, found)

    def _named(self, writer: Any, reader: Any) -> Resolved:
        if not same_name(writer, reader):
            return _failed(f"written as {_called(writer)}, read as {_called(reader)}")
        kind = writer["type"]
        if kind in ("record", "error") and reader["type"] in ("record", "error"):
            return self._record(writer, reader)
        if kind == reader["type"] == "enum":
            return _enum(writer, reader)
        if kind == reader["type"] == "fixed":
            return _fixed(writer, reader)
        return _failed(f"written as {kind}, read as {reader['type']}")

    def _record(self, writer: Any, reader: Any) -> Resolved:
        wanted = _by_written_name(reader, {field["name"] for field in writer["fields"]})
        mismatches: list[Mismatch] = []
        fields: list[tuple[str, str | None, Step]] = []
        for field in writer["fields"]:
            name, into = field["name"], wanted.get(field["name"])
            if into is None:
                fields.append((name, None, self._as_written.resolve(field["type"], field["type"]).step))
                continue
            step, found = self.resolve(field["type"], into["type"])
            fields.append((name, into["name"], step))
            mismatches.extend(mismatch._replace(path=(into["name"], *mismatch.path)) for mismatch in found)
        filled = {into["name"] for into in wanted.values()}
        absent = [field for field in reader["fields"] if field["name"] not in filled]
        defaults = [(field["name"], self._default(field)) for field in absent if "default" in field]
        lacking = [field["name"] for field in absent if "default" not in field]
        mismatches += [Mismatch((name,), "the writer has no such field, and it has no default") for name in lacking]
        order = [field["name"] for field in reader["fields"]]
        is_in_order = order == [into for _, into, _ in fields]
        return Resolved(record_step(fields, defaults, None if is_in_order else order, lacking), mismatches)

    def _default(self, field: Any) -> Callable[[], Any]:
        return default_maker(field["type"], field["default"], lambda node: _defined(node, self._readers))

    def _plain(self, writer: Any, reader: Any) -> Resolved:
        kind, wanted = _kind(writer), _kind(reader)
        if kind == wanted == "array":
            step, found = self.resolve(writer["items"], reader["items"])
            return Resolved(array_step(step), [m._replace(path=("[]", *m.path)) for m in found])
        if kind == wanted == "map":
            step, found = self.resolve(writer["values"], reader["values"])
            return Resolved(map_step(step), [m._replace(path=("[]", *m.path)) for m in found])
        if kind not in PRIMITIVE_STEPS or wanted not in PRIMITIVE_STEPS:
            return _failed(f"written as {kind}, read as {wanted}")
        return _primitive(writer, reader)


def _later(made: list[Step]) -> Step:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        return made[0](data, at)

    return read


def _primitive(writer: Any, reader: Any) -> Resolved:
    kind, wanted = _kind(writer), _kind(reader)
    step = PRIMITIVE_STEPS[kind]
    if (reason := misfit(writer, reader)) is not None:
        return _failed(reason)
    if kind != wanted:
        promote = PROMOTIONS.get((kind, wanted))
        if promote is None:
            return _failed(f"written as {kind}, read as {wanted}")
        step = _promoted(step, promote)
    return Resolved(converted(step, reader), [])


def _promoted(step: Step, promote: Callable[[Any], Any]) -> Step:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, end = step(data, at)
        try:
            return promote(value), end
        except UnicodeDecodeError as error:
            raise Fault(at, f"bytes that are read as a string are not UTF-8: {error.reason}") from None

    return read


def _enum(writer: Any, reader: Any) -> Resolved:
    known = set(reader["symbols"])
    default = reader.get("default")
    symbols = [symbol if symbol in known else default for symbol in writer["symbols"]]
    unknown = [symbol for symbol in writer["symbols"] if symbol not in known]
    step = enum_step(writer["symbols"], symbols)
    if default is not None or not unknown:
        return Resolved(step, [])
    named = ", ".join(unknown)
    return Resolved(step, [Mismatch((), f"the reader's {reader['name']} lacks {named}, and has no default")])


def _fixed(writer: Any, reader: Any) -> Resolved:
    if writer["size"] != reader["size"]:
        return _failed(f"written with {writer['size']} bytes, read with {reader['size']}")
    reason = misfit(writer, reader)
    return _failed(reason) if reason else Resolved(converted(read_fixed(writer["size"]), reader), [])


def _failed(reason: str) -> Resolved:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        raise Unresolvable(at, reason)

    return Resolved(read, [Mismatch((), reason)])


def _by_written_name(reader: Any, written: set[str]) -> dict[str, Any]:
    """The reader's fields by the name that the writer has for each: its own where there is such, else an alias."""
    wanted = {field["name"]: field for field in reader["fields"] if field["name"] in written}
    for field in reader["fields"]:
        if field["name"] not in written:
            alias = next((alias for alias in field.get("aliases", ()) if alias in written - wanted.keys()), None)
            if alias is not None:
                wanted[alias] = field
    return wanted


def _is_same(writer: Any, reader: Any) -> bool:
    if _kind(writer) != _kind(reader):
        return False
    return "name" not in _of(writer) or same_name(writer, reader)


def _of(node: Any) -> Any:
    return node if isinstance(node, dict) else ()


def _kind(node: Any) -> str:
    kind: str = node["type"] if isinstance(node, dict) else "union" if isinstance(node, list) else node
    return kind


def _called(node: Any) -> str:
    """What a person calls it: the name of what has one, else the kind."""
    return str(_of(node)["name"]) if "name" in _of(node) else _kind(node)


def _defined(node: Any, names: dict[str, Any]) -> Any:
    return names.get(node, node) if isinstance(node, str) else node
