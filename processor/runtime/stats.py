"""`Reports`: emits `consumer.stats` and `partition.stats` every `--stats-interval`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic, process_time, time
from typing import Any

from processor.engine.durations import Durations
from processor.engine.gate import GateSnapshot
from processor.engine.ledger import Block, LedgerSnapshot, Loan
from processor.engine.paused_lanes import PauseLoad, PausesSnapshot
from processor.engine.retry import PAUSED
from processor.runtime.commits.committer import Committer
from processor.runtime.counts import Counts
from processor.runtime.crew import Crew
from processor.runtime.desk import Desk
from processor.runtime.desk import Report as DeskReport
from processor.runtime.intake import Intake
from processor.runtime.new_partitions import NewPartitions
from processor.runtime.pause_fields import pause_order
from processor.runtime.ports import Partition
from processor.runtime.task_log import TaskLog
from processor.telemetry.cadence import Cadence
from processor.telemetry.events import (
    ConsumerStats,
    Emit,
    HandlerLoad,
    HeadOfLine,
    HeadState,
    PartitionStats,
    PauseReport,
    SessionLoad,
)
from processor.telemetry.idle_reports import IdleReports, is_idle

ERROR_CHARACTERS = 200
"""The longest text of an error: it is repeated with each report."""

OnStats = Callable[[ConsumerStats, Sequence[PartitionStats]], None]


class Reports:
    """Reports to `on_stats` every `--stats-interval`, and logs what is new. Belongs to the poller's thread."""

    def __init__(self, cadence: Cadence, statistics: Statistics, emit: Emit) -> None:
        self.on_stats: OnStats | None = None
        """Called with each report, besides the log."""
        self._cadence = cadence
        self._statistics = statistics
        self._emit = emit
        self._next = monotonic() + cadence.interval
        self._idle_reports = IdleReports(cadence, monotonic())

    def emit_when_due(self, now: float) -> None:
        """Reports if a report is due."""
        if now >= self._next:
            self._next = now + self._cadence.interval
            self._report(anyway=False)

    def emit(self) -> None:
        """Reports now, and logs the consumer's statistics even if nothing in them is new."""
        self._report(anyway=True)

    def _report(self, *, anyway: bool) -> None:
        stats, partitions = self._statistics.take(self._cadence)
        for event in self._idle_reports.to_log(stats, partitions, monotonic(), anyway=anyway):
            self._emit(event)
        if self.on_stats is not None:
            self.on_stats(stats, partitions)


class Statistics:
    """One consumer's statistics. Rates and quantiles cover the time since the last call of `take`."""

    def __init__(
        self,
        desk: Desk,
        committer: Committer,
        intake: Intake,
        new_partitions: NewPartitions,
        crew: Crew,
        log: TaskLog,
    ) -> None:
        self._desk = desk
        self._committer = committer
        self._intake = intake
        self._new_partitions = new_partitions
        self._crew = crew
        self._log = log
        self._started = self._last = monotonic()
        self._last_used = process_time()
        self._last_settled = 0
        self._last_durations = Durations()

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return round(monotonic() - self._started, 3)

    def take(self, cadence: Cadence) -> tuple[ConsumerStats, list[PartitionStats]]:
        """Return the present statistics. `cadence` is how often reports are logged."""
        now, running = monotonic(), self._crew.running()
        report, paused = self._desk.report(now), self._intake.paused
        partitions = [
            self._of_partition(partition, report, partition in paused, running, now)
            for partition in sorted(report.assignment.partitions)
        ]
        overdue = cadence.overdue_seconds(idle=all(map(is_idle, partitions)))
        return self._of_consumer(report, partitions, running, now, overdue), partitions

    def _of_consumer(
        self,
        report: DeskReport,
        partitions: Sequence[PartitionStats],
        running: Mapping[Loan, float],
        now: float,
        overdue: float,
    ) -> ConsumerStats:
        assignment = report.assignment
        tasks: dict[str, Any] = dict(report.counts)
        rates = self._rates(tasks.pop("settled"), now)
        tasks["skipped"] += sum(p.skipped for p in partitions)
        tasks["handler_seconds"] = round(tasks["handler_seconds"], 3)
        lags = [p.lag for p in partitions if p.lag is not None]
        busiest = [_load(*busy, assignment.partitions[busy.partition]) for busy in assignment.busiest]
        return ConsumerStats(
            **tasks,
            **rates,
            **self._latencies(report.durations, report.longest_seconds),
            **_held(report.gates),
            **_paused(report.pauses),
            **_counted(self._desk.counts),
            in_flight=assignment.in_flight,
            waiting=assignment.waiting,
            running=assignment.running,
            workers=self._crew.size,
            ready_sessions=self._desk.ready,
            uptime_seconds=round(now - self._started, 3),
            overdue_after_seconds=overdue,
            in_flight_bytes=sum(p.in_flight_bytes for p in partitions),
            active_sessions=sum(p.active_sessions for p in partitions),
            urgent_sessions=assignment.urgent,
            delayed_sessions=sum(p.delayed for p in partitions),
            next_delayed_seconds=_seconds_until(assignment.next_delay),
            set_aside=assignment.set_aside,
            delayed_set_aside=assignment.delayed_aside,
            open_joins=sum(p.open_joins for p in assignment.partitions.values()),
            assigned_partitions=len(partitions),
            busiest_session_waiting=max((load.waiting for load in busiest), default=int(assignment.waiting > 0)),
            lag=sum(lags) if lags else None,
            oldest_unsettled_seconds=max((p.oldest_unsettled_seconds for p in partitions), default=0.0),
            oldest_running_seconds=round(now - min(running.values(), default=now), 3),
            suppressed_warnings=self._log.suppressed,
            busiest_sessions=busiest,
        )

    def _rates(self, settled: int, now: float) -> dict[str, Any]:
        """Return the rates since the last report."""
        seconds, used = max(now - self._last, 1e-9), process_time()
        rate, cores = (settled - self._last_settled) / seconds, (used - self._last_used) / seconds
        self._last, self._last_settled, self._last_used = now, settled, used
        return {"tasks_per_second": round(rate, 1), "used_cores": round(cores, 2)}

    def _latencies(self, durations: Durations, longest: float) -> dict[str, Any]:
        """Return the latencies since the last report, and the buckets since the start."""
        lately = durations.since(self._last_durations)
        self._last_durations = durations
        seconds = {"p50": lately.quantile(0.5), "p90": lately.quantile(0.9), "p99": lately.quantile(0.99)}
        if longest:  # a quantile is interpolated within its bucket, and may exceed every duration
            seconds = {name: min(value, longest) if value is not None else None for name, value in seconds.items()}
        seconds["max"] = longest or seconds["p99"]
        latencies = {f"handler_{name}_seconds": _rounded(value) for name, value in seconds.items()}
        return {**latencies, "handler_seconds_buckets": durations.cumulative()}

    def _of_partition(
        self, partition: Partition, report: DeskReport, fetch_paused: bool, running: Mapping[Loan, float], now: float
    ) -> PartitionStats:
        snapshot = report.assignment.partitions[partition]
        head = _head_of_line(snapshot.head, snapshot.oldest_age, running, now) if snapshot.head else None
        waiting_paused = report.pauses.waiting.get(f"{partition.topic}:{partition.number}", 0)
        point, highest, end = snapshot.commit_point, snapshot.highest_settled, self._intake.end_of(partition)
        settled = point if point is not None else self._new_partitions.start_of(partition)
        return PartitionStats(
            topic=partition.topic,
            partition=partition.number,
            in_flight=snapshot.in_flight,
            in_flight_bytes=snapshot.in_flight_bytes,
            fetched_ahead=self._intake.stock_of(partition),
            waiting=snapshot.waiting,
            running=snapshot.running,
            parked=snapshot.parked,
            delayed=snapshot.delayed,
            paused=waiting_paused,
            active_sessions=snapshot.sessions,
            succeeded=snapshot.settled - snapshot.dead_lettered - snapshot.cancelled,
            failed_attempts=snapshot.failed_attempts,
            dead_lettered=snapshot.dead_lettered,
            skipped=snapshot.skipped,
            commit_point=point,
            committed=self._committer.committed(partition),
            highest_settled=highest,
            gap=max(0, highest + 1 - point) if highest is not None and point is not None else 0,
            oldest_unsettled_seconds=round(snapshot.oldest_age, 3),
            oldest_ready_seconds=round(snapshot.oldest_ready_age, 3),
            set_aside=snapshot.set_aside,
            set_aside_sessions=snapshot.sessions_aside,
            delayed_set_aside=snapshot.delayed_aside,
            next_set_aside_seconds=_seconds_until(snapshot.next_delay_aside),
            lag=max(0, end - settled) if end is not None and settled is not None else None,
            fetch_paused=fetch_paused,
            waits_for=self._new_partitions.waits_for(partition),
            head=head,
            head_paused=head is not None and head.state == "paused",
        )


def _head_of_line(block: Block, age: float, running: Mapping[Loan, float], now: float) -> HeadOfLine:
    state, since = _state(block, running)
    setback, record = block.setback, block.record
    kind, timestamp = record.timestamp()
    retry_in = round(max(0.0, setback.due - now), 3) if state == "parked" and setback else None
    return HeadOfLine(
        session_id=_text(record.key() or b""),
        offset=record.offset(),
        attempt=block.attempt,
        state=state,
        state_seconds=round(max(0.0, now - since), 3) if since is not None else round(age, 3),
        age_seconds=round(age, 3),
        produced_at=timestamp if kind else None,
        retry_in_seconds=_seconds_until(block.delayed_until) if state == "delayed" else retry_in,
        session_waiting=block.session_waiting,
        error_type=setback.error_type if setback else None,
        error=setback.error[:ERROR_CHARACTERS] if setback else None,
    )


def _state(block: Block, running: Mapping[Loan, float]) -> tuple[HeadState, float | None]:
    """Return the state of the task, and since when, in seconds of the monotonic clock; None for since its admission."""
    match block.place:
        case "lent":
            started = running.get(block.loan) if block.loan is not None else None
            return ("running", started) if started is not None else ("waiting", None)
        case "held" if block.setback is not None and block.setback.error_type == PAUSED:
            return "paused", block.since
        case place:
            return place, block.since


def _held(gates: Sequence[GateSnapshot]) -> dict[str, Any]:
    """Return the fields about tasks that wait for their handler, which is suspended or at a limit."""
    return {
        "held": sum(gate.waiting for gate in gates),
        "suspended_handlers": sum(gate.suspended_seconds is not None for gate in gates),
        "held_handlers": [_handler(gate) for gate in gates if gate.waiting or gate.suspended_seconds is not None],
    }


def _paused(pauses: PausesSnapshot) -> dict[str, Any]:
    """Return the fields about tasks that an operator has paused."""
    return {
        "paused": sum(pauses.waiting.values()),
        "pauses": pauses.in_force,
        "longest_pause_seconds": _seconds_since(pauses.since),
        "paused_by": [_pause(load) for load in pauses.loads],
    }


def _counted(counts: Counts) -> dict[str, Any]:
    """Return the fields about partitions, commits and reads. The desk's report has the outcomes of tasks."""
    return {
        "abandoned": counts.abandoned,
        "missed_offsets": counts.missed_offsets,
        "records_read_again": counts.records_read_again,
        "tasks_read_again": counts.tasks_read_again,
        "commits": counts.commits,
        "commit_failures": counts.commit_failures,
        "rebalances": counts.rebalances,
    }


def _handler(gate: GateSnapshot) -> HandlerLoad:
    return HandlerLoad(
        handler=gate.name,
        waiting=gate.waiting,
        suspended_seconds=_rounded(gate.suspended_seconds),
        error_type=gate.error_type,
        error=gate.error[:ERROR_CHARACTERS] if gate.error is not None else None,
    )


def _pause(load: PauseLoad) -> PauseReport:
    return PauseReport(**pause_order(load.target, load.pause), waiting=load.waiting)


def _seconds_since(milliseconds: int | None) -> float:
    return round(max(0.0, time() - milliseconds / 1000), 3) if milliseconds is not None else 0.0


def _load(waiting: int, partition: Partition, key: bytes, snapshot: LedgerSnapshot) -> SessionLoad:
    return SessionLoad(
        session_id=_text(key),
        topic=partition.topic,
        partition=partition.number,
        waiting=waiting,
        partition_waiting=snapshot.waiting + snapshot.set_aside,
    )


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _seconds_until(epoch: float | None) -> float | None:
    return round(max(0.0, epoch - time()), 3) if epoch is not None else None


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 6) if seconds is not None else None
