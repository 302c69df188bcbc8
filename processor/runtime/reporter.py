"""`consumer.stats` and `partition.stats`: what a consumer tells of itself, every `--stats-interval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from processor.engine.durations import Durations
from processor.engine.ledger import Ledger, Loan
from processor.events import ConsumerStats, PartitionStats, SessionLoad
from processor.runtime.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.endings import Endings
from processor.runtime.head_of_line import begun, head_of_line
from processor.runtime.ports import Partition, Source
from processor.runtime.watchdog import Watched

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
                "done": counts.done,
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
            lanes=sum(p.lanes for p in partitions),
            tasks_per_second=round(rate, 1),
            abandoned=self.abandoned,
            missed=self.missed,
            commits=self._committer.commits,
            commit_failures=self._committer.failures,
            rebalances=self.rebalances,
            assigned=len(partitions),
            fullest_lane=max((load.waiting for load in busiest), default=int(figures["waiting"] > 0)),
            lag=sum(lags) if lags else None,
            oldest_unsettled_seconds=max((p.oldest_unsettled_seconds for p in partitions), default=0.0),
            oldest_running_seconds=round(now - min(running.values(), default=now), 3),
            unlogged_failures=self._endings.limiter.left_out,
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
            lanes=len(lanes),
            done=ledger.done - ledger.dead_lettered,
            failed_attempts=ledger.failed_attempts,
            dead_lettered=ledger.dead_lettered,
            skipped=ledger.skipped,
            commit_point=point,
            committed=self._committer.committed(partition),
            highest_settled=highest,
            gap=max(0, highest + 1 - point) if highest is not None and point is not None else 0,
            oldest_unsettled_seconds=round(ledger.oldest_age(now), 3),
            lag=max(0, end - point) if end is not None and point is not None else None,
            paused=paused,
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
