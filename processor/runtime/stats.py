"""`consumer.stats` and `partition.stats`: what a consumer tells of itself, every `--stats-interval`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from processor.engine.durations import Durations
from processor.engine.lanes import LaneState
from processor.engine.ledger import Head, Ledger, Loan
from processor.runtime.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.ports import Partition, Source
from processor.runtime.settlement import Endings
from processor.runtime.watchdog import Watched
from processor.telemetry.events import ConsumerStats, HeadOfLine, HeadState, PartitionStats, SessionLoad

BUSIEST = 5
"""Sessions named in one report."""


class Reporter:
    """Belongs to the poller's thread."""

    def __init__(self, desk: Desk, committer: Committer, endings: Endings, source: Source) -> None:
        self.rebalances = 0
        self.abandoned = 0
        self.missed = 0
        self._desk = desk
        self._committer = committer
        self._endings = endings
        self._source = source
        self._started = self._last = monotonic()
        self._last_settled = 0
        self._last_durations = Durations()

    def stats(
        self, watched: Sequence[Watched], paused: frozenset[Partition]
    ) -> tuple[ConsumerStats, list[PartitionStats]]:
        """This moment."""
        now, running = monotonic(), begun(watched)
        with self._desk.lock:
            self._desk.collect()
            assignment, counts = self._desk.assignment, self._desk.counts
            partitions = [
                self._partition(partition, ledger, partition in paused, running, now)
                for partition, ledger in sorted(assignment.ledgers.items())
            ]
            busiest = self._busiest()
            settled = self._desk.settled
            figures: dict[str, Any] = {
                "in_flight": assignment.in_flight,
                "waiting": assignment.waiting,
                "running": assignment.lent_loans,
                "succeeded": counts.done,
                "failed_attempts": counts.failed_attempts,
                "retried": counts.retried,
                "timed_out": counts.timed_out,
                "stuck": counts.stuck,
                "dead_lettered": counts.dead_lettered,
                "results": counts.results,
                "handler_seconds": round(counts.handler_seconds, 3),
                "skipped": counts.skipped + sum(p.skipped for p in partitions),
                **self._latencies(),
            }
        rate = (settled - self._last_settled) / max(now - self._last, 1e-9)
        self._last, self._last_settled = now, settled
        lags = [p.lag for p in partitions if p.lag is not None]
        stats = ConsumerStats(
            **figures,
            uptime_seconds=round(now - self._started, 3),
            in_flight_bytes=sum(p.in_flight_bytes for p in partitions),
            active_sessions=sum(p.active_sessions for p in partitions),
            tasks_per_second=round(rate, 1),
            abandoned=self.abandoned,
            missed_offsets=self.missed,
            commits=self._committer.commits,
            commit_failures=self._committer.failures,
            rebalances=self.rebalances,
            assigned_partitions=len(partitions),
            busiest_session_waiting=max((load.waiting for load in busiest), default=int(figures["waiting"] > 0)),
            lag=sum(lags) if lags else None,
            oldest_unsettled_seconds=max((p.oldest_unsettled_seconds for p in partitions), default=0.0),
            oldest_running_seconds=round(now - min(running.values(), default=now), 3),
            suppressed_warnings=self._endings.limiter.left_out,
            busiest_sessions=busiest,
        )
        return stats, partitions

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return round(monotonic() - self._started, 3)

    def _latencies(self) -> dict[str, Any]:
        """Of the last interval, and the buckets since the start. The lock must be held."""
        counts = self._desk.counts
        lately = counts.durations.since(self._last_durations)
        self._last_durations = counts.durations.copy()
        longest, counts.longest_seconds = counts.longest_seconds, 0.0
        told = {"p50": lately.quantile(0.5), "p90": lately.quantile(0.9), "p99": lately.quantile(0.99)}
        if longest:  # a bucket ends above what is in it
            told = {name: min(seconds, longest) if seconds is not None else None for name, seconds in told.items()}
        told["max"] = longest or told["p99"]
        latencies = {f"handler_{name}_seconds": _rounded(seconds) for name, seconds in told.items()}
        return {**latencies, "handler_seconds_buckets": counts.durations.cumulative()}

    def _partition(
        self, partition: Partition, ledger: Ledger, paused: bool, running: Mapping[Loan, float], now: float
    ) -> PartitionStats:
        offsets, lanes = ledger.offsets, ledger.lanes
        point, highest = offsets.commit_point, offsets.highest_settled
        end = self._source.high_watermark(partition)
        return PartitionStats(
            topic=partition.topic,
            partition=partition.number,
            in_flight=len(offsets),
            in_flight_bytes=offsets.bytes,
            waiting=lanes.waiting,
            running=len(ledger.lent),
            parked=lanes.parked(),
            active_sessions=len(lanes),
            succeeded=ledger.done - ledger.dead_lettered,
            failed_attempts=ledger.failed_attempts,
            dead_lettered=ledger.dead_lettered,
            skipped=ledger.skipped,
            commit_point=point,
            committed=self._committer.committed(partition),
            highest_settled=highest,
            gap=max(0, highest + 1 - point) if highest is not None and point is not None else 0,
            oldest_unsettled_seconds=round(ledger.oldest_age(now), 3),
            lag=max(0, end - point) if end is not None and point is not None else None,
            fetch_paused=paused,
            head=head_of_line(ledger, running, now),
        )

    def _busiest(self) -> list[SessionLoad]:
        loads = [
            SessionLoad(
                session_id=key.decode("utf-8", "backslashreplace"),
                topic=partition.topic,
                partition=partition.number,
                waiting=waiting,
            )
            for partition, ledger in self._desk.assignment.ledgers.items()
            for key, waiting in ledger.lanes.longest(BUSIEST)
            if waiting > 1
        ]
        return sorted(loads, key=lambda load: -load.waiting)[:BUSIEST]


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 6) if seconds is not None else None


ERROR_CHARACTERS = 200
"""Of an error's text: it is told again with each report."""


def begun(watched: Iterable[Watched]) -> dict[Loan, float]:
    """When each running attempt began, in seconds of the monotonic clock, by its loan."""
    attempts = [attempted for one in watched for attempted in one.attempted()]
    return {a.loan: a.fence.started for a in attempts if a.loan is not None and a.fence.started}


def head_of_line(ledger: Ledger, running: Mapping[Loan, float], now: float) -> HeadOfLine | None:
    """The ledger's; None where everything is settled. The lock must be held, and what is done be collected."""
    head = ledger.head()
    if head is None:
        return None
    age = ledger.oldest_age(now)
    state, since = _state(head, running)
    setback = head.setback
    kind, timestamp = head.record.timestamp()
    return HeadOfLine(
        session_id=(head.record.key() or b"").decode("utf-8", "backslashreplace"),
        offset=head.record.offset(),
        attempt=_attempt(head),
        state=state,
        state_seconds=round(max(0.0, now - since), 3) if since is not None else round(age, 3),
        age_seconds=round(age, 3),
        produced_at=timestamp if kind else None,
        retry_in_seconds=round(max(0.0, setback.due - now), 3) if state == "parked" and setback else None,
        session_waiting=_behind(head),
        error_type=setback.error_type if setback else None,
        error=setback.error[:ERROR_CHARACTERS] if setback else None,
    )


def _state(head: Head, running: Mapping[Loan, float]) -> tuple[HeadState, float | None]:
    """And since when, in seconds of the monotonic clock; None is since it came."""
    loan, setback = head.loan, head.lane.setback
    if loan is not None and loan.handed_over_at is not None:
        return "delivering", loan.handed_over_at
    if loan is not None and loan in running:
        return "running", running[loan]
    if head.lane.state is LaneState.PARKED and setback is not None:
        return "parked", setback.at
    if head.lane.state is LaneState.HELD:
        return "blocked", None
    return "waiting", setback.due if setback is not None and loan is None else None


def _attempt(head: Head) -> int:
    if head.loan is None:
        return head.lane.attempts + 1
    return 1 if head.loan.done else head.loan.attempt


def _behind(head: Head) -> int:
    if head.loan is None:
        return len(head.lane.waiting) - 1
    return len(head.lane.waiting) + len(head.loan.records) - head.loan.settled - 1
