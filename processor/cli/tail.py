"""`processor tail`: the newest tasks of a topic, decoded, a line each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from processor.boot.tokens import with_tokens
from processor.cli.output import check_reader, note
from processor.cli.stop import Stop
from processor.cli.tables import Output, json_text
from processor.cli.value_codec import open_codec
from processor.codec.task_line import TaskLine, task_line
from processor.engine.record import Record
from processor.kafka.admin import TopicAdmin, check_topics
from processor.kafka.config import admin_config
from processor.kafka.scan import Scan
from processor.observe.wording import plain
from processor.operate.moments import Moment, moment_fault, moment_of
from processor.operate.newest import Newest
from processor.options.connection import ConnectionOptions
from processor.options.names import topic_fault
from processor.options.option import Option, Panel
from processor.options.option_set import OptionSet
from processor.options.values import ReadingOptions
from processor.runtime.ports import Codec, Partition

LINES: Final = 10
LINES_SINCE: Final = 1000
"""The most tasks that are shown by default, without and with --since."""

LONGEST_PAYLOAD: Final = 2000
"""The most characters of a payload in a line for people."""


@dataclass(frozen=True, kw_only=True)
class TailOptions(OptionSet):
    """Which tasks are shown."""

    lines: Annotated[
        int | None,
        Option("Newest tasks to show.", short="-n", at_least=0, at_most=100_000, default_shown="10; 1000 with --since"),
    ] = None
    follow: Annotated[bool, Option("Follow: show new tasks until Ctrl-C.", short="-f")] = False
    session: Annotated[str | None, Option("Only tasks of this session.", metavar="ID")] = None
    name: Annotated[str | None, Option("Only tasks with this name.")] = None
    since: Annotated[
        str | None,
        Option(
            "Only tasks from this time on: ISO 8601 (UTC without a zone), milliseconds since the epoch, or an age such "
            "as 15m.",
            metavar="TIME",
            rule=moment_fault,
        ),
    ] = None

    def has(self, task: TaskLine) -> bool:
        """Return whether the task is to be shown."""
        return self.session in (None, task.session) and self.name in (None, task.name)


def tail(
    connection: ConnectionOptions,
    values: ReadingOptions,
    topic: Annotated[str, Option("Topic to read.", Panel.KAFKA, short="-t", rule=topic_fault)],
    options: TailOptions,
    output: Output = "table",
) -> int:
    """Show the newest tasks of a topic, decoded as `run` decodes them, one in each line.

    A line has the time, the partition and offset, the session, the name, the ID and
    the payload. The newest tasks of all partitions are shown, the latest last. A value
    that cannot be decoded is shown with the reason. With -o json, each line is one
    JSON document.
    """
    connection = with_tokens(connection, lambda _: None)
    config = admin_config(connection.bootstrap_servers, connection.kafka_config)
    count = check_topics(TopicAdmin(config), [topic])[topic]
    with Stop() as stop, open_codec(values) as codec, Scan(connection, f"topic {topic}") as scan:
        tailing = Tail(scan, codec, options, _printer(output))
        tailing.show_newest(topic, count, stop)
        if options.follow and not stop.is_asked():
            tailing.follow(stop)
    return 0


class Tail:
    """One topic, read backwards first, and then onwards."""

    def __init__(self, scan: Scan, codec: Codec, options: TailOptions, show: Callable[[TaskLine], None]) -> None:
        self._scan = scan
        self._codec = codec
        self._options = options
        self._show = show
        self._after: dict[Partition, int] = {}
        """The offset at which to follow each partition: the one after the last record that was read."""

    def show_newest(self, topic: str, partitions: int, stop: Stop) -> None:
        """Show the newest tasks that the topic has now."""
        options = self._options
        bounds = self._scan.bounds(topic, partitions)
        self._after = {place: high for place, (_, high) in bounds.items()}
        since = moment_of(options.since, time.time()).milliseconds if options.since is not None else -1
        wanted = options.lines if options.lines is not None else LINES if options.since is None else LINES_SINCE
        if not wanted:
            return
        newest = Newest(wanted, bounds, since)
        self._read_back(newest, stop)
        for record in newest.records():
            self._show(task_line(record, self._codec))
        if newest.left_out and options.since is not None:
            note(f"processor: these are the newest {wanted:,}; older ones are left out, see -n")

    def _read_back(self, newest: Newest, stop: Stop) -> None:
        is_first = True
        while (ranges := newest.step()) and not stop.is_asked():
            if is_first:  # the records of an open transaction are shown when it ends
                self._after |= {place: low for place, (low, _) in ranges.items()}
            for record in self._scan.records(ranges):
                if stop.is_asked():
                    return
                if record is not None:
                    newest.note(record, matches=self._options.has(task_line(record, self._codec)))
                    if is_first:
                        self._after[Partition(record.topic(), record.partition())] = record.offset() + 1
            is_first = False

    def follow(self, stop: Stop) -> None:
        """Show new tasks as they arrive, until a signal arrives or standard output has no reader any more."""
        for record in self._scan.follow(self._after):
            if stop.is_asked():
                return
            if record is not None:
                self._show_if_wanted(record)
            else:
                check_reader()

    def _show_if_wanted(self, record: Record) -> None:
        task = task_line(record, self._codec)
        if self._options.has(task):
            self._show(task)


def _printer(output: str) -> Callable[[TaskLine], None]:
    def show(task: TaskLine) -> None:
        typer.echo(json_text(task, one_line=True) if output == "json" else _text(task))

    return show


def _text(task: TaskLine) -> str:
    when = str(Moment(task.timestamp)) if task.timestamp >= 0 else "–"
    what = task.payload_text if task.error is None else f"cannot be decoded ({task.size} bytes): {task.error}"
    fields = (when, f"{task.topic}[{task.partition}]@{task.offset}", task.session or "–", task.name or "–", task.id)
    return f"{' '.join(map(plain, fields))} {plain(what, LONGEST_PAYLOAD)}"
