"""A member of a fleet: one consumer, and its reports to the fleet's parent."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from processor.boot.assembly import assemble
from processor.boot.load_app import load
from processor.boot.stop import Stop
from processor.engine.deaths import Suspect
from processor.errors import ProcessorError
from processor.fleet.channel import (
    Begin,
    Channel,
    Failed,
    Finished,
    Joined,
    Left,
    Order,
    Recycling,
    Report,
    Settled,
    Started,
    Stats,
)
from processor.fleet.size import follows_load, load_of
from processor.health.heartbeat import consumer_file, consumer_heartbeat, heartbeats
from processor.runtime.flight_recorder import FlightRecorder
from processor.runtime.stats import OnStats
from processor.settings import Settings
from processor.telemetry import logs
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerFailed,
    ConsumerStarted,
    ConsumerStats,
    Emit,
    Event,
    PartitionStats,
)
from processor.telemetry.handler_logs import captured

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer
    from processor.runtime.death_watch import DeathWatch

GARBAGE: Final = 20_000
"""Number of new objects that starts a garbage collection. A single batch of tasks exceeds Python's default, 700."""


def collect_garbage_less_often() -> None:
    """Exempt the objects of now from garbage collection, and run it less often: few tasks are part of a cycle.

    With Python's defaults and ten thousand sessions opened per second, collections took a fifth of the engine's time.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 50)


def run(begin: Begin, channel: Channel[Order], stop: Stop, watches: deque[Sequence[Suspect]]) -> int:
    """Run the consumer of `begin` until `stop` ends it, report to the parent, and return the exit code.

    The suspects of each `Watch` order arrive in `watches`.
    """
    settings = begin.settings
    logs.configure(settings.log_format, settings.log_level, redaction=settings.redaction)
    emit = _reporting(channel, logs.emitter(group=settings.group, fleet=os.getppid(), consumer=begin.index))
    consumer: Consumer | None = None
    try:
        with heartbeats(_heartbeat_file(begin), lambda: consumer_heartbeat(begin.index, consumer), emit):
            # Python compares a file's size and its time in seconds with those in its bytecode. Two versions of one size
            # that are saved within a second have both in common, and the second would run the bytecode of the first.
            sys.dont_write_bytecode |= settings.reload
            app = load(begin.app)
            collect_garbage_less_often()
            consumer = assemble(settings, app, begin.index, emit, fleet=begin.fleet, replaces=begin.replaces)
            consumer.report_to(_reporting_stats(channel, settings))
            _watch(consumer.death_watch, begin, channel, watches)
            stop.attach(consumer)
            with captured(emit, settings.log_level, wanted=settings.log_handlers):
                ending = consumer.run()
    except ProcessorError as error:
        if settings.log_level == "debug":
            traceback.print_exception(error)
        channel.send(Failed(str(error), error.exit_code))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 — a bug of ours: the parent has to know of it, whatever it is
        return _report_bug(channel, emit, error)
    for report in _reports_of(recycle=ending.recycle, finished=ending.finished):
        channel.send(report)
    return ending.exit_code


def _heartbeat_file(begin: Begin) -> str | None:
    file = begin.settings.heartbeat_file
    return str(consumer_file(Path(file), begin.index)) if file is not None else None


def _reports_of(*, recycle: bool, finished: bool) -> list[Report]:
    return [*([Recycling()] if recycle else []), *([Finished()] if finished else []), Left()]


def _watch(death_watch: DeathWatch, begin: Begin, channel: Channel[Order], watches: deque[Sequence[Suspect]]) -> None:
    death_watch.inbox = watches
    death_watch.on_settled = lambda places: channel.send(Settled(places))
    if begin.memory is not None:
        death_watch.equip(partial(FlightRecorder, begin.memory, begin.settings.topics))


def _report_bug(channel: Channel[Order], emit: Emit, error: Exception) -> int:
    traceback.print_exception(error)
    sentence = f"the consumer failed with {type(error).__qualname__}: {error}"
    emit(ConsumerFailed(error=sentence, exit_code=ProcessorError.exit_code))
    channel.send(Failed(sentence, ProcessorError.exit_code))
    return ProcessorError.exit_code


def _reporting(channel: Channel[Order], emit: Emit) -> Emit:
    """Emits events, and reports to the parent those that concern it."""
    joined = False

    def emit_and_report(event: Event) -> None:
        nonlocal joined
        match event:
            case ConsumerStarted():
                channel.send(Started())
            case ConsumerAssigned() if not joined:
                joined = True
                channel.send(Joined())
            case ConsumerFailed(error=error, exit_code=exit_code):
                channel.send(Failed(error, exit_code))
        emit(event)

    return emit_and_report


def _reporting_stats(channel: Channel[Order], settings: Settings) -> OnStats:
    has_load = follows_load(settings.processes, settings.workers)

    def report(stats: ConsumerStats, partitions: Sequence[PartitionStats]) -> None:
        served = partitions if settings.metrics_port is not None else ()
        load = load_of(stats, partitions) if has_load else None
        channel.send_unless_busy(Stats(msgspec.structs.replace(stats, busiest_sessions=[]), served, load))

    return report
