"""`processor produce [FILE]`: the tasks of a file of JSON Lines, sent."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, BinaryIO

import typer

from processor.boot.tokens import with_tokens
from processor.cli.output import NotesConsole, SendProgress, note, silence
from processor.cli.produce.tally import SESSIONS_COUNTED, Tally
from processor.cli.produce.task_lines import TOO_DEEP, BadLine, TaskLine, TaskLines, step_of
from processor.errors import EncodeError, SettingsError
from processor.kafka.admin import Target, await_topic
from processor.kafka.config import admin_config
from processor.kafka.delivery_future import DeliveryFuture
from processor.kafka.dispatcher import Dispatcher
from processor.kafka.task_producer import LOGGER, log_event
from processor.observe.wording import many
from processor.options.connection import ConnectionOptions
from processor.options.names import topic_fault
from processor.options.option import Argument, Option, Panel
from processor.options.values import WritingOptions

BAD_LINES_TOLD = 20

MOST_PENDING = 20_000
"""The most unacknowledged tasks: enough to keep the brokers busy. More would cost memory and garbage collections."""

CLIENTS_BATCH_BYTES = 1_000_000
"""The client's default for `batch.size`."""

BATCH_OVERHEAD_BYTES = 512
"""More bytes than the frame of a batch, which the client does not count in full."""

SLICE_SECONDS = 0.2
"""Seconds of one wait inside the Kafka client, which a signal cannot interrupt."""

LOOK_EVERY = 256
"""Number of lines between two checks of the clock for the progress."""


def produce(
    connection: ConnectionOptions,
    values: WritingOptions,
    topic: Annotated[str, Option("Topic to send to.", Panel.KAFKA, short="-t", rule=topic_fault)],
    file: Annotated[str, Argument("JSON Lines, one task a line; - is standard input.", metavar="FILE")] = "-",
) -> int:
    """Send the tasks in FILE, those of each session to one partition and in the order of the lines.

    A line is {"session_id": "s1", "name": "charge", "payload": {…}}. Optional members are "id", "headers",
    "priority" (0 to 9), "not_before" or "delay", and "expires" or "expires_in": times are epoch
    milliseconds or ISO 8601, "delay" and "expires_in" are seconds from now. "then" is a task that is sent
    once this one has succeeded; it may have its own "then". "group" takes the place of a task: a list of tasks
    that run concurrently; "then" is sent once all of them have succeeded.
    A bad line is reported with its number and not sent; the exit code is then 1.
    """
    with _opened(file) as stream, Signals() as signals:
        try:
            return _send(connection, values, topic, stream, signals)
        except KeyboardInterrupt:
            return signals.exit_code


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """Raises:
    SettingsError: the file cannot be opened.
    """
    if file == "-":
        yield _standard_input()
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 — closed below; errors inside are not errors of opening
    except OSError as caught:
        raise SettingsError(f"FILE {file!r} cannot be read: {caught.strerror}") from None
    with stream:
        yield stream


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise SettingsError("standard input is closed; give a FILE")
    if sys.stdin.isatty():
        note("reading tasks from this terminal: one JSON object a line; Ctrl-D ends it")
    return sys.stdin.buffer


class Signals:
    """SIGINT and SIGTERM: the first ends the reading, the second ends everything.

    While a line is read, the first one interrupts the read, since standard input may never end. While a task is
    submitted, it is only recorded.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.are_several = False
        self.reading = True
        self._before: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, by the convention of shells."""
        return 128 + (self.caught or signal.SIGINT)

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            # SIGINT is ignored in a background job of a script, and must stay ignored.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.are_several, self.caught = self.caught is not None, number
        if self.are_several or self.reading:
            raise KeyboardInterrupt


def _send(connection: ConnectionOptions, values: WritingOptions, topic: str, stream: BinaryIO, signals: Signals) -> int:
    client = ClientLog.attached()
    connection = with_tokens(connection, log_event)
    target = await_topic(admin_config(connection.bootstrap_servers, connection.kafka_config), topic)
    dispatcher = _dispatcher(connection, values, topic, target)
    try:
        sending = Sending(TaskLines(stream, values.value_format), dispatcher, signals)
        with SendProgress(NotesConsole(), _size(stream)) as progress:
            client.say = progress.say
            sending.run(progress)
        sending.report(topic, target.partitions)
        return sending.exit_code
    finally:
        dispatcher.close(0)  # it is flushed, or the user has interrupted the wait


class ClientLog(logging.Handler):
    """Shows the Kafka client's log lines once sending has begun. Before that, the command's own error is clearer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.say: Callable[[str], None] | None = None

    @classmethod
    def attached(cls) -> ClientLog:
        """Return the instance that receives the log lines of every dispatcher of this process."""
        handler, logger = cls(), logging.getLogger(LOGGER)
        logger.handlers[:] = [handler]
        logger.propagate = False
        return handler

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        if self.say is not None:
            self.say(f"kafka: {record.getMessage()}")


def _dispatcher(connection: ConnectionOptions, values: WritingOptions, topic: str, target: Target) -> Dispatcher:
    """Return a dispatcher with batches no larger than the topic accepts: a broker rejects all tasks of a larger one."""
    config = dict(connection.kafka_config)
    limit = target.max_message_bytes
    if limit is not None and limit < CLIENTS_BATCH_BYTES:
        config.setdefault("batch.size", str(max(limit - BATCH_OVERHEAD_BYTES, 1)))
    return Dispatcher(
        connection.bootstrap_servers,
        topic,
        value_format=values.value_format,
        schemas=values.schemas,
        schema_registry=values.registry,
        kafka_config=config,
        max_pending=MOST_PENDING,
    )


def _size(stream: BinaryIO) -> int | None:
    """Return the bytes of a file; None for a pipe or a terminal, whose end is not known."""
    with contextlib.suppress(OSError):
        return os.fstat(stream.fileno()).st_size or None
    return None


class Sending:
    """One run over the lines: submits tasks, reports bad lines, and knows the outcome of all tasks at the end."""

    def __init__(self, lines: TaskLines, dispatcher: Dispatcher, signals: Signals) -> None:
        self._lines = lines
        self._dispatcher = dispatcher
        self._signals = signals
        self._tally = Tally()
        self._bad_lines = 0
        self._unread: str | None = None
        self._seconds = 0.0
        self._say: Callable[[str], None] = note

    def run(self, progress: SendProgress) -> None:
        """Sends all tasks, or those until a signal arrives or the broker is gone."""
        self._say = progress.say
        started = time.monotonic()
        try:
            self._hand_over(progress)
        finally:
            self._flush(progress)
            self._seconds = time.monotonic() - started

    def _hand_over(self, progress: SendProgress) -> None:
        for item in self._items():
            if isinstance(item, BadLine):
                self._tell(item.reason)
            else:
                self._submit(item)
            if self._lines.number % LOOK_EVERY == 0:
                progress.show(self._lines.bytes_read, self._tally.delivered)
            if self._signals.caught is not None or self._tally.shut_out:
                return

    def _items(self) -> Iterator[TaskLine | BadLine]:
        """Yield the lines. A signal may interrupt only the reading."""
        lines = iter(self._lines)
        while True:
            try:
                self._signals.reading = True
                item = next(lines, None)
            except KeyboardInterrupt:
                return
            except OSError as caught:
                self._unread = f"line {self._lines.number + 1:,} cannot be read: {caught.strerror}"
                return
            finally:
                self._signals.reading = False
            if item is None:
                return
            yield item

    def _submit(self, task: TaskLine) -> None:
        try:
            sent = self._hand_over_task(task)
        except (EncodeError, ValueError) as caught:
            self._tell(str(caught))
        except RecursionError:  # groups in groups, which take more of the stack here than while they are read
            self._tell(TOO_DEEP)
        else:
            self._tally.sent(task.session_id if task.group is None else None, sent)

    def _hand_over_task(self, task: TaskLine) -> DeliveryFuture:
        if task.then is not None or task.group is not None:
            return self._dispatcher.submit(step_of(task))
        return self._dispatcher.submit(
            task.session_id,
            task.payload,
            task.name,
            id=task.id,
            headers=task.headers or None,
            priority=task.priority,
            not_before=task.not_before,
            delay=task.delay,
            expires=task.expires,
            expires_in=task.expires_in,
        )

    def _tell(self, reason: str) -> None:
        self._bad_lines += 1
        if self._bad_lines <= BAD_LINES_TOLD:
            self._say(f"line {self._lines.number}: {reason}")

    def _flush(self, progress: SendProgress) -> None:
        """Wait in slices, so that a second signal is noticed; it ends the wait."""
        while not self._signals.are_several and self._dispatcher.flush(SLICE_SECONDS):
            self._tally.settle()
            progress.show(self._lines.bytes_read, self._tally.delivered)
        self._tally.settle()

    @property
    def exit_code(self) -> int:
        """0 when every line was sent and acknowledged."""
        tally = self._tally
        if self._signals.caught is not None:
            return self._signals.exit_code
        if tally.shut_out and not tally.delivered:
            return 4
        return 1 if self._bad_lines or self._unread or tally.undelivered or tally.disorder else 0

    def report(self, topic: str, partitions: int) -> None:
        """Print the tasks that were not sent on stderr, and the summary on stdout."""
        if self._bad_lines > BAD_LINES_TOLD:
            self._say(f"and {many(self._bad_lines - BAD_LINES_TOLD, 'more bad line')}")
        if self._unread:
            self._say(self._unread)
        if self._tally.undelivered:
            self._say(f"not delivered: {_tasks(self._tally.undelivered)}; the first: {self._tally.first_failure}")
        if self._tally.shut_out:
            self._say(f"stopped after line {self._lines.number:,}")
        with _reader_may_be_gone():
            typer.echo("\n".join(self._summary(topic, partitions)))
            sys.stdout.flush()

    def _summary(self, topic: str, partitions: int) -> Iterator[str]:
        tally = self._tally
        more = "more than " if tally.more_sessions else ""
        rate = tally.delivered / self._seconds if self._seconds else 0.0
        yield f"sent        {_tasks(tally.delivered)} to {topic}"
        if self._bad_lines:
            yield f"bad lines   {self._bad_lines:,}, not sent"
        yield f"sessions    {more}{min(tally.sessions, SESSIONS_COUNTED):,}"
        yield f"partitions  {tally.partitions} of {partitions}"
        yield f"seconds     {self._seconds:.2f}"
        yield f"tasks/s     {rate:,.0f}"
        yield f"order       each session's order as sent: {'NOT kept: ' + tally.disorder if tally.disorder else 'kept'}"


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"


@contextlib.contextmanager
def _reader_may_be_gone() -> Iterator[None]:
    """Ignore that stdout cannot be written: its reader may have left, as `head` does, or its disk may be full."""
    try:
        yield
    except OSError:
        silence(sys.stdout)
