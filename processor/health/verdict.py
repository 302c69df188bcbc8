"""Whether a fleet is alive, ready and progressing, judged from its heartbeats alone.

The verdict needs no request to a broker: a fleet that waits for a broker is alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from processor.health.heartbeat import ConsumerHeartbeat, Heartbeat, Place, consumer_file, read


class Check(StrEnum):
    """What a probe can check."""

    ALIVE = "alive"
    READY = "ready"
    PROGRESSING = "progressing"


class ConsumerHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The verdict on one consumer."""

    consumer: int
    pid: int | None
    state: str
    """of its heartbeat; `restarting` between two processes, `done` after the last, `unknown` without a heartbeat"""
    alive: bool
    """its poller completed a loop recently, or it is starting or restarting"""
    ready: bool
    """it has partitions, or it is in the group and none is left for it, or the fleet is ready without it"""
    progressing: bool
    """no handler runs past its time limit and the grace period"""
    polled_seconds_ago: float | None = None
    partitions: int = 0
    running: int = 0
    workers: int = 0
    """worker threads, or coroutines that may run at once"""
    settled: int = 0
    suspended: list[str] = []
    """suspended handlers, whose tasks wait for the end of an outage; this does not affect the health of the consumer"""
    pauses: int = 0
    """pauses in force"""
    paused_since: int | None = None
    """when the oldest of them was ordered, in milliseconds since the epoch; null without one"""
    reason: str | None = None
    """the first problem"""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a fleet. A check holds if it holds for every consumer."""

    alive: bool
    ready: bool
    progressing: bool
    reason: str | None
    consumers: list[ConsumerHealth]

    def holds(self, checks: Sequence[Check]) -> bool:
        """Return whether all of `checks` hold."""
        return all(getattr(self, check.value) for check in checks)


class _Unread(NamedTuple):
    """The reason why no heartbeat could be read from a file."""

    reason: str


def judge_fleet(path: Path, max_age: float) -> Health:
    """Return the verdict on the heartbeats in `path` and the files beside it.

    Args:
        path: the fleet's heartbeat file.
        max_age: maximum age of a heartbeat and of a completed loop, in seconds.
    """
    beat, now = _read(path), monotonic()
    if isinstance(beat, _Unread):
        return _gone(beat.reason)
    if isinstance(beat, ConsumerHeartbeat):
        return _together([judge_consumer(beat, now, max_age)])
    if not 0 <= now - beat.last_loop_at <= max_age:
        return _gone(f"the fleet's parent last completed a loop {_ago(now - beat.last_loop_at)}")
    health = _together([_judge_listed(place, path, now, max_age) for place in beat.places])
    if beat.stopping and health.ready:
        return msgspec.structs.replace(health, ready=False, reason=health.reason or "the fleet is stopping")
    return health


def _judge_listed(place: Place, path: Path, now: float, max_age: float) -> ConsumerHealth:
    health = judge_place(place, _read(consumer_file(path, place.consumer)), now, max_age)
    if place.extra and health.alive and health.progressing and not health.ready:  # the fleet is ready without it
        return msgspec.structs.replace(health, ready=True, reason=None)
    return health


def judge_place(place: Place, beat: Heartbeat | _Unread, now: float, max_age: float) -> ConsumerHealth:
    """Return the verdict on a place in the fleet, by the heartbeat file of its consumer."""
    if place.done:
        return _plain(place, "done", alive=True, ready=True, progressing=True)
    if place.pid is None:  # the parent knows why it exited, and replaces it
        return _plain(place, "restarting", alive=True, progressing=True, reason="its process is about to be started")
    if isinstance(beat, ConsumerHeartbeat) and beat.pid == place.pid:
        return judge_consumer(beat, now, max_age)
    if now - place.since <= max_age:
        return _plain(place, "starting", alive=True, progressing=True, reason="it is starting")
    reason = beat.reason if isinstance(beat, _Unread) else "its heartbeat is that of another process"
    return _plain(place, "unknown", reason=reason)


def judge_consumer(beat: ConsumerHeartbeat, now: float, max_age: float) -> ConsumerHealth:
    """Return the verdict on a consumer by its own heartbeat."""
    written = now - beat.written_at
    # A consumer may import its application for minutes before it polls: until then a fresh heartbeat is enough.
    polled = now - (beat.polled_at if beat.polled_at is not None else beat.written_at)
    alive = 0 <= written <= max_age and polled <= max_age
    ready = alive and beat.state in ("assigned", "idle")
    over = beat.written_at - beat.stuck_at if beat.stuck_at is not None else 0.0
    reason = None
    if polled > max_age:
        reason = f"its poller last completed a loop {_ago(polled)}"
    elif not alive:
        reason = f"it last wrote {_ago(written)}"
    elif over > 0:
        reason = f"a handler has exceeded its time limit and the grace period by {over:.0f} s"
    elif not ready:
        reason = f"it is {beat.state}"
    return ConsumerHealth(
        consumer=beat.consumer,
        pid=beat.pid,
        state=beat.state,
        alive=alive,
        ready=ready,
        progressing=alive and over <= 0,
        polled_seconds_ago=round(polled, 3) if beat.polled_at is not None else None,
        partitions=beat.partitions,
        running=beat.running,
        workers=beat.workers,
        settled=beat.settled,
        suspended=beat.suspended,
        pauses=beat.pauses,
        paused_since=beat.paused_since,
        reason=reason,
    )


def _read(path: Path) -> Heartbeat | _Unread:
    try:
        return read(path)
    except FileNotFoundError:
        return _Unread(f"{str(path)!r} does not exist: it has not started yet, or has ended")
    except OSError as error:
        return _Unread(f"{str(path)!r} cannot be read: {error.strerror or error}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Unread(f"{str(path)!r} does not hold a heartbeat")


def _together(consumers: list[ConsumerHealth]) -> Health:
    reasons = [f"consumer {each.consumer}: {each.reason}" for each in consumers if each.reason is not None]
    return Health(
        alive=all(each.alive for each in consumers),
        ready=all(each.ready for each in consumers),
        progressing=all(each.progressing for each in consumers),
        reason="; ".join(reasons) or None,
        consumers=consumers,
    )


def _gone(reason: str) -> Health:
    return Health(alive=False, ready=False, progressing=False, reason=reason, consumers=[])


def _plain(
    place: Place,
    state: str,
    *,
    alive: bool = False,
    ready: bool = False,
    progressing: bool = False,
    reason: str | None = None,
) -> ConsumerHealth:
    return ConsumerHealth(
        consumer=place.consumer,
        pid=place.pid,
        state=state,
        alive=alive,
        ready=ready,
        progressing=progressing,
        reason=reason,
    )


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds >= 0 else "before the machine was last started"
