"""A Kafka client's log lines and errors, as events.

The client library writes to stderr by itself, where nobody told it otherwise.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from processor.telemetry.events import Emit, KafkaClientError, KafkaClientLog


def client_hooks(emit: Emit) -> dict[str, Any]:
    """Settings by which a client tells its log and its troubles as events, and nothing on stderr.

    The client calls them from inside `poll` and `consume`, in the thread that calls those.
    """
    voice = ClientLog(emit)
    logger = logging.Logger("kafka-client")  # noqa: LOG001  (one of its own a client: a shared one would tell each line to all)
    logger.addHandler(voice)
    return {"logger": logger, "error_cb": voice.report}


class ClientLog(logging.Handler):
    """Turns a client's log lines and errors into events, the same line once in ten seconds.

    A broker that is down makes a client say so several times a second, for hours.
    """

    QUIET_SECONDS = 10.0
    MOST_LINES = 256

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit
        self._guard = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """One log line. What goes to `report` as well, or is raised, is left out."""
        facility, text = _split(record.getMessage())
        if facility in ("FAIL", "ERROR", "FATAL"):
            return
        if record.levelno >= logging.WARNING and not text.endswith("retrying"):
            self._say(facility, text, lambda line: KafkaClientError(code=facility, message=line))
        else:
            severity = record.levelname.lower()
            self._say(facility, text, lambda line: KafkaClientLog(severity=severity, facility=facility, message=line))

    def report(self, error: KafkaError) -> None:
        """One error that the client works on."""
        code = error.name()
        self._say(code, error.str(), lambda line: KafkaClientError(code=code, message=line))

    def _say(self, subject: str, text: str, event: Callable[[str], KafkaClientLog | KafkaClientError]) -> None:
        repeats = self._repeats(subject + re.sub(r"\d+m?s\b", "", text), time.monotonic())
        if repeats is not None:
            self._emit(event(f"{text} ({repeats} more of it before)" if repeats else text))

    def _repeats(self, line: str, now: float) -> int | None:
        """How often the line was held back since it was last said; None where it is to be held back again."""
        with self._guard:
            said, held = self._said.get(line, (float("-inf"), 0))
            if now - said < self.QUIET_SECONDS:
                self._said[line] = (said, held + 1)
                return None
            if len(self._said) >= self.MOST_LINES:
                self._said.clear()
            self._said[line] = (now, 0)
            return held


def _split(message: str) -> tuple[str, str]:
    """A log line's facility and text: `FAIL [name#producer-1] [thrd:x]: text`."""
    facility, _, rest = message.partition(" ")
    return facility, re.sub(r"^\[[^\]]*\] (\[thrd:[^\]]*\]: )?", "", rest)
