"""`Finding`: the verdict on one partition, its reason, and what to do about it."""

from __future__ import annotations

from typing import Final

import msgspec

from processor.observe.consumer import ConsumerNow
from processor.observe.head_blocks import LONG_SECONDS, HeadBlock
from processor.observe.partition import PartitionNow
from processor.observe.sessions import BusySession, busy_session
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, duration, many, number

WORDS: Final = {
    Status.OK: "ok",
    Status.EARLY: "too early",
    Status.PAUSED: "paused",
    Status.BEHIND: "falling behind",
    Status.STALLED: "stalled",
    Status.STOPPED: "stopped",
    Status.REWOUND: "rewound",
}

BUSY: Final = 0.9
"""The least share of running workers with which a consumer counts as busy."""

ADVICE_BY_STATE: Final = {
    "running": "Check what its handler waits for: a lock, or a call without a timeout. --timeout ends an attempt, "
    "and after --max-attempts the task becomes a dead letter.",
    "parked": "It is retried automatically. Fix the cause of the error; a lower --max-attempts or --backoff-max "
    "dead-letters such tasks sooner.",
    "delayed": "It begins by itself at that time, which its producer has set. Other tasks go on, as "
    "far as --max-in-flight and --max-ahead reach.",
    "held": "It begins by itself once the handler's dependencies are available again, or as its concurrency and rate "
    "allow.",
    "joining": "A branch has succeeded and others of its group have not: look for them among the dead letters, and "
    "replay them. expires_in of a group limits how long it waits.",
    "paused": "It begins once it is resumed: `processor control list` shows by whom it was paused, and `processor "
    "control resume` ends that.",
    "waiting": "No worker is free for it: raise --workers if handlers wait for I/O, --processes if they compute.",
    "delivering": "Its result or dead letter is not acknowledged: check that the topic exists and accepts records of "
    "this size, and that its brokers are up.",
    "blocked": "A handler of the same session outlived its drain timeout and still runs. Keep --timeout below "
    "--drain-timeout.",
}


class Finding(msgspec.Struct, kw_only=True):
    """The verdict on one partition."""

    partition: PartitionNow
    status: Status
    why: str
    """one or two sentences; empty if all is well"""
    advice: str
    """what to do; empty if there is nothing to do"""

    @property
    def word(self) -> str:
        """The verdict in words."""
        return WORDS[self.status]


def findings(watch: Watch, now: float) -> list[Finding]:
    """Return the verdict on every partition at `now` (seconds since the epoch), the worst first."""
    found = [find(watch, partition, now) for partition in watch.ordered_partitions()]
    return sorted(found, key=lambda finding: -_severity(finding.status))


def _severity(status: Status) -> int:
    return 0 if status is Status.EARLY else int(status)


def find(watch: Watch, partition: PartitionNow, now: float) -> Finding:
    """Return the verdict on one partition at `now`, in seconds since the epoch."""
    status = partition.judge(now)
    why, advice = {
        Status.OK: _ok,
        Status.EARLY: _ok,
        Status.PAUSED: _stalled,
        Status.BEHIND: _behind,
        Status.STALLED: _stalled,
        Status.STOPPED: _stopped,
        Status.REWOUND: _rewound,
    }[status](watch, partition, now)
    return Finding(partition=partition, status=status, why=why, advice=advice)


def blocking_task(block: HeadBlock) -> str:
    """Return the session and offset of a task that a commit point waits for."""
    session = f"session {block.session_id}" if block.session_id else "a session that the log does not name"
    return f"{session}, offset {number(block.offset)}"


def _ok(_watch: Watch, partition: PartitionNow, _now: float) -> tuple[str, str]:
    if partition.waits_for:
        return _held(partition)
    block = partition.head_block
    if block is None or not block.gap or block.seconds < LONG_SECONDS:
        return "", ""
    return f"Its commit point has waited {duration(block.seconds)} for {blocking_task(block)}: {block.why}.", ""


def _held(partition: PartitionNow) -> tuple[str, str]:
    why = f"It was added to its topic, and waits until the group has committed {partition.waits_for}."
    return why, "It begins by itself. If it takes long, see what the commit points of those partitions wait for."


def _stalled(watch: Watch, partition: PartitionNow, now: float) -> tuple[str, str]:
    unmoved = partition.at - partition.moved_at
    why = f"Nothing was committed for {duration(unmoved)}, with a lag of {many(partition.lag_now or 0, 'record')}."
    if (consumer := partition.consumer) is not None and consumer.state == "cut off":
        why += f" Consumer {watch.label(consumer)} starts no tasks: {consumer.reason}."
        return why, "Check that the brokers are up and reachable from there, and that its machine is running."
    if partition.waits_for:
        held, advice = _held(partition)
        return f"{why} {held}", advice
    block = partition.head_block or partition.released_with
    if block is not None:
        waits = "waits" if partition.head_block else "waited, until its consumer released it,"
        why += f" Its commit point {waits} for {blocking_task(block)}, for {duration(block.seconds)}: {block.why}."
        return why, _advice_on(block)
    refused = next((f for f in reversed(watch.failures.recent) if f.outcome == "commit refused"), None)
    if refused is not None and now - refused.at <= 2 * partition.span:
        return f"{why} Commits are refused: {refused.error}.", "Check the brokers, and the rights on the group."
    return why, "Its consumer has fetched nothing from it: check whether it is full, or cannot reach the brokers."


def _advice_on(block: HeadBlock) -> str:
    advice = ADVICE_BY_STATE.get(block.state, "Look for its task events in the log.")
    if block.gap > 1:
        advice += f" Other sessions continue; what they settle of the {number(block.gap)} offsets from there on counts."
    return advice


def _behind(watch: Watch, partition: PartitionNow, _now: float) -> tuple[str, str]:
    done, produced = partition.rates
    why = f"{number(done)} records per second are committed, {number(produced)} produced; the lag is "
    why += f"{number(partition.lag_now)}."
    consumer = partition.consumer
    if (hot := _hot(consumer, partition)) is not None:
        # The two counts are not of the same instant.
        waiting = max(hot.waiting, partition.stats.waiting + partition.stats.set_aside)
        why += f" Session {hot.session_id} has {number(hot.waiting)} of the {number(waiting)} waiting tasks."
        if partition.stats.set_aside:
            why += f" {number(partition.stats.set_aside)} are set aside, so other sessions go on."
        return why, "A session runs one task at a time: make its handler faster, or spread its work over more keys."
    if (
        consumer is not None
        and consumer.stats is not None
        and consumer.stats.running >= BUSY * _workers(watch, consumer)
    ):
        return why, _advice_for_busy(consumer)
    return why, "Workers are free, so too few sessions have work: use more keys, or make the handler faster."


COMPUTES, WAITS = 0.8, 0.5
"""Processor cores that the process of a busy consumer uses. With at least the first number, its threads mostly wait for
the interpreter. With at most the second, its handlers mostly wait for something outside the process."""


def _advice_for_busy(consumer: ConsumerNow) -> str:
    cores = consumer.stats.used_cores if consumer.stats is not None else 0.0  # 0 in the logs of earlier versions
    used = f"All workers are busy, and their process uses {cores:.2g} of a processor core: "
    if 0 < consumer.workers < consumer.workers_most:
        advice = "All workers are busy, and more workers do not finish more tasks: raise --processes "
    elif cores >= COMPUTES:
        advice = f"{used}handlers compute, so raise --processes "
    elif 0 < cores <= WAITS:
        advice = f"{used}handlers wait, unless the machine has no idle core. Raise --workers, or --processes "
    else:
        advice = "All workers are busy: raise --workers if handlers wait for I/O, --processes if they compute "
    return f"{advice}(up to the number of partitions), or make the handler faster."


def _hot(consumer: ConsumerNow | None, partition: PartitionNow) -> BusySession | None:
    """The session that has at least half of the waiting tasks, if there is one."""
    if consumer is None or consumer.stats is None:
        return None
    for load in consumer.stats.busiest_sessions:
        is_here = (load.topic, load.partition) == (partition.stats.topic, partition.number)
        if is_here and load.waiting * 2 >= partition.stats.waiting + partition.stats.set_aside > 0:
            return busy_session(load, consumer.stats_at)
    return None


def _workers(watch: Watch, consumer: ConsumerNow) -> int:
    fleet = watch.fleets.get(consumer.source)
    return consumer.workers or (fleet.workers if fleet is not None else 0) or 1


def _stopped(watch: Watch, partition: PartitionNow, now: float) -> tuple[str, str]:
    why = f"No consumer has reported it for {duration(now - partition.at)}, since {clock(partition.at)}"
    why += f"; its lag was {many(partition.lag_now or 0, 'record')} then."
    consumer = partition.last_consumer
    assert consumer is not None  # a partition is known from the report of a consumer
    label = f"Consumer {watch.label(consumer)} (process {consumer.pid})"
    if consumer.has_ended:
        why += f" {label} owned it and {consumer.state}: {consumer.reason}."
        return why, "No other consumer took it over: find out from the fleet's log why none starts, or stays."
    if partition.consumer is None:
        return why, f"{label} released it, and no other took it over: check whether the group keeps rebalancing."
    if consumer.is_silent(now):
        return why, f"{label} has logged nothing since: check whether its process runs, and where its log goes."
    return why, f"{label} reports, but not this partition: its owner may be another, whose log is not here."


def _rewound(_watch: Watch, partition: PartitionNow, _now: float) -> tuple[str, str]:
    before, after = partition.rewound or (0, 0)
    why = f"The committed offset moved back from {number(before)} to {number(after)}: the tasks between run again."
    return why, "The group's offsets were reset, or the topic was recreated. If neither, two fleets share one group."
