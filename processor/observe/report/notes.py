"""`notes`: what is wrong with the fleet as a whole, in plain words, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from processor.observe.watch import Watch
from processor.observe.wording import clock, duration, many, number

LOOP: Final = 3
"""Restarts within `LOOP_SECONDS` that are called a loop: one may be chance, two bad luck."""

LOOP_SECONDS: Final = 300.0

MANY_REBALANCES: Final = 6
"""Rebalances a consumer within `LOOP_SECONDS`, its joining counted, from which on a group is called restless."""

DEAD_PART: Final = 0.01
"""The part of all settled tasks that may be dead letters before that is worth a note."""


def notes(watch: Watch, now: float) -> list[str]:
    """What to look at, at `now` in seconds since the epoch; the worst first."""
    return [
        *_missed(watch),
        *_restarts(watch, now),
        *_silence(watch, now),
        *_stuck(watch),
        *_restless(watch, now),
        *_losses(watch),
    ]


def _missed(watch: Watch) -> Iterator[str]:
    if watch.missed:
        yield (
            f"{many(watch.missed, 'offset')} were deleted before anybody read them: the topic's retention overtook the "
            "group, and their tasks never ran. Lengthen retention.ms or retention.bytes, and bring the lag down."
        )


def _restarts(watch: Watch, now: float) -> Iterator[str]:
    lately = [m for m in watch.moments.last if m.kind == "restart" and now - m.at <= LOOP_SECONDS]
    if len(lately) >= LOOP:
        last = lately[-1]
        yield (
            f"Consumers keep ending: {many(len(lately), 'restart')} in the last {duration(now - lately[0].at)}, the "
            f"last of {last.who} at {clock(last.at)}: {last.text}. Look at what the log says just before each."
        )


def _silence(watch: Watch, now: float) -> Iterator[str]:
    silent = [consumer for consumer in watch.living() if consumer.is_silent(now)]
    if silent:
        names = ", ".join(f"{watch.label(c)} since {clock(c.stats_at)}" for c in silent[:5])
        yield (
            f"{many(len(silent), 'consumer')} should have spoken and did not: {names}. It hangs, was killed together "
            "with its parent, or its log does not come here any more."
        )


def _stuck(watch: Watch) -> Iterator[str]:
    stuck = [group for group in watch.failures.groups if "stuck" in group.outcomes]
    if stuck:
        example = stuck[0].example
        yield (
            f"{many(sum(g.outcomes['stuck'] for g in stuck), 'handler')} could not be stopped, the last of session "
            f"{example.session_id}: {example.error}. A call that blocks in C needs a timeout of its own."
        )


def _restless(watch: Watch, now: float) -> Iterator[str]:
    lately = [m for m in watch.moments.last if m.kind == "rebalance" and now - m.at <= LOOP_SECONDS]
    consumers = sum(now - consumer.at <= LOOP_SECONDS for consumer in watch.consumers.values())
    if len(lately) > MANY_REBALANCES * max(consumers, 1):
        yield (
            f"The group is restless: {many(len(lately), 'rebalance')} in the last {duration(now - lately[0].at)}. "
            "Consumers come and go, or are so long without a poll that the group gives them up."
        )


def _losses(watch: Watch) -> Iterator[str]:
    counts = watch.load.counts
    settled = counts.succeeded + counts.dead_lettered
    if settled and counts.dead_lettered > DEAD_PART * settled:
        part = counts.dead_lettered / settled
        groups = [group for group in watch.failures.groups if "dead-lettered" in group.outcomes]
        most = f", most by {groups[0].example.told}" if groups else ""
        yield (
            f"{part:.0%} of all tasks became dead letters ({number(counts.dead_lettered)} of {number(settled)}){most}. "
            "They wait in the dead-letter topic, with their errors in their headers."
        )
