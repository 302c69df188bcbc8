"""`notes`: problems of the fleet as a whole, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from processor.observe.head_blocks import error_line
from processor.observe.pauses import pauses_of
from processor.observe.sessions import reading_cost
from processor.observe.watch import Watch
from processor.observe.wording import clock, duration, many, number, plain
from processor.telemetry.events import HandlerLoad

LOOP: Final = 3
"""The fewest restarts within `LOOP_SECONDS` that are reported as a loop."""

LOOP_SECONDS: Final = 300.0

MANY_REBALANCES: Final = 6
"""Rebalances per consumer within `LOOP_SECONDS`, its first assignment included, above which they are reported."""

JOIN_SECONDS: Final = 600.0
"""Seconds that a group of tasks may wait for a branch before it is reported."""

READY_SECONDS: Final = 60.0
"""Seconds that a task that may run may wait for a worker before it is reported."""

DEAD_LETTER_SHARE: Final = 0.01
"""Share of dead letters among settled tasks above which it is reported."""


def notes(watch: Watch, now: float) -> list[str]:
    """Return the problems at `now` (seconds since the epoch), the worst first."""
    return [
        *_missed(watch),
        *_restarts(watch, now),
        *_silence(watch, now),
        *_stuck(watch),
        *_suspended(watch),
        *_paused(watch, now),
        *_frequent_rebalances(watch, now),
        *_ready_tasks(watch),
        *_set_aside(watch),
        *_open_joins(watch),
        *_dead_letters(watch),
    ]


def _missed(watch: Watch) -> Iterator[str]:
    if watch.missed_offsets:
        yield (
            f"Retention deleted {many(watch.missed_offsets, 'offset')} before they were read: their tasks never ran. "
            "Raise the topic's retention.ms or retention.bytes, and bring the lag down."
        )


def _restarts(watch: Watch, now: float) -> Iterator[str]:
    lately = [entry for entry in watch.timeline.recent if entry.kind == "restart" and now - entry.at <= LOOP_SECONDS]
    if len(lately) >= LOOP:
        last = lately[-1]
        yield (
            f"Consumers keep exiting: {many(len(lately), 'restart')} in the last {duration(now - lately[0].at)}, most "
            f"recently {last.subject} at {clock(last.at)}: {last.text}. Check the log just before each exit."
        )


def _silence(watch: Watch, now: float) -> Iterator[str]:
    silent = [consumer for consumer in watch.living() if consumer.is_silent(now)]
    if silent:
        names = ", ".join(f"{watch.label(c)} since {clock(c.stats_at)}" for c in silent[:5])
        yield (
            f"{many(len(silent), 'consumer')} stopped reporting: {names}. Either it hangs, or it was killed together "
            "with its parent, or its log does not arrive here any more."
        )


def _stuck(watch: Watch) -> Iterator[str]:
    stuck = [group for group in watch.failures.groups if "stuck" in group.outcomes]
    if stuck:
        example = stuck[0].example
        yield (
            f"{many(sum(g.outcomes['stuck'] for g in stuck), 'handler')} could not be interrupted, most recently of "
            f"session {example.session_id}: {example.error}. A call that blocks in C needs a timeout of its own."
        )


def _suspended(watch: Watch) -> Iterator[str]:
    suspended: dict[str, list[HandlerLoad]] = {}
    for consumer in watch.living():
        for load in consumer.suspended:
            suspended.setdefault(plain(load.handler), []).append(load)
    for name, loads in suspended.items():
        longest = max(loads, key=lambda load: load.suspended_seconds or 0.0)
        yield (
            f"The handler {name} is suspended in {many(len(loads), 'consumer')}, for "
            f"{duration(longest.suspended_seconds or 0.0)}: {error_line(longest.error_type, longest.error)}. "
            f"{many(sum(load.waiting for load in loads), 'session')} of it wait until what it needs is back."
        )


def _paused(watch: Watch, now: float) -> Iterator[str]:
    for pause in pauses_of(watch.living()):
        yield f"Paused: {pause.what}, {pause.sentence(now)}. `processor control resume` ends it."


def _frequent_rebalances(watch: Watch, now: float) -> Iterator[str]:
    lately = [e for e in watch.timeline.recent if e.kind == "rebalance" and now - e.at <= LOOP_SECONDS]
    consumers = sum(now - consumer.at <= LOOP_SECONDS for consumer in watch.consumers.values())
    if len(lately) > MANY_REBALANCES * max(consumers, 1):
        yield (
            f"Frequent rebalances: {many(len(lately), 'rebalance')} in the last {duration(now - lately[0].at)}. "
            "Members join and leave, or miss polls and are evicted."
        )


def _ready_tasks(watch: Watch) -> Iterator[str]:
    waiting = [partition for partition in watch.ordered_partitions() if partition.consumer is not None]
    longest = max(waiting, key=lambda partition: partition.stats.oldest_ready_seconds, default=None)
    if longest is not None and longest.stats.oldest_ready_seconds >= READY_SECONDS:
        yield (
            f"Too few workers: in {longest.name}, a task that may run has waited "
            f"{duration(longest.stats.oldest_ready_seconds)} for one. Raise --workers if handlers wait for I/O, "
            "--processes if they compute."
        )


def _set_aside(watch: Watch) -> Iterator[str]:
    owned = [partition for partition in watch.ordered_partitions() if partition.consumer is not None]
    tasks = sum(partition.stats.set_aside for partition in owned)
    if tasks:
        cost = reading_cost(watch.load.counts)
        most = max(owned, key=lambda partition: partition.stats.set_aside)
        sessions = sum(partition.stats.set_aside_sessions for partition in owned)
        yield (
            f"{many(sessions, 'session')} with more tasks than can run: {many(tasks, 'task')} set aside, most of them "
            f"in {most.name}. {f'So far {cost}. ' if cost is not None else ''}Other sessions go on; spread this work "
            "over more keys, or make its handler faster."
        )


def _open_joins(watch: Watch) -> Iterator[str]:
    owned = [partition for partition in watch.ordered_partitions() if partition.consumer is not None]
    heads = [(p.stats.head, p.name) for p in owned if p.stats.head is not None and p.stats.head.state == "joining"]
    if not heads:
        return
    head, place = max(heads, key=lambda each: each[0].state_seconds)
    if head.state_seconds >= JOIN_SECONDS:
        waiting = sum(consumer.stats.open_joins for consumer in watch.living() if consumer.stats is not None)
        yield (
            f"{many(waiting, 'group')} waiting for some of their branches, one in {place} for "
            f"{duration(head.state_seconds)}: {plain(head.error or head.session_id)}. Arrivals that wait hold the "
            "committed offset: look for the other branches among the dead letters, and replay them."
        )


def _dead_letters(watch: Watch) -> Iterator[str]:
    counts = watch.load.counts
    settled = counts.succeeded + counts.dead_lettered
    if settled and counts.dead_lettered > DEAD_LETTER_SHARE * settled:
        share = counts.dead_lettered / settled
        groups = [group for group in watch.failures.groups if "dead-lettered" in group.outcomes]
        most = f", most with {groups[0].example.summary}" if groups else ""
        tasks = f"{number(counts.dead_lettered)} of {number(settled)}"
        if restarts := watch.timeline.counts["restart"]:  # a share of all tasks is then not known
            lost = f"{many(restarts, 'consumer')} died: the statistics lack the last seconds of each."
            yield (
                f"{tasks} tasks in the statistics were dead-lettered{most}. {lost} "
                "The dead letters are in their topic, with the errors in their headers."
            )
        else:
            yield (
                f"{share:.0%} of all tasks were dead-lettered ({tasks}){most}. "
                "They are in the dead-letter topic, with their errors in their headers."
            )
