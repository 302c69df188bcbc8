"""Log lines: each event becomes one line on stderr, in JSON for programs or as coloured text for people.

Structlog's global configuration is not used, so that handlers may use structlog freely. `handler_logs` turns the lines
that they log with it into events.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat
import struct
import sys
import termios
import threading
import weakref
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from processor.telemetry.events import LOG_VERSION, Emit, Event, Level, LogLinesLost
from processor.telemetry.redaction import LogFormat, LogLevel, Redaction

LEVELS: Final[dict[Level, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_BIDI: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Unicode's `Bidi_Control` characters."""

_UNPRINTABLE: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *_BIDI)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
"""Characters that end a line, control a terminal, or change the direction of text."""

_ALWAYS: Final = ("pid", "consumer", "topic", "partition")
"""Fields that the console shows even if they are 0."""

_LONG: Final = ("handler_seconds_buckets",)

MOST_SHOWN: Final = 20
"""The most entries of a mapping that the console shows; else it shows the count. The head of a partition has 11."""

_BLOCKS: Final = ("traceback", "stack")
"""Fields of several lines, which the console prints below the line of their event, indented."""

EventDict = MutableMapping[str, Any]

STALLED_SECONDS = 1.0
"""How long a line waits for a blocked reader. After it, lines are lost at once until the reader continues."""


class _Lines:
    """The stream of log lines. A line is one system call, so that processes that share a pipe do not mix their lines.

    If the reader blocks, a write would wait without limit, and with it the thread that polls the group. Such a line is
    lost instead, as on a full disk. For this, a pipe is opened a second time in non-blocking mode. To check for room is
    not enough: two processes may both find room for one line, and the slower one's write would block.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.lost = 0
        self.unreported = 0
        """Lost lines that no `log.lines_lost` has reported yet."""
        self._is_stalled = False
        self._is_torn = False
        """Whether the last line was cut off."""
        self._stream = stream
        self._lock = threading.RLock()
        """Keeps the parts of a long line together. A signal handler may log while its thread is writing."""
        self._descriptor, self._kind = None, 0
        with contextlib.suppress(OSError, ValueError):  # a StringIO in a test, or a closed stream
            if stream is not None:
                self._kind = stat.S_IFMT(os.fstat(stream.fileno()).st_mode)
                self._descriptor = stream.fileno()
        if self._kind == stat.S_IFIFO:
            self._open_without_blocking(self._descriptor)

    def _open_without_blocking(self, descriptor: int | None) -> None:
        """Opens the pipe again. All processes that inherit the descriptor share its flags, so these must not change."""
        with contextlib.suppress(OSError):  # no /proc, or the pipe is another user's
            self._descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
            weakref.finalize(self, os.close, self._descriptor)

    @property
    def is_terminal(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def write(self, line: str) -> None:
        if self._descriptor is None:
            self._write_text(line)
            return
        start = "\n" if self._is_torn else ""
        whole = memoryview(f"{start}{line}\n".encode("utf-8", "backslashreplace"))
        rest = whole
        with self._lock:
            try:
                while rest:
                    self._await_reader(self._descriptor)
                    part = rest if self._takes(self._descriptor, len(rest)) else rest[: select.PIPE_BUF]
                    with contextlib.suppress(BlockingIOError):  # another process was quicker
                        rest = rest[os.write(self._descriptor, part) :]
            finally:
                if len(rest) < len(whole):
                    self._is_torn = bool(rest)

    def lose(self) -> None:
        """Count a line that could not be written."""
        self.lost += 1
        self.unreported += 1

    def _await_reader(self, descriptor: int) -> None:
        seconds = 0.0 if self._is_stalled else STALLED_SECONDS
        self._is_stalled = not select.select([], [descriptor], [], seconds)[1]
        if self._is_stalled:
            raise BlockingIOError("the reader of the log is blocked")

    def _takes(self, descriptor: int, size: int) -> bool:
        """Return whether `size` bytes can be written without waiting. A ready pipe or socket takes `PIPE_BUF` bytes."""
        if size <= select.PIPE_BUF or self._kind not in (stat.S_IFIFO, stat.S_IFSOCK):
            return True
        if self._kind != stat.S_IFIFO or not hasattr(fcntl, "F_GETPIPE_SZ"):
            return False
        unread: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
        # the unread bytes may use only half of each page of the pipe
        return 2 * (unread + size) <= fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)

    def _write_text(self, line: str) -> None:
        if self._stream is None:
            raise OSError("stderr is closed")
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = write


class _Configured(msgspec.Struct, frozen=True):
    lines: Any
    log: Any
    threshold: int
    is_console: bool
    redaction: Redaction


_configured: _Configured | None = None


def configure(
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
    stream: TextIO | None = None,
    redaction: Redaction = Redaction(),  # noqa: B008 — immutable
) -> None:
    """Configure the emitters that are created from now on.

    Args:
        log_format: `auto` is `console` on a terminal and `json` off one.
        log_level: the minimum level.
        stream: where lines are written; None is stderr.
        redaction: what is logged of a task.
    """
    global _configured  # noqa: PLW0603 — a process has one stderr
    lines = _Lines(stream if stream is not None else sys.stderr)
    is_console = log_format == "console" or (log_format == "auto" and lines.is_terminal)
    log = structlog.wrap_logger(
        lines,
        processors=[_stamp, _console_fields, _console(lines)] if is_console else [_stamp, _json],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[log_level]),
        cache_logger_on_first_use=True,
    )
    _configured = _Configured(lines, log, LEVELS[log_level], is_console, redaction)


def emitter(**bound: Any) -> Emit:
    """Return a function that logs events, each with the host, the process ID and the fields `bound`. It never raises.

    A line that cannot be written, because the disk is full, stderr is closed or its reader is blocked, is counted in
    `lost_lines()` and reported once lines can be written again: a task must not fail or wait because its log line does.
    """
    if _configured is None:
        configure()
    assert _configured is not None
    lines, threshold, is_console = _configured.lines, _configured.threshold, _configured.is_console
    fields_of = _configured.redaction.fields_of
    if is_console:
        bound = {"pid": os.getpid(), **{name: bound[name] for name in _ALWAYS if name in bound}}
    else:
        bound = {"log_version": LOG_VERSION, "host": socket.gethostname(), "pid": os.getpid(), **bound}
    log = _configured.log.bind(**bound)

    pid = os.getpid()

    def write(event: Event) -> None:
        nonlocal log, pid
        if pid != os.getpid():  # in a process that was forked after the emitter was made
            pid = os.getpid()
            log = log.bind(pid=pid)
        getattr(log, event.level)(event.event, **{**fields_of(event), "level": event.level})

    def emit(event: Event) -> None:
        level = (event.console_level if is_console else None) or event.level
        if LEVELS[level] < threshold:
            return
        try:
            write(event)
            if lines.unreported:
                lost, lines.unreported = LogLinesLost(lines=lines.unreported), 0
                write(lost)
        except Exception:  # noqa: BLE001 — whatever is wrong with a line must not stop its task
            lines.lose()

    return emit


def print_line(sentence: str) -> None:
    """Print one line to stderr, outside the log, as for a mistake of the user. It never raises."""
    line = " ".join(sentence.split()).translate(_UNPRINTABLE)
    with contextlib.suppress(OSError, ValueError):
        _Lines(sys.stderr).write(f"processor: {line}")


def lost_lines() -> int:
    """Return the number of lines that could not be written since `configure`."""
    return 0 if _configured is None else int(_configured.lines.lost)


def _stamp(_: Any, __: str, fields: EventDict) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"timestamp": now, "level": fields.pop("level"), "event": fields.pop("event"), **fields}


_INVISIBLE: Final = {code: f"\\u{code:04x}" for code in _UNPRINTABLE if code >= 0x7F}
"""Characters that JSON does not escape itself."""

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _json(_: Any, __: str, fields: EventDict) -> str:
    try:
        return _encode(fields).decode().translate(_INVISIBLE)
    except (ValueError, TypeError):  # a lone surrogate, which strict readers reject
        return _encode(_as_unicode(msgspec.to_builtins(fields, enc_hook=repr))).decode().translate(_INVISIBLE)


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_as_unicode(name): _as_unicode(part) for name, part in value.items()}
    return [_as_unicode(part) for part in value] if isinstance(value, list) else value


def _console_fields(_: Any, __: str, fields: EventDict) -> EventDict:
    """Return the fields as the console shows them: long values as their lengths, and without fields that are None."""
    if fields["event"].endswith(".stats"):  # of the thirty figures, show only those that are not 0
        fields = {key: value for key, value in fields.items() if (value and key not in _LONG) or key in _ALWAYS}
    fields = {**fields.pop("fields", {}), **fields}  # a handler's own fields join those of its line
    return {key: _text(value) if key not in _BLOCKS else value for key, value in fields.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return str(len(value))
    if isinstance(value, dict) and len(value) > MOST_SHOWN:
        return str(len(value))
    if isinstance(value, dict):
        value = " ".join(f"{name}={_text(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 else f"{value:.2g}"
    return str(value).translate(_UNPRINTABLE)


def _console(lines: _Lines) -> Any:
    colours = lines.is_terminal and not os.environ.get("NO_COLOR")
    render_line = structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False)

    def render(logger: Any, name: str, fields: EventDict) -> str:
        blocks = [fields.pop(key) for key in _BLOCKS if key in fields]
        line = render_line(logger, name, fields)
        return "\n".join([line, *(_indented(block) for block in blocks if block)])

    return render


def _indented(block: str) -> str:
    return "\n".join(f"    | {line.translate(_UNPRINTABLE)}" for line in str(block).splitlines())
