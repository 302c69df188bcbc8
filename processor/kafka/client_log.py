"""Converts a Kafka client's log lines and errors into events. By default, the client writes them to stderr."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from processor.telemetry.events import Emit, Event, KafkaClientError, KafkaClientLog


def client_hooks(emit: Emit) -> dict[str, Any]:
    """Settings with which a client reports its log lines and errors as events, and writes nothing to stderr.

    The client calls them inside `poll` and `consume`, in the thread that calls these.
    """
    handler = ClientLog(emit)
    logger = logging.Logger("kafka-client")  # noqa: LOG001  (one per client: a shared one would pass each line to all)
    logger.addHandler(handler)
    return {"logger": logger, "error_cb": handler.report}


def discard(_: Event) -> None:
    """Discards events: an `Emit` for clients whose callers learn all that they need from raised errors."""


class ClientLog(logging.Handler):
    """Emits a client's log lines and errors as events, repeated lines at most once in ten seconds.

    While a broker is down, a client logs that several times per second.
    """

    QUIET_SECONDS = 10.0
    MAX_LINES = 256

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit
        self._guard = threading.Lock()
        self._emitted: dict[str, tuple[float, int]] = {}
        """For each line, when it was last emitted, and how often it has been suppressed since."""

    def emit(self, record: logging.LogRecord) -> None:
        """Handles a log line. Lines that `report` also receives, or that are raised as errors, are dropped."""
        facility, text = _split(record.getMessage())
        if facility in ("FAIL", "ERROR", "FATAL"):
            return
        if record.levelno >= logging.WARNING and not text.endswith("retrying"):
            self._emit_limited(facility, text, lambda line: KafkaClientError(code=facility, message=line))
        else:
            severity = record.levelname.lower()
            self._emit_limited(
                facility, text, lambda line: KafkaClientLog(severity=severity, facility=facility, message=line)
            )

    def report(self, error: KafkaError) -> None:
        """Handles an error from which the client recovers by itself."""
        code = error.name()
        self._emit_limited(code, error.str(), lambda line: KafkaClientError(code=code, message=line))

    def _emit_limited(self, subject: str, text: str, event: Callable[[str], KafkaClientLog | KafkaClientError]) -> None:
        repeats = self._repeats(subject + re.sub(r"\d+m?s\b", "", text), time.monotonic())
        if repeats is not None:
            self._emit(event(f"{text} ({repeats} repeats suppressed)" if repeats else text))

    def _repeats(self, line: str, now: float) -> int | None:
        """How often the line was suppressed since it was last emitted; None if it must be suppressed again."""
        with self._guard:
            emitted_at, suppressed = self._emitted.get(line, (float("-inf"), 0))
            if now - emitted_at < self.QUIET_SECONDS:
                self._emitted[line] = (emitted_at, suppressed + 1)
                return None
            if len(self._emitted) >= self.MAX_LINES:
                self._emitted.clear()
            self._emitted[line] = (now, 0)
            return suppressed


def _split(message: str) -> tuple[str, str]:
    """Splits a log line such as `FAIL [name#producer-1] [thrd:x]: text` into facility and text."""
    facility, _, rest = message.partition(" ")
    return facility, re.sub(r"^\[[^\]]*\] (\[thrd:[^\]]*\]: )?", "", rest)
