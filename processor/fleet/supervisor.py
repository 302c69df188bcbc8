"""The parent of `processor run`: it starts consumers as processes, replaces those that exit, and stops them.

One thread, one loop, no Kafka client. What follows the exit of a consumer is decided in `restarts`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from processor.boot.signals import Signals, blocked_signals, signal_name
from processor.engine.deaths import Deaths
from processor.fleet.channel import Begin, Drain, StopNow, Watch
from processor.fleet.child import ChildProcess
from processor.fleet.code_changes import CodeChanges
from processor.fleet.orphans import reap_orphans
from processor.fleet.reports import FleetReports
from processor.fleet.restarts import (
    DRAIN_TIMED_OUT,
    AwaitChange,
    Backoff,
    Exit,
    Finish,
    GiveUp,
    Replace,
    combined,
    what_follows,
)
from processor.fleet.scaling import FleetScaling
from processor.fleet.size import SIZE_SIGNALS, FleetSize
from processor.fleet.slots import Slot, Slots
from processor.health.heartbeat import INTERVAL_SECONDS as HEARTBEAT_SECONDS
from processor.health.heartbeat import FleetHeartbeat, fleet_heartbeats
from processor.options.bounds import bounds_of
from processor.settings import Settings
from processor.telemetry import logs
from processor.telemetry.events import (
    Emit,
    FleetConsumerExited,
    FleetConsumerKilled,
    FleetReloading,
    FleetStopping,
    ProcessDied,
    TaskSuspected,
)

T = TypeVar("T")


def _undisturbed(write: Callable[[T], None]) -> Callable[[T], None]:
    """Return a function that calls `write` with SIGTTOU blocked.

    If `stty tostop` is set, the kernel sends this signal to a background process at each attempt to write to its
    terminal, unless the process blocks it. Here the signal would remove a consumer.
    """

    def written(what: T) -> None:
        with blocked_signals(signal.SIGTTOU):
            write(what)

    return written


def unique_name() -> str:
    """Return a unique name for this start of a fleet, in characters that a topic's name may have."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


MEMBER: Final = (sys.executable, "-P", "-m", "processor.fleet")
"""With `-P`, a file in the current folder does not replace the module of processor or of Python that it is named like.
"""

ONE_SIGNAL: Final = 0.03
"""Seconds within which signals count as one: timeout(1) and process runners send each signal twice."""

MOST_SUSPECTS: Final = 20
"""The most tasks that one log line names."""

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
    """Runs a fleet until its last consumer has exited.

    Args:
        settings: of every consumer.
        app: MODULE:ATTRIBUTE; only the consumers load it.
        emit: logs the fleet's events.
        say: prints the one sentence about a failure that the user has to fix.
        command: the program of a consumer; the descriptor of its end of the channel is added.
        timing: how long the parent waits for consumers.
    """

    def __init__(
        self,
        settings: Settings,
        app: str,
        emit: Emit,
        *,
        say: Callable[[str], None] = logs.print_line,
        command: Sequence[str] = MEMBER,
        timing: Timing = Timing(),  # noqa: B008 — immutable
    ) -> None:
        self._settings = settings
        self._app = app
        self._name = unique_name()
        self._emit = _undisturbed(emit)
        self._say = _undisturbed(say)
        self._command = command
        self._backoff = timing.backoff
        self._kill_after_drain = settings.drain_timeout + timing.kill_after_drain
        self._kill_after_stop_now = timing.kill_after_stop_now
        self._bounds = bounds_of(settings.processes)
        self._slots = Slots(self._bounds.least, settings.heartbeat_file)
        size = FleetSize(settings.processes, settings.workers)
        self._scaling = FleetScaling(size, self._slots, self._emit, self._kill_after_drain)
        self._reports = FleetReports(settings, app, self._slots, size, self._emit)
        self._selector = selectors.DefaultSelector()
        self._changes = CodeChanges(Path(), self._say) if settings.reload else None
        self._complaints: set[str] = set()
        """Reasons printed since the code last changed: consumers fail for the same reason, and one line is enough."""
        self._deaths = Deaths()
        self._was_up = False
        self._given_up: GiveUp | None = None
        self._orders = 0
        """Number of stop signals: the first orders a drain, the second an immediate end."""
        self._last_signal = -ONE_SIGNAL
        self._exit_codes: list[int] = []
        self._last_loop_at = time.monotonic()
        self._longest_wait = _LONGEST_WAIT if settings.heartbeat_file is None else HEARTBEAT_SECONDS

    def run(self) -> int:
        """Start the fleet, and return the exit code when its last consumer has exited. To be called in the main thread.

        Raises:
            LoadError: the heartbeat file cannot be written, the current folder cannot be watched for changes, or
                prometheus-client or watchfiles is missing.
            SettingsError: the metrics cannot be served at their address.
        """
        with (
            Signals(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *SIZE_SIGNALS) as signals,
            self._selector,
            self._changes or contextlib.nullcontext(),
            self._heartbeats(),
            self._reports.serving(),
        ):
            self._selector.register(signals, selectors.EVENT_READ)
            if self._changes is not None:
                self._selector.register(self._changes, selectors.EVENT_READ)
            try:
                self._loop(signals)
            finally:
                self._kill_all()
                self._slots.remove_heartbeats()
            signals.keep_stops_ignored()
        return self._finish()

    def _heartbeats(self) -> contextlib.AbstractContextManager[None]:
        settings = self._settings
        return fleet_heartbeats(settings.heartbeat_file, self._heartbeat, self._emit, consumers=self._bounds.most)

    def _heartbeat(self) -> FleetHeartbeat:
        return FleetHeartbeat(
            pid=os.getpid(),
            written_at=time.monotonic(),
            last_loop_at=self._last_loop_at,
            stopping=self._is_stopping,
            places=[slot.place() for slot in self._slots if not slot.is_leaving],
        )

    def _loop(self, signals: Signals) -> None:
        while True:
            self._last_loop_at = time.monotonic()
            for number in signals.arrived():  # first, so that no consumer starts if a stop arrived before
                self._obey(number)
            self._reload_what_changed()
            self._retire_exited()
            self._kill_overdue()
            if self._can_resize:
                self._scaling.follow_load()
            self._reports.emit_stats_when_due()
            self._start_due()
            if not any(slot.is_in_use for slot in self._slots):
                return
            for key, events in self._selector.select(self._wait()):
                if isinstance(key.fileobj, ChildProcess):
                    if events & selectors.EVENT_WRITE:
                        self._send_rest(key.fileobj)
                    self._receive(key.fileobj)

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        try:
            begin = Begin(self._settings, self._app, slot.index, self._name, replaces=slot.delay is not None)
            slot.child = ChildProcess(self._command, begin)
        except OSError as error:
            reason = f"a consumer's process cannot be started: {error.strerror or error}"
            self._decide(slot, Exit(exit_code=1, lived=0.0, joined=False, failure=reason), pid=0)
        else:
            self._selector.register(slot.child, selectors.EVENT_READ | selectors.EVENT_WRITE)
            if (suspects := self._deaths.suspects) or slot.follows_death:
                slot.child.send(Watch(suspects))

    def _send_rest(self, child: ChildProcess) -> None:
        """Sends what is left of the first order: one with certificates may be longer than the socket accepts at once.

        The selector reports a socket as writable as long as there is room in it, so only until all is sent.
        """
        if child.send_rest():
            self._selector.modify(child, selectors.EVENT_READ)

    def _wait(self) -> float:
        soonest = min(self._slots.soonest, self._reports.next_stats)
        return min(max(soonest - time.monotonic(), 0.0), self._longest_wait)

    def _receive(self, child: ChildProcess) -> None:
        if not child.receive():  # the child has closed its end; SIGCHLD will announce its exit
            self._forget(child)
        self._was_up = self._was_up or child.joined
        if child.settled:
            had_more = self._deaths.has_more
            self._deaths.forget(child.settled)
            child.settled.clear()
            if had_more:
                self._send_suspects()
        if child.started and not self._reports.has_started:
            self._reports.emit_started()

    def _forget(self, child: ChildProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child)

    def _obey(self, number: int) -> None:
        if number == signal.SIGCHLD:
            return
        if number in SIZE_SIGNALS:
            if self._can_resize:
                self._scaling.obey(number)
            return
        now = time.monotonic()
        if now - self._last_signal < ONE_SIGNAL:
            return
        self._last_signal = now
        self._orders += 1
        if self._orders == 1:
            if self._given_up is None:  # otherwise all are already draining
                self._drain(signal_name(number))
        elif self._orders == 2:
            self._stop_now(signal_name(number))
        else:
            self._kill_all()

    @property
    def _is_stopping(self) -> bool:
        return self._orders > 0 or self._given_up is not None

    @property
    def _can_resize(self) -> bool:
        return self._reports.has_started and not self._is_stopping

    def _drain(self, reason: str) -> None:
        if self._reports.has_started:
            self._emit(FleetStopping(reason=reason))
        self._order(Drain(reason), self._kill_after_drain)

    def _stop_now(self, reason: str) -> None:
        self._order(StopNow(reason), self._kill_after_stop_now)

    def _order(self, order: Drain | StopNow, patience: float) -> None:
        for slot in self._slots:
            slot.call_off()
            slot.end(order, patience)

    def _reload_what_changed(self) -> None:
        """Have every consumer drain and leave, and another start in its place with the changed code.

        A change during a drain needs no further action: the next consumer has not loaded the code yet.
        """
        files = self._changes.arrived() if self._changes is not None else []
        if not files or self._is_stopping:
            return
        if self._reports.has_started:
            self._emit(FleetReloading(files=files))
        self._complaints.clear()
        for slot in self._slots:
            if slot.child is None:
                slot.due = time.monotonic() if slot.is_in_use else None
                slot.awaits_change = False
            elif not slot.is_reloading and not slot.is_leaving:
                slot.is_reloading = True
                slot.end(Drain("its code has changed"), self._kill_after_drain)

    def _kill_all(self) -> None:
        for child in self._slots.children:
            child.kill()

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if (child := slot.overdue(now)) is not None:
                child.kill()
                self._emit(FleetConsumerKilled(consumer=slot.index, consumer_pid=child.pid))

    def _retire_exited(self) -> None:
        for slot in self._slots:
            if slot.child is not None and (exited := slot.child.exit()) is not None:
                child, slot.child, slot.kill_at = slot.child, None, None
                self._receive(child)
                self._forget(child)
                child.close()
                self._follow(slot, child, exited)
        if os.getpid() == 1:
            reap_orphans({child.pid for child in self._slots.children})

    def _follow(self, slot: Slot, child: ChildProcess, exited: Exit) -> None:
        self._reports.totals.retire(child.stats)
        self._reports.totals.forced_stops += child.was_killed or exited.exit_code == DRAIN_TIMED_OUT
        if self._is_stopping:
            self._exit_codes.append(DRAIN_TIMED_OUT if child.was_killed else exited.exit_code)
        elif slot.is_reloading and not slot.is_leaving:
            slot.is_reloading = False
            slot.due, slot.delay = time.monotonic(), None
        else:
            slot.follows_death = exited.died or (slot.follows_death and not exited.joined)
            if exited.died:
                self._attribute(slot, exited, child.pid)
            if slot.is_leaving:
                self._slots.drop(slot)
            else:
                self._decide(slot, exited, child.pid)

    def _attribute(self, slot: Slot, exited: Exit, pid: int) -> None:
        """Record the tasks that a process was running when it died as suspects. Order all other consumers to watch for
        them, since its partitions may become theirs.
        """
        self._reports.totals.deaths += 1
        culprit = self._deaths.record(exited.running)
        self._emit(
            ProcessDied(
                consumer=slot.index,
                consumer_pid=pid,
                exit_code=exited.exit_code,
                reason=exited.reason,
                running=len(exited.running),
                suspects=[str(place) for place in exited.running[:MOST_SUSPECTS]],
            )
        )
        if culprit is not None:
            deaths = self._deaths.deaths_of(culprit)
            topic, partition, offset = culprit
            self._emit(TaskSuspected(topic=topic, partition=partition, offset=offset, deaths=deaths))
        self._send_suspects()

    def _send_suspects(self) -> None:
        watch = Watch(self._deaths.suspects)
        for child in self._slots.children:
            child.send(watch)

    def _decide(self, slot: Slot, exited: Exit, pid: int) -> None:
        match what_follows(
            exited,
            fleet_was_up=self._was_up,
            last_delay=slot.delay,
            backoff=self._backoff,
            reload=self._changes is not None,
        ):
            case Finish():
                return
            case AwaitChange(reason):
                self._await_change(slot, reason)
            case GiveUp(reason) if slot.is_extra:
                self._scaling.do_without(slot, reason)
            case GiveUp() as given_up:
                self._give_up(given_up)
            case Replace(delay):
                self._replace(slot, exited, pid, delay)

    def _replace(self, slot: Slot, exited: Exit, pid: int, delay: float) -> None:
        slot.due = time.monotonic() + delay
        slot.delay = delay or slot.delay or 0.0
        self._reports.totals.restarts += 1
        self._emit(
            FleetConsumerExited(
                consumer=slot.index,
                consumer_pid=pid,
                exit_code=exited.exit_code,
                restart_in_seconds=delay,
                reason=exited.reason,
            )
        )

    def _await_change(self, slot: Slot, reason: str) -> None:
        slot.awaits_change = True
        if reason not in self._complaints:
            self._complaints.add(reason)
            self._say(f"{reason}; waiting for a Python file to change")

    def _give_up(self, given_up: GiveUp) -> None:
        self._given_up = given_up
        self._say(given_up.reason)
        self._drain(given_up.reason)

    def _finish(self) -> int:
        exit_code = self._given_up.exit_code if self._given_up else combined(self._exit_codes)
        self._reports.emit_stopped(exit_code)
        return exit_code
