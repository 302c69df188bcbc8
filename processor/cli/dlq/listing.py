"""`processor dlq list`: dead letters in groups."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from processor.boot.tokens import with_tokens
from processor.cli.dlq.selection import SelectionOptions, identify_with
from processor.cli.output import note
from processor.cli.tables import Output, print_json, print_lines, table
from processor.cli.value_codec import open_codec
from processor.kafka.dead_letters import DeadLetters
from processor.observe.wording import duration, many
from processor.operate.letter_reports import By, Grouping, LetterGroup, LetterGroups
from processor.options.connection import ConnectionOptions
from processor.options.option import Option
from processor.options.option_set import OptionSet
from processor.options.values import ReadingOptions


@dataclass(frozen=True, kw_only=True)
class ListOptions(OptionSet):
    """How letters are listed."""

    by: Annotated[By, Option("Field by which the letters are grouped.")] = "error-type"
    every: Annotated[bool, Option("Include letters that were replayed or discarded.", name="all")] = False


def list_(
    connection: ConnectionOptions,
    values: ReadingOptions,
    selection: SelectionOptions,
    options: ListOptions,
    output: Output = "table",
) -> int:
    """Count dead letters by error type, task name, session, ID, group, original topic or age.

    Each group shows its latest error, and the place of that letter for `dlq show`.
    Letters that were replayed or discarded are left out. Give the --value-format of
    `run`, since a task's name may be in its value.
    """
    wanted, grouping = selection.letter_filter(), Grouping(options.by, time.time())
    connection = with_tokens(connection, lambda _: None)
    with (
        open_codec(values) as codec,
        DeadLetters(connection, selection.topic, selection.progress_group) as letters,
    ):
        identify = identify_with(codec)
        for letter in letters.letters(every=options.every):
            if letter is not None and wanted.matches(letter, identify):
                grouping.note(letter, identify)
    report = LetterGroups(
        topic=selection.topic,
        by=options.by,
        letters=grouping.letters,
        dealt_with=letters.dealt_with,
        foreign=letters.foreign,
        groups=grouping.groups(),
    )
    _print(report, output)
    return 0


def _print(report: LetterGroups, output: str) -> None:
    if output == "json":
        print_json(report)
        return
    now = time.time()
    headings = (">letters", report.by, ">first", ">last", "letter", "latest error")
    if report.groups:
        print_lines(table(headings, [_cells(group, now) for group in report.groups]))
    dealt = f", {report.dealt_with:,} dealt with" if report.dealt_with else ""
    foreign = f", {many(report.foreign, 'other record')}" if report.foreign else ""
    note(f"processor: {report.topic} has {many(report.letters, 'letter')}{dealt}{foreign}")


def _cells(group: LetterGroup, now: float) -> list[str]:
    ages = [_ago(at, now) for at in (group.first_failed_at, group.last_failed_at)]
    return [f"{group.letters:,}", group.value or "–", *ages, group.letter, group.error]


def _ago(milliseconds: int, now: float) -> str:
    return f"{duration(max(now - milliseconds / 1000, 0.0))} ago" if milliseconds >= 0 else "–"
