"""Lines that an application logs, through structlog or `logging`: they become `handler.log` events of its consumer.

The application's own logging setup is never replaced. A handler is added to the root logger if it has none, and
structlog's processors are replaced while they are the defaults. A later setup of the application takes precedence.

No lock is held while a line is written: a handler may be interrupted there, and a reader of stderr may be blocked.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

import structlog

from processor.telemetry.error_text import frames_of, message_of, text_of, type_name
from processor.telemetry.events import Emit, HandlerLog, Level
from processor.telemetry.logs import LEVELS
from processor.telemetry.redaction import LogLevel
from processor.telemetry.spans import current_trace


class Origin(Protocol):
    """The part of what runs a handler that its log lines need."""

    @property
    def emit(self) -> Emit:
        """The function that emits the events of its consumer."""

    def task_fields(self) -> Mapping[str, Any] | None:
        """Return the fields of the task whose handler logs a line now; None if there is no such task."""


origin: ContextVar[Origin | None] = ContextVar("processor.origin", default=None)
"""Set once for each worker thread and for each coroutine, and not for each task."""

NO_TASK: Final = dict.fromkeys(
    ("task_id", "session_id", "task_name", "topic", "partition", "offset", "attempt", "trace_id", "span_id")
)

_STANDARD: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
"""Attributes that every `LogRecord` has; all others are the application's."""

_DEPTH: Final = 5
"""The most levels of a nested value that are logged as structure. Deeper values are logged as text."""

_render_stack = structlog.processors.StackInfoRenderer()

_guard = threading.Lock()
_emits: list[Emit] = []
"""The emitters of this process's consumers; the last one logs the lines that come from no handler. Under `_guard`."""
_replaced = ExitStack()
"""Restores the logging setup that the first consumer replaced. Under `_guard`."""

_is_forked = False
"""Whether this process was forked from one with consumers. For example, a worker of a process pool has a copy of the
context of the handler whose call started it, but then works for many tasks."""


def _note_fork() -> None:
    global _is_forked  # noqa: PLW0603 — it is about the process
    _is_forked = bool(_emits)


os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def captured(emit: Emit, log_level: LogLevel, *, wanted: bool) -> Iterator[None]:
    """Turn the application's log lines into events while the context is entered.

    Enter it after the application's modules were imported: logging that they have set up is left unchanged.

    Args:
        emit: logs lines that come from no handler.
        log_level: the minimum level.
        wanted: False does nothing.
    """
    if not wanted:
        yield
        return
    with _guard:
        if not _emits:
            _replaced.enter_context(_root_handler(LEVELS[log_level]))
            _replaced.enter_context(_structlog_defaults(LEVELS[log_level]))
        _emits.append(emit)
    try:
        yield
    finally:
        with _guard:
            _emits.remove(emit)
            if not _emits:
                _replaced.close()


@contextmanager
def _root_handler(level: int) -> Iterator[None]:
    """Adds a handler to the root logger, and sets that logger's level; does nothing if it has handlers already.

    `logging.lastResort` would not do: with it, `logging.info` and the like add a handler to the root logger.
    """
    root, ours = logging.root, _RootHandler(level)
    if root.handlers:
        yield
        return
    before = root.level
    root.addHandler(ours)
    root.setLevel(level if before == logging.WARNING else before)
    try:
        yield
    finally:
        root.removeHandler(ours)
        if root.level == level:
            root.setLevel(before)


class _RootHandler(logging.Handler):
    """Emits events, unless the application has a handler for the line. It takes no lock, unlike other handlers."""

    def handle(self, record: logging.LogRecord) -> bool:
        if self._is_handled(logging.getLogger(record.name)):
            return False
        self.emit(record)
        return True

    def _is_handled(self, logger: logging.Logger | None) -> bool:
        while logger is not None:
            if any(each is not self and not isinstance(each, logging.NullHandler) for each in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        _emit(_level(record.levelno), record.name, _message(record), extra, error, record.stack_info)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  a wrong argument must not fail the task
        return f"{text_of(record.msg)} (its arguments do not fit: {message_of(error)})"


def _level(number: int) -> Level:
    return next((name for name in ("error", "warning", "info") if number >= LEVELS[name]), "debug")


class _Logger(structlog.PrintLogger):
    """structlog's default logger, with the name that was passed to `get_logger`."""

    name: str | None = None


class _LoggerFactory(structlog.PrintLoggerFactory):
    def __call__(self, *names: Any) -> _Logger:
        logger = _Logger()
        logger.name = text_of(names[0]) if names else None
        return logger


@contextmanager
def _structlog_defaults(level: int) -> Iterator[None]:
    """Replaces structlog's default processors, also those of loggers that were bound when a module was imported.

    The wrapper class remains the default, so that an application that configures processors later gets what it expects.
    """
    if structlog.is_configured():
        yield
        return

    def emit(logger: Any, method: str, fields: MutableMapping[str, Any]) -> Any:
        _emit_structlog(logger, method, fields, level)
        raise structlog.DropEvent

    processors: list[Any] = structlog.get_config()["processors"]  # the list of those loggers, not a copy
    before, ours = processors[:], [structlog.contextvars.merge_contextvars, emit]
    factory = _LoggerFactory()
    processors[:] = ours
    structlog.configure(logger_factory=factory)
    try:
        yield
    finally:
        processors[:] = before
        if structlog.get_config()["logger_factory"] is factory:
            structlog.reset_defaults()


def _emit_structlog(logger: Any, method: str, fields: MutableMapping[str, Any], threshold: int) -> None:
    level = _level(getattr(logging, method.upper(), logging.INFO))
    if LEVELS[level] < threshold:
        return
    message, error = text_of(fields.pop("event", "")), _raised(fields.pop("exc_info", None))
    stack = _render_stack(logger, method, fields).pop("stack") if fields.get("stack_info") else None
    _emit(level, getattr(logger, "name", None), message, fields, error, stack)


def _raised(exc_info: Any) -> BaseException | None:
    """Return the exception of `exc_info`; True stands for the one that is being handled."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) > 1 else None
    return sys.exc_info()[1] if exc_info else None


def _emit(
    level: Level,
    logger: str | None,
    message: str,
    fields: Mapping[str, Any],
    error: BaseException | None,
    stack: str | None,
) -> None:
    found = origin.get() if not _is_forked else None
    emit = found.emit if found is not None else next(reversed(_emits), None)
    if emit is None:
        return
    task, trace = found.task_fields() if found is not None else None, current_trace() if not _is_forked else None
    fields_of_span = {"trace_id": trace.trace_id, "span_id": trace.span_id} if trace is not None else {}
    emit(
        HandlerLog(
            **{**(task or NO_TASK), **fields_of_span},
            level=level,
            logger=logger,
            message=message,
            fields={text_of(name): _plain(value, _DEPTH) for name, value in fields.items()},
            error_type=type_name(error) if error is not None else None,
            error=message_of(error) if error is not None else None,
            traceback=frames_of(error) if error is not None else None,
            stack=stack,
        )
    )


def _plain(value: Any, depth: int) -> Any:
    """Return the value in JSON's types. Other types become text, so that a logged `Task` shows no payload."""
    if value is None or isinstance(value, str | int | float):
        return value
    # Copies, each made in one step: another thread may add an entry to what several handlers share.
    if isinstance(value, dict) and depth:
        return {text_of(name): _plain(part, depth - 1) for name, part in list(value.items())}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_plain(part, depth - 1) for part in list(value)]
    return text_of(value)
