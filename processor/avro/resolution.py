"""`Resolution`: reads data written with one schema as another (Avro specification 1.12, "Schema Resolution").

Each pair of schemas is compiled once, into one decoder per type. Compilation lists the mismatches. A mismatch becomes
a `Fault` only for a value that contains it, as in the Java library: an enum's unknown symbol affects no other value.

fastavro's resolution is not used: it leaves defaults in their JSON form and shares them between values, applies the
writer's logical types instead of the reader's, and accepts -1 as the index of a union's last branch. The checker of
the `avro` package is not used either: it reports every position inside a union as "/", without its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from processor.avro.containers import (
    LACKING_FIELD,
    array_decoder,
    enum_decoder,
    map_decoder,
    record_decoder,
    union_decoder,
)
from processor.avro.defaults import default_maker
from processor.avro.fault import Fault, Unresolvable, joined
from processor.avro.logical import logical_mismatch, with_logical_type
from processor.avro.names import named_types, same_name
from processor.avro.primitives import PRIMITIVE_DECODERS, Decoder, fixed_decoder, single

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
    """One reason why the reader's schema cannot represent every value of the writer's."""

    path: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        path = joined(self.path)
        return f"field {path}: {self.reason}" if path else self.reason


class Resolved(NamedTuple):
    """The result for a pair of types: the decoder, and the mismatches."""

    decode: Decoder
    mismatches: list[Mismatch]


class Resolution:
    """A compiled pair of writer's and reader's schema. Threads may share it."""

    def __init__(self, writer: Any, reader: Any | None = None) -> None:
        """Compiles the pair.

        Args:
            writer: a self-contained definition with full names.
            reader: the same; None reads data as they were written.
        """
        names = named_types(writer)
        compiler = _Compiler(names, names) if reader is None else _Compiler(names, named_types(reader))
        self._decode, self.mismatches = compiler.resolve(writer, writer if reader is None else reader)

    def read(self, data: bytes, at: int) -> Any:
        """Decodes the datum that begins at byte `at` and extends to the end of `data`.

        Raises:
            Fault: the bytes do not match the writer's schema, or the reader's schema cannot represent the value.
        """
        try:
            value, end = self._decode(data, at)
        except RecursionError:
            raise Fault(at, "nested too deeply") from None
        if end != len(data):
            left = len(data) - end
            fault = Fault(end, f"{left} {'byte follows' if left == 1 else 'bytes follow'} the end of the datum")
            fault.partial = value
            raise fault
        return value


class _Compiler:
    """Compiles decoders for the types of two schemas, each pair of named types once."""

    def __init__(self, writers: dict[str, Any], readers: dict[str, Any]) -> None:
        self._writers = writers
        self._readers = readers
        self._as_written = self if writers is readers else _Compiler(writers, writers)
        """Compiles the fields that the reader's schema lacks and whose values are skipped."""
        self._known: dict[tuple[str, str], tuple[list[Decoder], list[Mismatch]]] = {}

    def resolve(self, writer: Any, reader: Any) -> Resolved:
        writer, reader = _defined(writer, self._writers), _defined(reader, self._readers)
        if isinstance(writer, list):
            branches = [self.resolve(branch, reader) for branch in writer]
            mismatches = [mismatch for _, found in branches for mismatch in found]
            return Resolved(union_decoder([decode for decode, _ in branches]), mismatches)
        if isinstance(reader, list):
            return self._reader_branch(writer, reader)
        if "name" in _of(writer) and "name" in _of(reader):
            return self._named(writer, reader)
        return self._unnamed(writer, reader)

    def _reader_branch(self, writer: Any, branches: list[Any]) -> Resolved:
        """Selects the branch of the reader's union for the writer's type: the same type, else one to promote it to."""
        candidates = sorted(branches, key=lambda branch: not _is_same(writer, _defined(branch, self._readers)))
        found: list[Resolved] = []
        for branch in candidates:
            resolved = self.resolve(writer, branch)
            if not resolved.mismatches:
                return resolved
            found.append(resolved)
        for resolved, branch in zip(found, candidates, strict=True):
            if _is_same(writer, _defined(branch, self._readers)):
                return resolved  # the branch matches, and the mismatch is inside it
        known = ", ".join(_label(branch) for branch in branches)
        return _mismatched(f"written as {_label(writer)}, which is not a branch of the reader's union of {known}")

    def _named(self, writer: Any, reader: Any) -> Resolved:
        """Compiles a pair of named types once. A type that contains itself uses the decoder being compiled."""
        key = (writer["name"], reader["name"])
        if key in self._known:
            decoders, mismatches = self._known[key]
            return Resolved(_forward(decoders), mismatches)
        decoders, mismatches = self._known[key] = [], []
        decode, found = self._new_named(writer, reader)
        decoders.append(decode)
        mismatches.extend(found)
        return Resolved(decode, found)

    def _new_named(self, writer: Any, reader: Any) -> Resolved:
        if not same_name(writer, reader):
            return _mismatched(f"written as {_label(writer)}, read as {_label(reader)}")
        kind = writer["type"]
        if kind in ("record", "error") and reader["type"] in ("record", "error"):
            return self._record(writer, reader)
        if kind == reader["type"] == "enum":
            return _enum(writer, reader)
        if kind == reader["type"] == "fixed":
            return _fixed(writer, reader)
        return _mismatched(f"written as {kind}, read as {reader['type']}")

    def _record(self, writer: Any, reader: Any) -> Resolved:
        wanted = _by_written_name(reader, {field["name"] for field in writer["fields"]})
        mismatches: list[Mismatch] = []
        fields: list[tuple[str, str | None, Decoder]] = []
        for field in writer["fields"]:
            name, into = field["name"], wanted.get(field["name"])
            if into is None:
                fields.append((name, None, self._as_written.resolve(field["type"], field["type"]).decode))
                continue
            decode, found = self.resolve(field["type"], into["type"])
            fields.append((name, into["name"], decode))
            mismatches.extend(mismatch._replace(path=(into["name"], *mismatch.path)) for mismatch in found)
        written = {into["name"] for into in wanted.values()}
        absent = [field for field in reader["fields"] if field["name"] not in written]
        defaults = [(field["name"], self._default(field)) for field in absent if "default" in field]
        lacking = [field["name"] for field in absent if "default" not in field]
        mismatches += [Mismatch((name,), LACKING_FIELD) for name in lacking]
        order = [field["name"] for field in reader["fields"]]
        is_in_order = order == [into for _, into, _ in fields]
        return Resolved(record_decoder(fields, defaults, None if is_in_order else order, lacking), mismatches)

    def _default(self, field: Any) -> Callable[[], Any]:
        return default_maker(field["type"], field["default"], lambda node: _defined(node, self._readers))

    def _unnamed(self, writer: Any, reader: Any) -> Resolved:
        kind, wanted = _kind(writer), _kind(reader)
        if kind == wanted == "array":
            decode, found = self.resolve(writer["items"], reader["items"])
            return Resolved(array_decoder(decode), [m._replace(path=("[]", *m.path)) for m in found])
        if kind == wanted == "map":
            decode, found = self.resolve(writer["values"], reader["values"])
            return Resolved(map_decoder(decode), [m._replace(path=("[]", *m.path)) for m in found])
        if kind not in PRIMITIVE_DECODERS or wanted not in PRIMITIVE_DECODERS:
            return _mismatched(f"written as {kind}, read as {wanted}")
        return _primitive(writer, reader)


def _forward(decoders: list[Decoder]) -> Decoder:
    """Calls the decoder that `decoders` will hold once its type is compiled."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return decoders[0](data, at)

    return read


def _primitive(writer: Any, reader: Any) -> Resolved:
    kind, wanted = _kind(writer), _kind(reader)
    decode = PRIMITIVE_DECODERS[kind]
    if (reason := logical_mismatch(writer, reader)) is not None:
        return _mismatched(reason)
    if kind != wanted:
        promote = PROMOTIONS.get((kind, wanted))
        if promote is None:
            return _mismatched(f"written as {kind}, read as {wanted}")
        decode = _promoted(decode, promote)
    return Resolved(with_logical_type(decode, reader), [])


def _promoted(decode: Decoder, promote: Callable[[Any], Any]) -> Decoder:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, end = decode(data, at)
        try:
            return promote(value), end
        except UnicodeDecodeError as error:
            raise Fault(at, f"bytes read as a string are not UTF-8: {error.reason}") from None

    return read


def _enum(writer: Any, reader: Any) -> Resolved:
    known = set(reader["symbols"])
    default = reader.get("default")
    symbols = [symbol if symbol in known else default for symbol in writer["symbols"]]
    unknown = [symbol for symbol in writer["symbols"] if symbol not in known]
    decode = enum_decoder(writer["symbols"], symbols)
    if default is not None or not unknown:
        return Resolved(decode, [])
    missing = ", ".join(unknown)
    return Resolved(decode, [Mismatch((), f"the reader's {reader['name']} lacks {missing} and has no default")])


def _fixed(writer: Any, reader: Any) -> Resolved:
    if writer["size"] != reader["size"]:
        return _mismatched(f"written with a size of {writer['size']} bytes, read with {reader['size']}")
    reason = logical_mismatch(writer, reader)
    return _mismatched(reason) if reason else Resolved(with_logical_type(fixed_decoder(writer["size"]), reader), [])


def _mismatched(reason: str) -> Resolved:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        raise Unresolvable(at, reason)

    return Resolved(read, [Mismatch((), reason)])


def _by_written_name(reader: Any, written: set[str]) -> dict[str, Any]:
    """The reader's fields by the writer's name for each: the field's own name if the writer has it, else an alias."""
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


def _label(node: Any) -> str:
    """A type in an error message: its full name if it has one, else its kind."""
    return str(_of(node)["name"]) if "name" in _of(node) else _kind(node)


def _defined(node: Any, names: dict[str, Any]) -> Any:
    return names.get(node, node) if isinstance(node, str) else node
