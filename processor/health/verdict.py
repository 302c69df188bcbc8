"""Whether a fleet is alive, ready and progressing, judged from its heartbeats alone.

Nobody is asked, no broker either: a fleet that rides out a broker's outage is alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from processor.health.heartbeat import Beat, ConsumerBeat, Place, consumers_file, read


class Check(StrEnum):
    """What can be asked of a fleet."""

    ALIVE = "alive"
    READY = "ready"
    PROGRESSING = "progressing"


class ConsumerHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One consumer, judged."""

    consumer: int
    pid: int | None
    state: str
    """the heartbeat's, or `due` between two lives, `done` after the last, `unknown` without a heartbeat"""
    alive: bool
    """its poller went round lately, or it is starting, or about to be replaced"""
    ready: bool
    """it has partitions, or is in the group and none is left for it"""
    progressing: bool
    """no handler goes on after its time and its grace"""
    polled_seconds_ago: float | None = None
    partitions: int = 0
    running: int = 0
    settled: int = 0
    reason: str | None = None
    """the first thing that is wrong"""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet, judged: each of its verdicts holds where it holds for every consumer."""

    alive: bool
    ready: bool
    progressing: bool
    reason: str | None
    consumers: list[ConsumerHealth]

    def holds(self, checks: Sequence[Check]) -> bool:
        """Whether all of these do."""
        return all(getattr(self, check.value) for check in checks)


class _Unread(NamedTuple):
    """A file that holds no heartbeat, and why."""

    reason: str


def look(path: Path, max_age: float) -> Health:
    """Judges what `path` and the files beside it hold.

    Args:
        path: the fleet's heartbeat file.
        max_age: seconds that a sign of life may be old.
    """
    beat, now = _read(path), monotonic()
    if isinstance(beat, _Unread):
        return _gone(beat.reason)
    if isinstance(beat, ConsumerBeat):
        return _together([judge_consumer(beat, now, max_age)])
    if not 0 <= now - beat.turned_at <= max_age:
        return _gone(f"the fleet's parent was last seen {_ago(now - beat.turned_at)}")
    health = _together(
        [judge_place(place, _read(consumers_file(path, place.consumer)), now, max_age) for place in beat.places]
    )
    if beat.stopping and health.ready:
        return msgspec.structs.replace(health, ready=False, reason=health.reason or "the fleet is stopping")
    return health


def judge_place(place: Place, beat: Beat | _Unread, now: float, max_age: float) -> ConsumerHealth:
    """A place in the fleet, and what the file of its consumer holds."""
    if place.done:
        return _plain(place, "done", alive=True, ready=True, progressing=True)
    if place.pid is None:  # what it died of is the parent's business, which has it replaced
        return _plain(place, "due", alive=True, progressing=True, reason="its process is about to be started")
    if isinstance(beat, ConsumerBeat) and beat.pid == place.pid:
        return judge_consumer(beat, now, max_age)
    if now - place.since <= max_age:
        return _plain(place, "starting", alive=True, progressing=True, reason="it is starting")
    reason = beat.reason if isinstance(beat, _Unread) else "its heartbeat is another process's"
    return _plain(place, "unknown", reason=reason)


def judge_consumer(beat: ConsumerBeat, now: float, max_age: float) -> ConsumerHealth:
    """One consumer by its own heartbeat."""
    written = now - beat.written_at
    # A consumer that starts may import its application for minutes: that its heart beats has to do.
    polled = now - (beat.polled_at if beat.polled_at is not None else beat.written_at)
    alive = 0 <= written <= max_age and polled <= max_age
    ready = alive and beat.state in ("assigned", "idle")
    over = beat.written_at - beat.stuck_at if beat.stuck_at is not None else 0.0
    reason = None
    if not alive:
        reason = f"its poller was last seen {_ago(polled)}" if polled > max_age else f"it last wrote {_ago(written)}"
    elif over > 0:
        reason = f"a handler has been past its time and its grace for {over:.0f} s"
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
        settled=beat.settled,
        reason=reason,
    )


def _read(path: Path) -> Beat | _Unread:
    try:
        return read(path)
    except FileNotFoundError:
        return _Unread(f"there is no {str(path)!r}: it has not started yet, or has ended")
    except OSError as error:
        return _Unread(f"{str(path)!r} cannot be read: {error.strerror or error}")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Unread(f"{str(path)!r} holds no heartbeat")


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
