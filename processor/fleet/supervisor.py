"""The parent of `processor run`: it starts consumers as processes, replaces those that end, and stops them in order.

One thread, one loop, no Kafka client. What follows a consumer's end is decided in `succession`.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import Final, NamedTuple

from processor.boot.signals import Signals, signal_name
from processor.fleet.channel import Begin, Drain, StopNow
from processor.fleet.child import Life, Slot
from processor.fleet.code_changes import CodeChanges
from processor.fleet.restarts import (
    DRAIN_TIMED_OUT,
    AwaitChange,
    Backoff,
    Death,
    Finish,
    GiveUp,
    Replace,
    combined,
    what_follows,
)
from processor.health.heart import BEAT_SECONDS, first_beating
from processor.health.heartbeat import FleetBeat
from processor.settings import Settings
from processor.telemetry import logs
from processor.telemetry.events import (
    Emit,
    FleetConsumerExited,
    FleetConsumerKilled,
    FleetReloading,
    FleetStarted,
    FleetStopped,
    FleetStopping,
)
from processor.telemetry.prometheus import MetricsSnapshot, serving
from processor.telemetry.totals import Repeats, Totals
from processor.version import installed_version


def reap_strays(own: Set[int]) -> None:
    """Takes note of the end of adopted processes, which stay zombies otherwise; those in `own` are left alone.

    The first process of a container becomes the parent of whatever a handler started and did not wait for.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:  # one's own comes first again until its owner has waited for it
            return
        os.waitpid(ended.si_pid, 0)


def unique_name() -> str:
    """Return a name for this start of a fleet that no other has, in the characters of a topic's name."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


MEMBER: Final = (sys.executable, "-P", "-m", "processor.fleet")
"""`-P`: a file of the user's that is named like a module of ours or of Python's must not be taken for it."""

ONE_SIGNAL: Final = 0.03
"""Seconds within which signals count as one: timeout(1) and process runners send each signal twice."""

_LONGEST_WAIT: Final = 60.0


class Timing(NamedTuple):
    """How long the parent of a fleet waits for its consumers."""

    backoff: Backoff = Backoff()
    """The delays before a consumer that exited unexpectedly is replaced."""
    kill_after_drain: float = 10.0
    """Seconds beyond its drain timeout after which a consumer that was ordered to drain is killed."""
    kill_after_stop_now: float = 5.0
    """Seconds after which a consumer that was ordered to end at once is killed."""


class Supervisor:
    """Runs a fleet to its end.

    Args:
        settings: of every consumer.
        app: MODULE:ATTRIBUTE; only the consumers load it.
        emit: where the fleet's events go.
        say: takes the one sentence about a failure that the user has to mend.
        command: the program of a consumer; the number of its end of the channel is added.
        timing: how long consumers are waited for.
    """

    def __init__(
        self,
        settings: Settings,
        app: str,
        emit: Emit,
        *,
        say: Callable[[str], None] = logs.say,
        command: Sequence[str] = MEMBER,
        timing: Timing = Timing(),  # noqa: B008 — immutable
    ) -> None:
        self._settings = settings
        self._app = app
        self._name = unique_name()
        self._emit = emit
        self._say = say
        self._command = command
        self._backoff = timing.backoff
        self._kill_after_drain = settings.drain_timeout + timing.kill_after_drain
        self._kill_after_stop_now = timing.kill_after_stop_now
        self._slots = [Slot(index) for index in range(settings.processes)]
        self._selector = selectors.DefaultSelector()
        self._changes = CodeChanges(Path(), say) if settings.reload else None
        self._complaints: set[str] = set()
        """What was said of the code as it is now: its consumers all fail alike, and one line is enough."""
        self._totals = Totals()
        self._repeats = Repeats()
        self._told_started = False
        """A fleet that fails before has one line to say: what is wrong."""
        self._was_up = False
        self._given_up: GiveUp | None = None
        self._orders = 0
        """How often it was told to stop: once is a drain, twice an end at once."""
        self._last_signal = -ONE_SIGNAL
        self._exit_codes: list[int] = []
        self._began = self._turned_at = time.monotonic()
        self._longest_wait = _LONGEST_WAIT if settings.heartbeat_file is None else BEAT_SECONDS
        self._next_stats = self._began + settings.stats_interval

    def run(self) -> int:
        """Starts the fleet and returns when its last consumer has ended, with the exit code. The main thread only.

        Raises:
            LoadError: the heartbeat file cannot be written, the current folder cannot be watched for changes, or
                prometheus-client or watchfiles is missing.
            SettingsError: nobody can listen at the metrics' port.
        """
        with (
            Signals(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD) as signals,
            self._selector,
            self._changes or contextlib.nullcontext(),
            self._beating(),
            self._serving(),
        ):
            self._selector.register(signals, selectors.EVENT_READ)
            if self._changes is not None:
                self._selector.register(self._changes, selectors.EVENT_READ)
            try:
                self._loop(signals)
            finally:
                self._kill(self._lives())
            signals.keep_stops_ignored()
        return self._ended()

    def _beating(self) -> contextlib.AbstractContextManager[None]:
        settings = self._settings
        return first_beating(settings.heartbeat_file, self._beat, self._emit, consumers=settings.processes)

    def _serving(self) -> contextlib.AbstractContextManager[None]:
        settings = self._settings
        return serving(settings.metrics_port, settings.metrics_host, settings.group, self._snapshot)

    def _snapshot(self) -> MetricsSnapshot:
        lives = {slot.index: slot.life for slot in self._slots}
        told = {index: life.stats if life is not None else None for index, life in lives.items()}
        return MetricsSnapshot(
            self._totals.stats([stats for index, stats in told.items() if lives[index] is not None]),
            {index: stats for index, stats in told.items() if stats is not None},
            [partition for life in lives.values() if life is not None for partition in life.partitions],
        )

    def _beat(self) -> FleetBeat:
        return FleetBeat(
            pid=os.getpid(),
            written_at=time.monotonic(),
            turned_at=self._turned_at,
            stopping=self._is_stopping,
            places=[slot.place() for slot in self._slots],
        )

    def _loop(self, signals: Signals) -> None:
        while True:
            self._turned_at = time.monotonic()
            for number in signals.arrived():  # first, so that a stop at the start starts nothing
                self._obey(number)
            self._reload_what_changed()
            self._bury_the_dead()
            self._kill_the_overdue()
            self._tell_stats()
            self._begin_lives()
            if not any(slot.is_in_use for slot in self._slots):
                return
            for key, _ in self._selector.select(self._wait()):
                if isinstance(key.fileobj, Life):
                    self._hear(key.fileobj)

    def _begin_lives(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                self._begin_life(slot)

    def _begin_life(self, slot: Slot) -> None:
        try:
            slot.life = Life(self._command, Begin(self._settings, self._app, slot.index, self._name))
        except OSError as error:
            reason = f"a consumer's process cannot be started: {error.strerror or error}"
            self._decide(slot, Death(exit_code=1, lived=0.0, joined=False, failure=reason), pid=0)
        else:
            self._selector.register(slot.life, selectors.EVENT_READ)

    def _wait(self) -> float:
        moments = [moment for slot in self._slots for moment in (slot.due, slot.kill_at) if moment is not None]
        soonest = min([*moments, self._next_stats])
        return min(max(soonest - time.monotonic(), 0.0), self._longest_wait)

    def _hear(self, life: Life) -> None:
        if not life.hear():  # all that is left to come is its end, and SIGCHLD tells of that
            self._forget(life)
        self._was_up = self._was_up or life.joined
        if life.started and not self._told_started:
            self._told_started = True
            self._tell_started()
            self._emit(self._totals.stats([None] * self._settings.processes))

    def _forget(self, life: Life) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(life)

    def _obey(self, number: int) -> None:
        if number == signal.SIGCHLD:
            return
        now = time.monotonic()
        if now - self._last_signal < ONE_SIGNAL:
            return
        self._last_signal = now
        self._orders += 1
        if self._orders == 1:
            self._drain(signal_name(number))
        elif self._orders == 2:
            self._stop_now(signal_name(number))
        else:
            self._kill(self._lives())

    @property
    def _is_stopping(self) -> bool:
        return self._orders > 0

    def _drain(self, reason: str) -> None:
        if self._told_started:
            self._emit(FleetStopping(reason=reason))
        self._order(Drain(reason), self._kill_after_drain)

    def _stop_now(self, reason: str) -> None:
        self._order(StopNow(reason), self._kill_after_stop_now)

    def _order(self, order: Drain | StopNow, patience: float) -> None:
        for slot in self._slots:
            slot.due, slot.awaits_change = None, False
            if slot.life is not None:
                self._end_life(slot, slot.life, order, patience)

    def _end_life(self, slot: Slot, life: Life, order: Drain | StopNow, patience: float) -> None:
        life.tell(order)
        slot.kill_at = min(time.monotonic() + patience, slot.kill_at or math.inf)

    def _reload_what_changed(self) -> None:
        """Have every consumer drain and leave, and another begin in its place with the code as it is then.

        A change during a drain needs nothing more: the consumer that follows has not loaded the code yet.
        """
        files = self._changes.arrived() if self._changes is not None else []
        if not files or self._is_stopping:
            return
        if self._told_started:
            self._emit(FleetReloading(files=files))
        self._complaints.clear()
        for slot in self._slots:
            if slot.life is None:
                slot.due = time.monotonic() if slot.is_in_use else None
                slot.awaits_change = False
            elif not slot.is_reloading:
                slot.is_reloading = True
                self._end_life(slot, slot.life, Drain("its code has changed"), self._kill_after_drain)

    def _lives(self) -> list[Life]:
        return [slot.life for slot in self._slots if slot.life is not None]

    def _kill(self, lives: Iterable[Life]) -> None:
        for life in lives:
            life.kill()

    def _kill_the_overdue(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.life is not None and slot.kill_at is not None and slot.kill_at <= now:
                slot.kill_at = None
                slot.life.kill()
                self._emit(FleetConsumerKilled(consumer=slot.index, consumer_pid=slot.life.pid))

    def _bury_the_dead(self) -> None:
        for slot in self._slots:
            if slot.life is not None and (death := slot.life.death()) is not None:
                life, slot.life, slot.kill_at = slot.life, None, None
                self._hear(life)
                self._forget(life)
                life.close()
                self._follow(slot, life, death)
        if os.getpid() == 1:
            reap_strays({life.pid for life in self._lives()})

    def _follow(self, slot: Slot, life: Life, death: Death) -> None:
        self._totals.bury(life.stats)
        self._totals.forced_stops += life.was_killed or death.exit_code == DRAIN_TIMED_OUT
        if self._is_stopping:
            self._exit_codes.append(DRAIN_TIMED_OUT if life.was_killed else death.exit_code)
        elif slot.is_reloading:
            slot.is_reloading = False
            slot.due, slot.delay = time.monotonic(), None
        else:
            self._decide(slot, death, life.pid)

    def _decide(self, slot: Slot, death: Death, pid: int) -> None:
        match what_follows(
            death,
            fleet_was_up=self._was_up,
            last_delay=slot.delay,
            backoff=self._backoff,
            reload=self._changes is not None,
        ):
            case Finish():
                return
            case AwaitChange(reason):
                self._await_change(slot, reason)
            case GiveUp() as given_up:
                self._give_up(given_up)
            case Replace(delay):
                self._replace(slot, death, pid, delay)

    def _replace(self, slot: Slot, death: Death, pid: int, delay: float) -> None:
        slot.due = time.monotonic() + delay
        slot.delay = delay or slot.delay or 0.0
        self._totals.restarts += 1
        self._emit(
            FleetConsumerExited(
                consumer=slot.index,
                consumer_pid=pid,
                exit_code=death.exit_code,
                restart_in_seconds=delay,
                reason=death.reason,
            )
        )

    def _await_change(self, slot: Slot, reason: str) -> None:
        slot.awaits_change = True
        if reason not in self._complaints:
            self._complaints.add(reason)
            self._say(f"{reason}; waiting for a Python file to change")

    def _give_up(self, given_up: GiveUp) -> None:
        self._given_up = given_up
        self._orders = 1
        self._say(given_up.reason)
        self._drain(given_up.reason)

    def _ended(self) -> int:
        exit_code = self._given_up.exit_code if self._given_up else combined(self._exit_codes)
        if self._told_started:
            uptime = time.monotonic() - self._began
            self._emit(self._totals.stats([]))
            self._emit(
                FleetStopped(exit_code=exit_code, uptime_seconds=round(uptime, 3), restarts=self._totals.restarts)
            )
        return exit_code

    def _tell_started(self) -> None:
        self._emit(
            FleetStarted(
                app=self._app,
                topics=list(self._settings.topics),
                group=self._settings.group,
                processes=self._settings.processes,
                workers=self._settings.workers,
                version=installed_version(),
            )
        )

    def _tell_stats(self) -> None:
        now = time.monotonic()
        if now < self._next_stats:
            return
        self._next_stats = now + self._settings.stats_interval
        if self._told_started:
            stats = self._totals.stats([life.stats for life in self._lives()])
            if self._repeats.is_due(stats, now):
                self._emit(stats)
