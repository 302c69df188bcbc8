"""`ThreadErrors`: logs the internal errors of a thread that continues after them."""

from __future__ import annotations

from time import monotonic

from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.error_text import type_name
from processor.telemetry.events import ConsumerWorkerError, Emit


class ThreadErrors:
    """Belongs to the thread whose errors it logs."""

    def __init__(self, thread: str, emit: Emit) -> None:
        """`thread` is the name in the log line."""
        self._thread = thread
        self._emit = emit
        self._repeats = Repeats(LOG_AGAIN_SECONDS)

    def report(self, error: BaseException) -> bool:
        """Log the error, unless the same one was logged in the last `LOG_AGAIN_SECONDS`.

        Returns:
            Whether it was logged.
        """
        text = f"{type_name(error)}: {error}"
        is_due = self._repeats.is_due(text, monotonic())
        if is_due:
            self._emit(ConsumerWorkerError(worker=self._thread, error=text))
        return is_due
