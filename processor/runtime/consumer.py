"""One consumer: the poller, its workers, the watchdog and what joins them, from start to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

from processor.engine.lease import Lease
from processor.engine.ledger import Loan
from processor.errors import BrokerError, DrainTimeout, ProcessorError
from processor.handlers.table import Handlers
from processor.runtime.attempt import Attempts
from processor.runtime.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.event_loop import Coroutines, EventLoop
from processor.runtime.poller import Poller
from processor.runtime.ports import Codec, Sink, Source
from processor.runtime.settlement import Endings
from processor.runtime.stats import Reporter
from processor.runtime.stop_at_end import Goal
from processor.runtime.watchdog import Watchdog, grace
from processor.runtime.workers import Worker
from processor.settings import Settings
from processor.telemetry.events import (
    ConsumerFailed,
    ConsumerRecycling,
    ConsumerStarted,
    ConsumerStats,
    ConsumerStopped,
    ConsumerStopping,
    Emit,
    PartitionStats,
)

OnStats = Callable[[ConsumerStats, Sequence[PartitionStats]], None]

SINK_CLOSE_SECONDS = 5.0
"""How long dead letters and results that nobody waits for any more may still take at the end."""


class Ending(NamedTuple):
    """How a consumer ended."""

    exit_code: int
    recycle: bool
    """A handler is stuck: another process should take this one's place at once."""
    finished: bool
    """The end that `--stop-at-end` asks for was reached."""


class Pulse(NamedTuple):
    """A consumer at one moment, for whoever watches it; moments in seconds of the monotonic clock."""

    turned_at: float
    """When the poller last went round."""
    in_group: bool
    stopping: bool
    partitions: int
    running: int
    settled: int
    stuck_at: float | None
    """When the first of the running attempts will be past its time and its grace."""


class Consumer:
    """One member of the consumer group. Runs once."""

    def __init__(
        self,
        settings: Settings,
        app: Handlers,
        source: Source,
        sink: Sink,
        codec: Codec,
        emit: Emit,
        *,
        on_stats: OnStats | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._emit = emit
        self._on_stats = on_stats
        self._stop_reason: str | None = None
        self._recycle = False
        self._hurry = False
        self._desk = Desk(Lease(source.session_seconds))
        self._watchdog = Watchdog(self._desk, emit, self._request_recycle)
        self._endings = Endings(self._desk, sink, codec, settings, emit, self._watchdog.schedule, self._watchdog.nudge)
        self._committer = Committer(self._desk, source, emit)
        self._poller = Poller(
            settings,
            source,
            self._desk,
            self._committer,
            emit,
            self._report_when_due,
            lambda: self._hurry,
            self._running_seconds,
        )
        self._reporter = Reporter(self._desk, self._committer, self._endings, source)
        self._next_report = monotonic() + settings.stats_interval
        self._event_loop: EventLoop | None = None
        self._borrowers = self._make_borrowers(app, Attempts(app, codec, settings))

    def request_stop(self, reason: str) -> None:
        """Takes no more records, lets running tasks end within the drain timeout, commits, leaves the group.

        Any thread may ask, a signal handler too.
        """
        self._stop_reason = self._stop_reason or reason

    def request_stop_now(self, reason: str) -> None:
        """Commits what is done and leaves, without waiting for running tasks. Any thread may ask."""
        self.request_stop(reason)
        self._hurry = True

    def pulse(self) -> Pulse:
        """This moment, without a lock and without waiting for anybody. Any thread may ask."""
        assignment = self._desk.assignment
        return Pulse(
            turned_at=self._poller.turned_at,
            in_group=self._poller.in_group,
            stopping=self._stop_reason is not None,
            partitions=len(assignment.ledgers),
            running=assignment.lent_loans,
            settled=self._desk.settled,
            stuck_at=self._stuck_at(),
        )

    def run(self) -> Ending:
        """Consumes until it is told to stop, until `--stop-at-end` is reached, or until it cannot go on.

        Raises:
            BrokerError: at the start no broker answers, or it does not let this client in.
            LoadError: a topic to consume does not exist.
            ProcessorError: so many threads cannot be started.
        """
        settings = self._settings
        self._emit(
            ConsumerStarted(
                topics=list(settings.topics),
                group=settings.group,
                workers=settings.workers,
                value_format=settings.value_format,
                group_protocol=settings.group_protocol,
            )
        )
        self._start_threads()
        self._report()  # all zeros: a counter that is first seen above it would not seem to have risen
        finished, failure = False, None
        try:
            goal = Goal(self._source, self._desk) if settings.stop_at_end else None
            finished = self._poller.run(lambda: self._stop_reason is not None, goal)
        except ProcessorError as error:
            failure = error
        except Exception as error:  # a fault of ours or of the client: leave in order all the same, and say what it was
            failure = ProcessorError(f"the poller failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
        return self._stop(finished, failure)

    def _stop(self, finished: bool, failure: ProcessorError | None) -> Ending:
        reason = "everything is done" if finished else str(failure or self._stop_reason)
        assignment = self._desk.assignment
        self._emit(ConsumerStopping(reason=reason, running=assignment.lent_loans, waiting=assignment.waiting))
        try:
            ended = self._poller.drain(let_in=not isinstance(failure, BrokerError))
        except Exception as error:  # the client is in no state to drain: what is not committed will run again
            ended = False
            failure = failure or ProcessorError(f"the drain failed: {type(error).__name__}: {error}")
        if failure is None and not ended and not self._recycle:
            failure = DrainTimeout("tasks still ran, or could not be committed, when the drain timeout was over")
        exit_code = failure.exit_code if failure else 0
        self._leave()
        if failure is not None and not isinstance(failure, DrainTimeout):
            self._emit(ConsumerFailed(error=str(failure), exit_code=exit_code))
        counts = self._desk.counts
        self._emit(
            ConsumerStopped(
                exit_code=exit_code,
                uptime_seconds=self._reporter.uptime,
                succeeded=counts.done,
                failed_attempts=counts.failed_attempts,
                dead_lettered=counts.dead_lettered,
                abandoned=self._poller.abandoned,
            )
        )
        return Ending(exit_code, self._recycle and not finished, finished)

    def _leave(self) -> None:
        self._report()
        self._poller.leave()
        self._source.close()
        self._sink.close(0.0 if self._hurry else SINK_CLOSE_SECONDS)
        self._watchdog.close()
        self._desk.close()
        if self._event_loop is not None:
            self._event_loop.close()

    def _request_recycle(self, reason: str) -> None:
        if not self._recycle:
            self._recycle = True
            self._emit(ConsumerRecycling(reason=reason))
            self.request_stop(reason)

    # --- threads -----------------------------------------------------------------------------------

    def _make_borrowers(self, app: Handlers, attempts: Attempts) -> Sequence[Worker | Coroutines]:
        asynchronous = [handler.is_async for handler in app.handlers]
        if any(asynchronous):
            self._event_loop = EventLoop()
        most = self._settings.workers
        if self._event_loop is not None and all(asynchronous):
            return [Coroutines(self._event_loop, most, self._desk, attempts, self._endings, self._emit)]
        return [Worker(n, self._desk, attempts, self._endings, self._emit, self._event_loop) for n in range(most)]

    def _start_threads(self) -> None:
        try:
            if self._event_loop is not None:
                self._event_loop.start()
            for borrower in self._borrowers:
                borrower.start()
            self._watchdog.start(self._borrowers, self._endings)
        except RuntimeError as error:  # the system's bound, or that of a container
            self._desk.close()
            workers = self._settings.workers
            raise ProcessorError(f"--workers {workers}: the system does not let so many run ({error})") from None

    def _running_seconds(self, loan: Loan) -> float:
        """How long the loan's handler has run; 0 where its dead letter or result is under way."""
        begun = [a.fence.started for b in self._borrowers for a in b.attempted() if a.loan is loan and a.fence.started]
        return monotonic() - begun[0] if begun else 0.0

    def _stuck_at(self) -> float | None:
        moments = []
        for borrower in self._borrowers:
            for attempted in borrower.attempted():
                fence = attempted.fence
                started, limit = fence.started, fence.limit
                if started and fence.started == started:  # else the limit may be the next attempt's
                    moments.append(started + limit + grace(limit))
        return min(moments, default=None)

    # --- reports -----------------------------------------------------------------------------------

    def _report_when_due(self) -> None:
        now = monotonic()
        if now >= self._next_report:
            self._next_report = now + self._settings.stats_interval
            self._report()

    def _report(self) -> None:
        self._reporter.rebalances = self._poller.rebalances
        self._reporter.abandoned = self._poller.abandoned
        self._reporter.missed = self._poller.missed
        stats, partitions = self._reporter.stats(self._borrowers, self._poller.paused)
        for event in (stats, *partitions):
            self._emit(event)
        if self._on_stats is not None:
            self._on_stats(stats, partitions)
