"""`Consumer`: one member of the consumer group, composed of the runtime's parts, from start to stop."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic
from typing import NamedTuple

from processor.engine.build import BUILD
from processor.engine.lease import Lease
from processor.errors import BrokerError, DrainTimeout, LoadError, ProcessorError
from processor.handlers.table import Handlers
from processor.options.bounds import bounds_of
from processor.runtime.ahead import Ahead
from processor.runtime.cancel_check import CancelCheck
from processor.runtime.cancel_search import CancelSearch
from processor.runtime.cancellation import Cancellation
from processor.runtime.commits.committer import Committer
from processor.runtime.commits.map_records import MapRecords
from processor.runtime.commits.staging import Staging
from processor.runtime.control import Control, Feed
from processor.runtime.crew import Crew
from processor.runtime.death_watch import DeathWatch
from processor.runtime.desk import Desk
from processor.runtime.drain import Drain, DrainSeconds
from processor.runtime.gatekeeper import Gatekeeper
from processor.runtime.intake import Intake
from processor.runtime.join_markers import JoinMarkers
from processor.runtime.lease_keeper import LeaseKeeper
from processor.runtime.lifespan import LifespanRun
from processor.runtime.look_back import LookBack
from processor.runtime.membership import Departure, Membership
from processor.runtime.new_partitions import NewPartitions
from processor.runtime.outbox import Outbox
from processor.runtime.poller import Poller
from processor.runtime.ports import Codec, MapLog, Sink, Source
from processor.runtime.recall import Recall
from processor.runtime.resets import Resets
from processor.runtime.runner import Runner
from processor.runtime.settlement import Settlement
from processor.runtime.stats import OnStats, Reports, Statistics
from processor.runtime.stop_at_end import StopAtEnd
from processor.runtime.stopping import Stopping
from processor.runtime.surveys import Surveys
from processor.runtime.task_log import TaskLog
from processor.runtime.timers import Timers
from processor.runtime.tracing import Tracing
from processor.runtime.watchdog import Watchdog
from processor.runtime.worker_count import WorkerCount
from processor.settings import Settings
from processor.telemetry.cadence import Cadence
from processor.telemetry.events import (
    ConsumerDrainShortened,
    ConsumerFailed,
    ConsumerStarted,
    ConsumerStopped,
    ConsumerStopping,
    Emit,
)
from processor.telemetry.spans import Spans

SINK_CLOSE_SECONDS = 5.0
"""How long dead letters and results may still take at the end, when no task waits for them."""


LIFESPAN_CLOSE_SECONDS, LIFESPAN_HASTY_SECONDS = 3.0, 1.0
"""The minimum time for the second half of a lifespan, at an orderly stop and at an immediate one. It gets the rest of
the drain timeout if that is longer. A fleet kills a consumer ten seconds after its drain timeout, and five seconds
after an immediate stop."""


class ExitStatus(NamedTuple):
    """The end of a consumer."""

    exit_code: int
    recycle: bool
    """Whether a handler is stuck, so that another process should take this one's place at once."""
    finished: bool
    """Whether `--stop-at-end` has ended it."""


class Pulse(NamedTuple):
    """A consumer at one moment, for health checks. Times are in seconds of the monotonic clock."""

    last_loop_at: float
    """When the poller last completed a loop."""
    in_group: bool
    stopping: bool
    partitions: int
    running: int
    workers: int
    settled: int
    suspended: Sequence[str]
    """Names of suspended handlers: their tasks wait for the end of an outage."""
    pauses: int
    """Number of pauses in force."""
    paused_since: int | None
    """When the oldest of them began, in milliseconds since the epoch."""
    stuck_at: float | None
    """When the first of the running attempts exceeds its time limit and the grace period."""


class Consumer:
    """One member of the consumer group. Runs once.

    Its parts need each other as a tree, from `Timers` and `Desk` up to `Poller` and `Departure`.
    """

    def __init__(
        self, settings: Settings, handlers: Handlers, source: Source, sink: Sink, codec: Codec, emit: Emit
    ) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._emit = emit
        self._stopping = Stopping(emit)
        self._drain_seconds = DrainSeconds.within(settings.drain_timeout, source.poll_seconds)
        self._tracing: Tracing | None = None
        self._map_log: MapLog | None = None
        self._timers = Timers()
        self._lease = Lease(source.session_seconds)
        self._desk = Desk(self._lease, self._timers, stages=settings.is_exactly_once)
        self._log = TaskLog(settings, emit)
        self._staging = Staging(self._desk, self._log) if settings.is_exactly_once else None
        self._compose_tasks(handlers, codec)
        self._compose_group()
        self._compose_loop()

    def _compose_tasks(self, handlers: Handlers, codec: Codec) -> None:
        """Compose what runs tasks and settles them, and what applies the commands of operators."""
        settings, desk, emit = self._settings, self._desk, self._emit
        gatekeeper = Gatekeeper(settings, handlers, desk, emit)
        outputs = self._staging or Outbox(desk, self._sink, self._timers, self._log)
        self._settlement = settlement = Settlement(settings, codec, desk, gatekeeper, outputs, self._log)
        self._runner = runner = Runner(settings, handlers, codec, gatekeeper, settlement, self._lease)
        self._crew = crew = Crew(bounds_of(settings.workers).least, handlers, desk, runner, emit)
        self._worker_count = workers = WorkerCount(settings.workers, crew, desk, emit)
        check = CancelCheck(desk.cancelling.cancels, codec)
        self._cancel_search = search = CancelSearch(desk, self._source, check, emit)
        cancellation = Cancellation(runner, check, settlement, crew, search, emit)
        self._control = Control(settings.group, desk, runner, workers, cancellation, emit)
        lifespan = handlers.registered_lifespan
        self._lifespan = LifespanRun(lifespan, crew.loop, emit) if lifespan is not None else None
        self._watchdog = Watchdog(self._timers, crew, settlement, cancellation, self._stopping, emit)

    def _compose_group(self) -> None:
        """Compose what takes records, commits offsets, and carries out the group's decisions."""
        settings, source, desk, emit = self._settings, self._source, self._desk, self._emit
        self._committer = committer = Committer(settings.commit_seconds, desk, source, emit, self._staging)
        resets = Resets(desk, committer, emit)
        self._recall = recall = Recall(settings, desk, source, emit)
        self._intake = intake = Intake(settings, source, desk, resets, Ahead(settings, desk, recall, emit), emit)
        self._keeper = keeper = LeaseKeeper(desk, emit)
        drain = Drain(self._drain_seconds, desk, self._crew, keeper, self._stopping, emit)
        surveys = Surveys(source, emit)
        self._new_partitions = new_partitions = NewPartitions(source, surveys, desk, intake, committer, emit)
        new_partitions.wait = settings.new_partitions == "wait"
        self._join_markers = JoinMarkers(settings.topics, desk, committer, surveys)
        self._look_back = LookBack(desk, source, emit)
        self._membership = Membership(desk, committer, intake, new_partitions, drain, emit)
        self._departure = Departure(source, desk, intake, committer, drain, self._membership)

    def _compose_loop(self) -> None:
        """Compose the poller, with the steps that it takes in each loop after it has taken records."""
        settings, desk, committer, intake = self._settings, self._desk, self._committer, self._intake
        self._statistics = Statistics(desk, committer, intake, self._new_partitions, self._crew, self._log)
        cadence = Cadence(settings.stats_interval, bounds_of(settings.processes).most)
        self._reports = Reports(cadence, self._statistics, self._emit)
        self._death_watch = DeathWatch(desk, committer, intake, self._runner, settings.max_attempts)
        ticks = (
            self._membership.tick,
            self._join_markers.tick,
            self._look_back.tick,
            committer.commit_when_due,
            self._reports.emit_when_due,
            self._death_watch.tick,
        )
        self._poller = Poller(self._keeper, intake, ticks, self._stopping)

    def trace(self, spans: Spans) -> None:
        """Trace each attempt. Call this before the first attempt."""
        self._tracing = tracing = Tracing(spans, self._settings)
        self._settlement.trace(tracing)
        self._runner.trace(tracing)

    def report_to(self, on_stats: OnStats) -> None:
        """Call `on_stats` with the statistics every `--stats-interval`, in the poller's thread."""
        self._reports.on_stats = on_stats

    def obey(self, feed: Feed) -> None:
        """Apply the commands of a control topic. Call this before the first task."""
        self._control.follow(feed)

    @property
    def death_watch(self) -> DeathWatch:
        """The reaction to the death of a process of the fleet."""
        return self._death_watch

    def write_maps_to(self, log: MapLog) -> None:
        """Write skip maps that do not fit into commits to a progress topic, and read those in it."""
        self._map_log = log
        self._committer.write_to(MapRecords(self._settings.group, log, self._emit))

    def request_stop(self, reason: str, *, for_good: bool = False) -> None:
        """Fetch no more records, let running tasks finish within the drain timeout, commit, and leave the group.

        With `for_good`, no successor takes its place, see `Source.close`. Any thread may call this, also a signal
        handler.
        """
        self._stopping.ask(reason, for_good=for_good)

    def request_stop_now(self, reason: str) -> None:
        """Commits what is done and leaves, without waiting for running tasks. Any thread may call this."""
        self._stopping.ask_at_once(reason)

    @property
    def is_stop_requested(self) -> bool:
        """Whether a stop was requested, so that the consumer does not end by itself alone."""
        return self._stopping.is_requested

    def pulse(self) -> Pulse:
        """Return the present state, without a lock and without waiting. Any thread may call this."""
        return Pulse(
            last_loop_at=self._keeper.last_loop_at,
            in_group=self._membership.in_group,
            stopping=self._stopping.is_asked,
            partitions=len(self._desk.partitions),
            running=self._desk.running,
            workers=self._crew.size,
            settled=self._desk.counts.settled,
            suspended=self._desk.gates.suspended,
            pauses=len(pauses := list(self._desk.pausing.pauses.in_force.values())),
            paused_since=min((pause.since for pause in pauses), default=None),
            stuck_at=self._crew.stuck_at(),
        )

    def run(self) -> ExitStatus:
        """Consume until a stop is requested, until `--stop-at-end` is reached, or until an error ends it.

        Raises:
            LoadError: the application's lifespan failed before its `yield`.
            ProcessorError: the system does not allow this many threads.
        """
        self._start()
        settings = self._settings
        self._emit(
            ConsumerStarted(
                topics=list(settings.topics),
                group=settings.group,
                workers=self._crew.size,
                workers_most=bounds_of(settings.workers).most,
                value_format=settings.value_format,
                group_protocol=settings.group_protocol,
                engine=BUILD,
            )
        )
        if self._drain_seconds.of_revoke < settings.drain_timeout:
            self._emit(
                ConsumerDrainShortened(
                    drain_timeout_seconds=settings.drain_timeout,
                    revoke_drain_seconds=round(self._drain_seconds.of_revoke, 3),
                    poll_interval_seconds=self._source.poll_seconds,
                )
            )
        self._reports.emit()  # all zeros: a counter that first appears with another value would not count as a rise
        finished, failure = False, None
        try:
            self._control.start(self._stopping)
            self._death_watch.tick(monotonic())  # before the first task
            self._source.open(self._membership)
            stop_at_end = StopAtEnd(self._source, self._desk, self._membership) if settings.stop_at_end else None
            finished = self._poller.run(stop_at_end)
        except ProcessorError as error:
            failure = error
        except Exception as error:  # an internal error of this package or of the client: log it, and leave in order
            failure = ProcessorError(f"the poller failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
        return self._stop(finished, failure)

    def _start(self) -> None:
        """Starts the threads, and runs the application's lifespan up to its `yield`."""
        try:
            self._crew.start()
            self._watchdog.start()
            self._worker_count.start()
        except BaseException:
            self._desk.lending.close()
            raise
        if self._lifespan is None:
            return
        try:
            self._runner.share(self._lifespan.open(self._keeper, self._stopping, self._drain_seconds.of_stop))
        except LoadError:
            self._source.close()
            self._sink.close(0.0)
            self._end_threads()
            raise

    def _stop(self, finished: bool, failure: ProcessorError | None) -> ExitStatus:
        reason = "everything is done" if finished else str(failure or self._stopping.reason)
        desk = self._desk
        self._emit(ConsumerStopping(reason=reason, running=desk.running, waiting=desk.waiting))
        try:
            ended = self._departure.drain(let_in=not isinstance(failure, (BrokerError, LoadError)))
        except Exception as error:  # the client is in no state to drain: what is not committed will run again
            ended = False
            failure = failure or ProcessorError(f"the drain failed: {type(error).__name__}: {error}")
        recycling = self._stopping.recycling
        if failure is None and not ended:
            failure = DrainTimeout("tasks still ran, or could not be committed, when the drain timeout was over")
        exit_code = failure.exit_code if failure else 0
        self._leave()
        if failure is not None and not isinstance(failure, DrainTimeout):
            self._emit(ConsumerFailed(error=str(failure), exit_code=exit_code))
        counts = desk.counts
        self._emit(
            ConsumerStopped(
                exit_code=exit_code,
                uptime_seconds=self._statistics.uptime,
                succeeded=counts.succeeded,
                failed_attempts=counts.failed_attempts,
                dead_lettered=counts.dead_lettered,
                abandoned=counts.abandoned,
            )
        )
        return ExitStatus(exit_code, recycling and not finished, finished)

    def _leave(self) -> None:
        """Leave the group, and close everything after that, in this order. An error of one step skips none."""
        at_once = self._stopping.at_once
        with ExitStack() as steps:
            steps.callback(self._end_threads)
            steps.callback(self._close_lifespan, LIFESPAN_HASTY_SECONDS if at_once else LIFESPAN_CLOSE_SECONDS)
            steps.callback(self._sink.close, 0.0 if at_once else SINK_CLOSE_SECONDS)
            self._reports.emit()
            self._departure.leave(for_good=self._stopping.for_good)

    def _close_lifespan(self, least: float) -> None:
        if self._lifespan is not None:
            self._lifespan.close(max(least, self._departure.seconds_left))

    def _end_threads(self) -> None:
        if self._map_log is not None:
            self._map_log.close()
        self._control.close()
        self._worker_count.close()
        self._recall.close()
        self._cancel_search.close()
        self._look_back.close()
        self._watchdog.close()
        self._desk.lending.close()
        self._crew.close()
        if self._tracing is not None:
            self._tracing.close()
