"""`Crew`: the worker threads or the event loop, which make attempts, behind one interface."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from time import monotonic

from processor.engine.gatherer import members
from processor.engine.ledger import Loan
from processor.errors import ProcessorError
from processor.handlers.table import Handlers
from processor.runtime.desk import Desk
from processor.runtime.event_loop import Coroutines, CoroutineSeat, EventLoop
from processor.runtime.interrupt import grace
from processor.runtime.runner import Runner
from processor.runtime.workers import Worker
from processor.telemetry.events import Emit


class Crew:
    """`size` worker threads; or, if every handler is async, an event loop with at most `size` coroutines."""

    def __init__(self, size: int, handlers: Handlers, desk: Desk, runner: Runner, emit: Emit) -> None:
        self.size = size
        """Number of workers, without those that leave once they have finished what they have borrowed."""
        self._desk = desk
        self._runner = runner
        self._emit = emit
        self._resizing = threading.Lock()
        asynchronous = [handler.is_async for handler in handlers.handlers]
        lifespan = handlers.registered_lifespan
        needs_loop = any(asynchronous) or (lifespan is not None and lifespan.is_async)
        self._event_loop = EventLoop(emit) if needs_loop else None
        self.members: Sequence[Worker | Coroutines]
        if self._event_loop is not None and all(asynchronous):
            self.members = [Coroutines(self._event_loop, size, desk, runner, emit)]
        else:
            self.members = [self._worker(number) for number in range(size)]

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, if any part of the application is async."""
        return self._event_loop.loop if self._event_loop is not None else None

    def start(self) -> None:
        """Starts the threads.

        Raises:
            ProcessorError: the system does not allow this many threads.
        """
        try:
            if self._event_loop is not None:
                self._event_loop.start()
            for member in self.members:
                member.start()
        except RuntimeError as error:  # the limit of the system, or of a container, on threads
            raise ProcessorError(f"--workers {self.size}: the system does not let so many run ({error})") from None

    @property
    def busy(self) -> int:
        """Number of busy workers."""
        match self.members:
            case [Coroutines() as coroutines]:
                return coroutines.busy
        return self._desk.awake

    def resize(self, size: int) -> str | None:
        """Set the number of workers. Workers keep what they have borrowed. Any thread may call this.

        Returns:
            Why there are fewer, if the system does not allow this many threads; else None.
        """
        with self._resizing:
            self.size = size
            match self.members:
                case [Coroutines() as coroutines]:
                    coroutines.resize(size)
                    return None
            return self._resize_threads(size)

    def _resize_threads(self, size: int) -> str | None:
        here = set(self._desk.lending.limit_borrowers(size))
        present = [worker for worker in self.members if isinstance(worker, Worker) and worker in here]
        free = sorted(set(range(size)) - {worker.number for worker in present})
        try:
            for number in free[: max(0, size - len(present))]:
                worker = self._worker(number)
                worker.start()
                present.append(worker)
        except RuntimeError as error:
            self.size = len(present)
            return str(error)
        finally:
            self.members = present  # in one step, since other threads read it
        return None

    def _worker(self, number: int) -> Worker:
        return Worker(number, self._desk, self._runner, self._emit, self._event_loop)

    def seats(self) -> Iterator[Worker | CoroutineSeat]:
        """Yield each seat in which an attempt may be running now."""
        for member in self.members:
            yield from member.seats()

    def running(self) -> dict[Loan, float]:
        """Return when each running attempt began, in seconds of the monotonic clock, by its loan."""
        begun = [(seat.loan, seat.window.started) for seat in self.seats()]
        return {loan: started for lent, started in begun if lent is not None and started for loan in members(lent)}

    def stuck_at(self) -> float | None:
        """Return when the first of the running attempts exceeds its limit and grace period; None while none runs."""
        moments = []
        for seat in self.seats():
            window = seat.window
            started, limit = window.started, window.limit
            # The seat may begin its next attempt between the two reads. Then the limit may belong to that one.
            if started and window.started == started:
                moments.append(started + limit + grace(limit))
        return min(moments, default=None)

    def running_seconds(self, loan: Loan) -> float:
        """Return for how many seconds the loan's handler has run; 0 if its dead letter or result is being delivered."""
        started = self.running().get(loan)
        return monotonic() - started if started is not None else 0.0

    def close(self) -> None:
        """Ends the event loop. The outcome of a running attempt no longer counts. Workers end when the desk closes."""
        if self._event_loop is None:
            return
        for seat in self.seats():
            if started := seat.window.started:
                seat.window.give_up(started)
        self._event_loop.close()
