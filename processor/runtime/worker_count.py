"""`WorkerCount`: sets the number of a consumer's workers, and logs why it changes."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Final

from processor.engine.worker_scaling import Sample, WorkerScaling
from processor.errors import ProcessorError
from processor.options.bounds import Count, bounds_of
from processor.runtime.crew import Crew
from processor.runtime.desk import Desk
from processor.runtime.thread_errors import ThreadErrors
from processor.telemetry.events import ConsumerWorkersChanged, ConsumerWorkersLimited, Emit

SAMPLE_SECONDS: Final = 0.25
"""Time between two samples of the workers, if their number is adjusted automatically."""

CLOSE_SECONDS: Final = 1.0
"""How long `close` waits for workers that are being started."""


class WorkerCount:
    """The configured number, or one within the configured bounds, unless the control topic orders another one.

    Any thread may call it. With a fixed number it starts no thread, and changes the number only by order.
    """

    def __init__(self, configured: Count, crew: Crew, desk: Desk, emit: Emit) -> None:
        self._bounds = bounds_of(configured)
        self._crew = crew
        self._desk = desk
        self._emit = emit
        self._lock = threading.Lock()
        self._is_ordered = False
        self._scaling = WorkerScaling(*self._bounds)
        self._sampled_at = monotonic()
        self._ended = 0
        self._errors = ThreadErrors("scaling", emit)
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to adjust the number, if bounds are configured.

        Raises:
            ProcessorError: the system does not allow another thread.
        """
        if self._bounds.least == self._bounds.most:
            return
        self._thread = thread = threading.Thread(target=self._run, name="scaling", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise ProcessorError(f"no thread can be started for --workers {self._bounds} ({error})") from None

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)

    def order(self, count: int, by: str) -> None:
        """Sets the number to `count` until `release`. `by` is the author of the order."""
        with self._lock:
            self._is_ordered = True
            self._change(count, f"set by {by}")

    def release(self) -> None:
        """Restore the configured number; with bounds, the search continues from the nearest number that they allow."""
        with self._lock:
            if self._is_ordered:
                self._is_ordered = False
                self._scaling = WorkerScaling(*self._bounds, self._crew.size)
                self._change(self._scaling.workers, "the set number has ended")

    def _run(self) -> None:
        while not self._is_closed.wait(SAMPLE_SECONDS):
            try:
                self._adapt()
            except Exception as error:
                self._errors.report(error)

    def _adapt(self) -> None:
        with self._lock:
            sample = self._sample()
            resize = None if self._is_ordered else self._scaling.observe(sample)
            if resize is None:
                return
            self._change(resize.workers, resize.reason)
            if self._crew.size < resize.workers:  # the system does not allow more threads: do not try this again
                most = max(self._crew.size, self._bounds.least)
                self._scaling = WorkerScaling(self._bounds.least, most, most)

    def _sample(self) -> Sample:
        now, ended = monotonic(), self._desk.attempts
        seconds, self._sampled_at = now - self._sampled_at, now
        before, self._ended = self._ended, ended
        return Sample(seconds, ended - before, self._crew.busy, self._desk.ready)

    def _change(self, count: int, reason: str) -> None:
        before = self._crew.size
        if count == before:
            return
        refusal = self._crew.resize(count)
        if refusal is not None:
            self._emit(ConsumerWorkersLimited(wanted=count, workers=self._crew.size, error=refusal))
        if self._crew.size != before:
            self._emit(ConsumerWorkersChanged(workers=self._crew.size, workers_before=before, reason=reason))
