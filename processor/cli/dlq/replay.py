"""`processor dlq replay` and `processor dlq discard`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Final

from processor.boot.tokens import with_tokens
from processor.cli.dlq.selection import SelectionOptions, identify_with
from processor.cli.output import note
from processor.cli.stop import Stop
from processor.cli.tables import Output, print_json, print_lines, table
from processor.cli.value_codec import open_codec
from processor.kafka.dead_letters import DeadLetters
from processor.kafka.replay import Replay
from processor.observe.wording import many
from processor.operate.letter_filter import Identify, LetterFilter
from processor.operate.letter_reports import ReplayReport
from processor.operate.letters import Letter
from processor.options.connection import ConnectionOptions
from processor.options.option import Option
from processor.options.option_set import OptionSet
from processor.options.values import ReadingOptions

INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as in a shell."""

Execute = Annotated[bool, Option("Make the change; without it, the command only counts the letters.")]
Limit = Annotated[int | None, Option("Maximum number of letters.", at_least=1)]


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(OptionSet):
    """How letters are replayed."""

    limit: Limit = None
    rate: Annotated[float | None, Option("Maximum number of letters per second.", metavar="PER_SECOND", above=0)] = None
    max_replays: Annotated[
        int, Option("Skip letters that were replayed this often already and failed again.", at_least=1)
    ] = 3
    execute: Execute = False


@dataclass(frozen=True, kw_only=True)
class DiscardOptions(OptionSet):
    """How letters are discarded."""

    limit: Limit = None
    execute: Execute = False


def replay(
    connection: ConnectionOptions,
    values: ReadingOptions,
    selection: SelectionOptions,
    options: ReplayOptions,
    output: Output = "table",
) -> int:
    """Send dead letters to their original topics again, and mark them as dealt with.

    Key, value and headers are the same, without the headers that dead-lettering
    has added, and with dlq-replays, which counts replays. The letters of a session
    keep their order. A letter is marked once the broker has acknowledged it. After
    a stop of any kind, the same command continues with the letters that are not marked.

    Only letters that are in the topic at the start are replayed.
    """
    connection = with_tokens(connection, lambda _: None)
    with Stop() as stop, _opened(connection, values, selection) as (letters, identify):
        chosen = Selection(letters, selection.letter_filter(), identify, options.limit, options.max_replays, stop)
        if options.execute:
            letters.note(every=True)  # a missing permission is reported before any letter is sent
            with closing(Replay(connection, letters, options.rate)) as sending:
                _send(chosen, letters, sending, stop)
        else:
            chosen.count()
    return _conclude(chosen.report(selection.topic, executed=options.execute), "replay", output, stop)


def _send(chosen: Selection, letters: DeadLetters, sending: Replay, stop: Stop) -> None:
    for letter in chosen:
        if letter is None:
            sending.collect()
        elif letter.comes_with_another:
            letters.deal(letter)
        elif sending.send(letter, stop.is_asked):
            chosen.targets[letter.topic()] += 1


def discard(
    connection: ConnectionOptions,
    values: ReadingOptions,
    selection: SelectionOptions,
    options: DiscardOptions,
    output: Output = "table",
) -> int:
    """Mark dead letters as dealt with, without sending them anywhere.

    They stay in the topic until its retention deletes them; `dlq list --all` shows them.
    """
    connection = with_tokens(connection, lambda _: None)
    with Stop() as stop, _opened(connection, values, selection) as (letters, identify):
        chosen = Selection(letters, selection.letter_filter(), identify, options.limit, None, stop)
        for letter in chosen:
            if letter is not None:
                chosen.targets[letter.topic()] += 1
                if options.execute:
                    letters.deal(letter)
                    letters.note_when_due()
        if options.execute:
            letters.note(every=True)
    return _conclude(chosen.report(selection.topic, executed=options.execute), "discard", output, stop)


@contextmanager
def _opened(
    connection: ConnectionOptions, values: ReadingOptions, selection: SelectionOptions
) -> Iterator[tuple[DeadLetters, Identify]]:
    with (
        open_codec(values) as codec,
        DeadLetters(connection, selection.topic, selection.progress_group) as letters,
    ):
        yield letters, identify_with(codec)


class Selection:
    """The letters that a command selects, and counts of the others."""

    def __init__(
        self,
        letters: DeadLetters,
        wanted: LetterFilter,
        identify: Identify,
        limit: int | None,
        max_replays: int | None,
        stop: Stop,
    ) -> None:
        self.targets: Counter[str] = Counter()
        """Numbers of selected letters by original topic. The code that iterates counts them."""
        self._letters = letters
        self._wanted = wanted
        self._identify = identify
        self._limit = limit
        self._max_replays = max_replays
        self._stop = stop
        self._guarded = self._other = self._unmet = 0

    def __iter__(self) -> Iterator[Letter | None]:
        """Yield the letters, and None while there are none at the moment."""
        chosen = 0
        for letter in self._letters.letters():
            if self._stop.is_asked() or (self._limit is not None and chosen >= self._limit):
                return
            if letter is None:
                yield None
            elif not self._wanted.matches(letter, self._identify):
                self._other += 1
            elif self._max_replays is not None and letter.replays >= self._max_replays:
                self._guarded += 1
            elif self._max_replays is not None and letter.comes_with_another:
                self._unmet += 1
                yield letter
            else:
                chosen += 1
                yield letter

    def count(self) -> None:
        """Count the letters by their original topics."""
        self.targets.update(letter.topic() for letter in self if letter is not None and not letter.comes_with_another)

    def report(self, topic: str, *, executed: bool) -> ReplayReport:
        """Return the counts."""
        return ReplayReport(
            topic=topic,
            executed=executed,
            letters=self.targets.total(),
            targets=dict(self.targets),
            guarded=self._guarded,
            unmet=self._unmet,
            other=self._other,
            dealt_with=self._letters.dealt_with,
            foreign=self._letters.foreign,
        )


def _conclude(report: ReplayReport, verb: str, output: str, stop: Stop) -> int:
    if output == "json":
        print_json(report)
    elif report.targets:
        rows = [[f"{count:,}", topic] for topic, count in sorted(report.targets.items())]
        print_lines(table((">letters", "original topic"), rows))
    note(f"processor: {_summary(report, verb)}")
    if stop.is_asked():
        note("processor: interrupted; the same command continues with the rest")
        return INTERRUPTED
    return 0


def _summary(report: ReplayReport, verb: str) -> str:
    if report.executed:
        done = f"{verb}ed {many(report.letters, 'letter')} of {report.topic}"
    else:
        done = f"nothing was done; with --execute, this will {verb} {many(report.letters, 'letter')} of {report.topic}"
    rest = [
        (report.guarded, "already replayed --max-replays times"),
        (report.unmet, "follow from other letters, and come with them"),
        (report.other, "not matched"),
        (report.dealt_with, "dealt with before"),
        (report.foreign, "not dead letters"),
    ]
    return "; ".join([done, *[f"{count:,} {what}" for count, what in rest if count]])
