"""`processor decode SOURCE`: a value taken apart: its framing, its schema, what it says or where it stops doing so."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from processor.engine.record import Headers, Record
from processor.errors import DecodeError, SettingsError
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
            "A file with the bytes of one value, - for standard input, or TOPIC:PARTITION:OFFSET for a record.",
            metavar="SOURCE",
        ),
    ] = "-",
) -> int:
    """Take one value apart: how it is framed, which schema it names, and what it says, as JSON.

    A value that cannot be read is told with the byte and the field at which it stops making sense.
    What was read before is shown all the same, and the exit code is 1.
    """
    from processor.codec.anatomy import shown_record  # here, so that help does without

    place = PLACE.fullmatch(source) if not Path(source).exists() else None
    record = _record(connection, place) if place else _Bytes(_read(source))
    anatomy = _anatomy(values, record)
    typer.echo(anatomy.json(shown_record(record) if place else None).decode())
    if anatomy.error is not None:
        raise DecodeError(anatomy.error.sentence(anatomy.schema))
    return 0


def _anatomy(values: ReadingOptions, record: Record) -> Anatomy:
    from processor.codec.anatomy import anatomy_of
    from processor.codec.select import codec_for

    if values.registry is None:
        return anatomy_of(record, codec_for(values.value_format, values.schemas))
    from processor.kafka.registry.consumer import PatientRegistry, open_registry

    with open_registry(values.registry) as client:
        return anatomy_of(record, codec_for(values.value_format, values.schemas, PatientRegistry(client)))


def _record(connection: ConnectionOptions, place: re.Match[str]) -> Record:
    from processor.kafka.reading import record_at
    from processor.runtime.ports import Partition

    topic, partition, offset = place.groups()
    where = Partition(topic, int(partition))
    return record_at(connection.bootstrap_servers, connection.kafka_config, where, int(offset))


def _read(source: str) -> bytes:
    """Raises:
    SettingsError: the file cannot be read.
    """
    try:
        return _standard_input() if source == "-" else Path(source).read_bytes()
    except OSError as caught:
        hint = "" if source == "-" or ":" not in source else "; a record is named TOPIC:PARTITION:OFFSET"
        raise SettingsError(f"SOURCE {source!r} cannot be read: {caught.strerror}{hint}") from None


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise SettingsError("standard input is closed; give a SOURCE")
    if sys.stdin.isatty():
        typer.echo("reading one value's bytes from this terminal; Ctrl-D ends it", err=True)
    return sys.stdin.buffer.read()


class _Bytes:
    """A value that is no record's."""

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
