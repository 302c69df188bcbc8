"""`processor decode SOURCE`: shows a value's framing, schema and contents, or where it cannot be decoded."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from processor.engine.record import Headers, Record
from processor.errors import DecodeError, SettingsError
from processor.observe.wording import visible
from processor.options.connection import ConnectionOptions
from processor.options.option import Argument
from processor.options.values import ReadingOptions

if TYPE_CHECKING:
    from processor.codec.anatomy import Anatomy

PLACE = re.compile(r"([A-Za-z0-9._-]+):(\d+):(\d+)")
"""TOPIC:PARTITION:OFFSET."""


def decode(
    connection: ConnectionOptions,
    values: ReadingOptions,
    source: Annotated[
        str,
        Argument(
            "File with the bytes of one value, - for standard input, or TOPIC:PARTITION:OFFSET of a record.",
            metavar="SOURCE",
        ),
    ] = "-",
) -> int:
    """Show one value's framing, schema and contents as JSON.

    For a value that cannot be decoded, show the byte and field of the error and the part before it.
    The exit code is then 1.
    """
    from processor.codec.anatomy import record_fields  # not at the top, to keep --help fast

    is_file = os.path.exists(source)  # noqa: PTH110 — Path.exists raises for a name that is too long
    place = None if is_file else PLACE.fullmatch(source)
    record = _record(connection, place) if place else _Bytes(_read(source))
    anatomy = _anatomy(values, record)
    typer.echo(visible(anatomy.json(record_fields(record) if place else None).decode()))
    if anatomy.error is not None:
        raise DecodeError(anatomy.error.message(anatomy.schema))
    return 0


def _anatomy(values: ReadingOptions, record: Record) -> Anatomy:
    from processor.cli.value_codec import open_codec
    from processor.codec.anatomy import anatomy_of

    with open_codec(values) as codec:
        return anatomy_of(record, codec)


def _record(connection: ConnectionOptions, place: re.Match[str]) -> Record:
    from processor.boot.tokens import with_tokens
    from processor.kafka.reading import record_at
    from processor.runtime.ports import Partition

    topic, partition, offset = place.groups()
    where = Partition(topic, int(partition))
    connection = with_tokens(connection, lambda _: None)  # the command ends before a second token is needed
    return record_at(connection.bootstrap_servers, connection.kafka_config, where, int(offset))


def _read(source: str) -> bytes:
    """The bytes of a file or of standard input.

    Raises:
        SettingsError: they cannot be read.
    """
    try:
        return _standard_input() if source == "-" else Path(source).read_bytes()
    except OSError as caught:
        hint = "" if source == "-" or ":" not in source else "; for a record, give TOPIC:PARTITION:OFFSET"
        raise SettingsError(f"SOURCE {source!r} cannot be read: {caught.strerror}{hint}") from None


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise SettingsError("standard input is closed: give a SOURCE")
    if sys.stdin.isatty():
        typer.echo("reading the bytes of one value from the terminal; end with Ctrl-D", err=True)
    return sys.stdin.buffer.read()


class _Bytes:
    """A value from a file, with the interface of a record."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def topic(self) -> str:
        return ""

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 0, -1

    def error(self) -> object | None:
        return None
