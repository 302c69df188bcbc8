"""`Finding`: the verdict on one partition with its reason, and what to do about it, in plain words."""

from __future__ import annotations

from typing import Final

import msgspec

from processor.observe.consumer import ConsumerNow
from processor.observe.holds import LONG_SECONDS, Hold
from processor.observe.partition import PartitionNow
from processor.observe.sessions import Busy, busy_of
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, duration, many, number

WORDS: Final = {
    Status.OK: "ok",
    Status.EARLY: "too early to say",
    Status.BEHIND: "falling behind",
    Status.STALLED: "stalled",
    Status.STOPPED: "stopped",
    Status.REWOUND: "rewound",
}

BUSY: Final = 0.9
"""The part of a consumer's workers that run at which they are called busy."""

ADVICE_BY_STATE: Final = {
    "running": "Look at what its handler waits for: a lock, or a call without a timeout. --timeout ends an attempt, "
    "and after --max-attempts the task becomes a dead letter.",
    "parked": "It is tried again by itself. Mend what makes it fail; lower --max-attempts or --backoff-max to give "
    "such tasks up sooner.",
    "waiting": "No worker is free for it: give the consumer more --workers where handlers wait, the fleet more "
    "--processes where they compute.",
    "delivering": "Its dead letter or result is not acknowledged: see that the topic exists and takes records of this "
    "size, and that its brokers are up.",
    "blocked": "A handler of the same session outlived its drain timeout and still runs. Keep --timeout below "
    "--drain-timeout.",
}


class Finding(msgspec.Struct, kw_only=True):
    """One partition's verdict."""

    partition: PartitionNow
    status: Status
    why: str
    """one or two sentences; empty where all is well"""
    advice: str
    """what to do; empty where there is nothing to do"""

    @property
    def word(self) -> str:
        """The verdict."""
        return WORDS[self.status]


def findings(watch: Watch, now: float) -> list[Finding]:
    """Of every partition at `now` (seconds since the epoch), the worst first."""
    found = [find(watch, partition, now) for partition in watch.ordered_partitions()]
    return sorted(found, key=lambda finding: -_severity(finding.status))


def _severity(status: Status) -> int:
    return 0 if status is Status.EARLY else int(status)


def find(watch: Watch, partition: PartitionNow, now: float) -> Finding:
    """The verdict on one partition at `now`, in seconds since the epoch."""
    status = partition.judge(now)
    why, advice = {
        Status.OK: _ok,
        Status.EARLY: _ok,
        Status.BEHIND: _behind,
        Status.STALLED: _stalled,
        Status.STOPPED: _stopped,
        Status.REWOUND: _rewound,
    }[status](watch, partition, now)
    return Finding(partition=partition, status=status, why=why, advice=advice)


def holder(hold: Hold) -> str:
    """Who holds a partition, and where."""
    session = f"session {hold.session_id}" if hold.session_id else "a session that the log does not name"
    return f"{session}, offset {number(hold.offset)}"


def _ok(_watch: Watch, partition: PartitionNow, _now: float) -> tuple[str, str]:
    hold = partition.hold
    if hold is None or not hold.gap or hold.seconds < LONG_SECONDS:
        return "", ""
    return f"Its commit point waits {duration(hold.seconds)} for {holder(hold)}: {hold.why}.", ""


def _stalled(watch: Watch, partition: PartitionNow, now: float) -> tuple[str, str]:
    stands = partition.at - partition.moved_at
    why = f"Nothing was committed for {duration(stands)}, and {many(partition.lag_now or 0, 'record')} wait."
    if (consumer := partition.consumer) is not None and consumer.state == "cut off":
        why += f" Consumer {watch.label(consumer)} begins nothing: {consumer.reason}."
        return why, "See that the brokers are up, that they can be reached from there, and that its machine runs."
    hold = partition.hold or partition.left_with
    if hold is not None:
        waits = "waits" if partition.hold else "waited, until its consumer left it,"
        why += f" It {waits} for {holder(hold)}, for {duration(hold.seconds)}: {hold.why}."
        return why, _advice_on(hold)
    refused = next((f for f in reversed(watch.failures.recent) if f.what == "commit refused"), None)
    if refused is not None and now - refused.at <= 2 * partition.span:
        return f"{why} Commits are refused: {refused.error}.", "See that the brokers are up and the group is let in."
    return why, "Its consumer has taken nothing from it: see whether that consumer is full, or its brokers are away."


def _advice_on(hold: Hold) -> str:
    advice = ADVICE_BY_STATE.get(hold.state, "See its task events in the log.")
    if hold.gap > 1:
        advice += (
            f" The other sessions go on: of the {number(hold.gap)} offsets from there on, what is done stays done."
        )
    return advice


def _behind(watch: Watch, partition: PartitionNow, _now: float) -> tuple[str, str]:
    done, produced = partition.rates
    why = f"{number(done)} records a second are committed and {number(produced)} produced; the lag is "
    why += f"{number(partition.lag_now)}."
    consumer = partition.consumer
    if (hot := _hot(consumer, partition)) is not None:
        # The two were counted a moment apart.
        waiting = max(hot.waiting, partition.told.waiting)
        why += f" Session {hot.session_id} has {number(hot.waiting)} of the {number(waiting)} waiting."
        return why, "One session runs one task at a time: make its handler faster, or spread its work over more keys."
    if (
        consumer is not None
        and consumer.stats is not None
        and consumer.stats.running >= BUSY * _workers(watch, consumer)
    ):
        advice = "Every worker is busy: more --workers where handlers wait, more --processes where they compute, "
        return why, f"{advice}up to one for each partition; or a faster handler."
    return why, "Workers are free, so too few sessions have work: more keys, or a faster handler for those there are."


def _hot(consumer: ConsumerNow | None, partition: PartitionNow) -> Busy | None:
    """The session that has at least half of what waits, if one has."""
    if consumer is None or consumer.stats is None:
        return None
    for told in consumer.stats.busiest_sessions:
        is_here = (told.topic, told.partition) == (partition.told.topic, partition.number)
        if is_here and told.waiting * 2 >= partition.told.waiting > 0:
            return busy_of(told, consumer.stats_at)
    return None


def _workers(watch: Watch, consumer: ConsumerNow) -> int:
    fleet = watch.fleets.get(consumer.source)
    return consumer.workers or (fleet.workers if fleet is not None else 0) or 1


def _stopped(watch: Watch, partition: PartitionNow, now: float) -> tuple[str, str]:
    why = f"Nobody has reported it for {duration(now - partition.at)}, since {clock(partition.at)}"
    why += f"; {many(partition.lag_now or 0, 'record')} waited then."
    consumer = partition.last_consumer
    assert consumer is not None  # a partition is known from what a consumer said of it
    label = f"Consumer {watch.label(consumer)} (process {consumer.pid})"
    if consumer.has_ended:
        why += f" {label} had it, and {consumer.state}: {consumer.reason}."
        return why, "No other one took it: see why no consumer starts or stays, and what the fleet's log says of it."
    if partition.consumer is None:
        return why, f"{label} gave it back, and no other one took it: see whether the group goes on rebalancing."
    if consumer.is_silent(now):
        return why, f"{label} says nothing at all: see whether it lives, or where its log goes."
    return why, f"{label} speaks, but not of this partition: it may be another's, whose log is not here."


def _rewound(_watch: Watch, partition: PartitionNow, _now: float) -> tuple[str, str]:
    before, after = partition.rewound or (0, 0)
    why = f"The committed offset went back from {number(before)} to {number(after)}: what is between runs again."
    return (
        why,
        "Somebody reset the group's offsets, or made the topic anew. If nobody did, two fleets share a group.",
    )
