"""`processor dlq show`: one dead letter in full."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import typer

from processor.boot.tokens import with_tokens
from processor.cli.dlq.selection import DeadLetterOptions, identify_with
from processor.cli.tables import Output, json_text, print_json, table
from processor.cli.value_codec import open_codec
from processor.codec.anatomy import anatomy_of
from processor.codec.task_line import header_text
from processor.errors import SettingsError
from processor.kafka.dead_letters import DeadLetters
from processor.kafka.reading import record_at
from processor.operate.letter_reports import LetterDetail
from processor.operate.letters import Letter, letter_of
from processor.operate.moments import Moment
from processor.options.connection import ConnectionOptions
from processor.options.option import Argument
from processor.options.values import ReadingOptions
from processor.runtime.ports import Codec, Partition

_PLACE = re.compile(r"([0-9]{1,6}):([0-9]{1,19})")


def _fault(text: str) -> str | None:
    return None if _PLACE.fullmatch(text) else f"must be PARTITION:OFFSET, as `dlq list` shows it, not {text[:80]!r}"


def show(
    connection: ConnectionOptions,
    values: ReadingOptions,
    source: DeadLetterOptions,
    letter: Annotated[str, Argument("PARTITION:OFFSET in the dead-letter topic.", metavar="LETTER", rule=_fault)],
    output: Output = "table",
) -> int:
    """Show one dead letter: its error, where it came from, its headers, and its decoded value."""
    connection = with_tokens(connection, lambda _: None)
    partition, offset = map(int, letter.split(":"))
    where = Partition(source.topic, partition)
    record = record_at(connection.bootstrap_servers, connection.kafka_config, where, offset)
    found = letter_of(record)
    if found is None:
        raise SettingsError(f"{source.topic}:{letter} is not a dead letter: it has no header dlq-topic")
    with (
        open_codec(values) as codec,
        DeadLetters(connection, source.topic, source.progress_group) as letters,
    ):
        detail = _detail(found, codec, is_dealt_with=letters.is_dealt_with(found))
    if output == "json":
        print_json(detail)
    else:
        typer.echo("\n".join(_lines(detail)))
    return 0


def _detail(letter: Letter, codec: Codec, *, is_dealt_with: bool) -> LetterDetail:
    anatomy, task = anatomy_of(letter, codec), identify_with(codec)(letter)
    parts = [part for part in (anatomy.value, anatomy.partial) if part is not msgspec.UNSET]
    kind, timestamp = letter.timestamp()
    return LetterDetail(
        letter=str(letter.place),
        dealt_with=is_dealt_with,
        topic=letter.topic(),
        partition=letter.partition(),
        offset=letter.offset(),
        timestamp=timestamp if kind else -1,
        session=task.session_id,
        name=task.name,
        id=task.id,
        group=letter.group,
        error_type=letter.error_type,
        error_message=letter.error_message,
        attempts=letter.attempts,
        replays=letter.replays,
        failed_at=letter.failed_at,
        headers=[(name, header_text(value)) for name, value in letter.headers()],
        value=parts[0] if parts else None,
        decode_error=anatomy.error.message(anatomy.schema) if anatomy.error is not None else None,
    )


def _lines(detail: LetterDetail) -> list[str]:
    rows = [
        ("error", f"{detail.error_type}: {detail.error_message}"),
        ("failed at", _time(detail.failed_at)),
        ("attempts", f"{detail.attempts}, replayed {detail.replays} times"),
        ("group", detail.group),
        ("record", f"{detail.topic}:{detail.partition}:{detail.offset} of {_time(detail.timestamp)}"),
        ("session", detail.session),
        ("name", detail.name),
        ("id", detail.id),
        ("dealt with", "yes" if detail.dealt_with else "no"),
        *[(f"header {name}", "null" if value is None else value) for name, value in detail.headers],
        *([("not decoded", detail.decode_error)] if detail.decode_error is not None else []),
    ]
    return [*table(("letter", detail.letter), rows), json_text(detail.value)]


def _time(milliseconds: int) -> str:
    return str(Moment(milliseconds)) if milliseconds >= 0 else "an unknown time"
