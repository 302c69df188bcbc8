"""A consumer's process: `python -m processor.fleet.member DESCRIPTOR`, started by the fleet's parent.

It takes its orders from the descriptor, one end of a socket pair. When the other end closes, the parent is
gone, and the consumer drains and leaves: no orphan survives.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import msgspec

from processor.boot.assembly import assemble
from processor.boot.load_app import load
from processor.boot.signals import signal_name
from processor.boot.stop import Stop
from processor.errors import DrainTimeout, ProcessorError
from processor.fleet.channel import (
    Begin,
    Channel,
    Drain,
    Failed,
    Finished,
    Joined,
    Order,
    Recycling,
    Report,
    Started,
    Stats,
    StopNow,
)
from processor.health.heart import beating
from processor.health.heartbeat import beat_of, consumers_file
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

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer

ORPHAN_GRACE: Final = 5.0
"""Seconds beyond its drain timeout after which a consumer without a parent ends in any case."""

GARBAGE: Final = 20_000
"""New objects that are worth a look for cycles among them; one batch of tasks passes Python's own figure, 700."""

EXIT_GRACE: Final = 5.0
"""Seconds that the application's exit functions get."""


def main() -> None:
    """Runs one consumer and ends the process."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed
        faulthandler.enable()
    channel: Channel[Order] = Channel(_connection(int(sys.argv[1])), Order)
    begin, *early = channel.receive(wait=True) or (None,)
    if not isinstance(begin, Begin):
        return  # the parent was gone before it could say anything
    stop = Stop()
    _install_signal_handlers(stop)
    for order in early:
        _obey(order, stop)
    threading.Thread(target=_listen, args=(channel, stop, begin), name="fleet-channel", daemon=True).start()
    _leave(_run(begin, channel, stop), channel)


def collect_garbage_less_often() -> None:
    """What is loaded stays. Tasks come and go by the thousand, and next to none of them is in a cycle.

    Opening and closing ten thousand sessions a second and more, a fifth of the engine's time went into looking.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 50)


def _connection(descriptor: int) -> socket.socket:
    """The channel's socket, which no process that a handler starts or forks may hold open."""
    os.set_inheritable(descriptor, False)
    connection = socket.socket(fileno=descriptor)
    os.register_at_fork(after_in_child=lambda: _be_nobodys_consumer(connection))
    return connection


def _be_nobodys_consumer(connection: socket.socket) -> None:
    connection.close()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _install_signal_handlers(stop: Stop) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        stop.signalled(signal_name(number))

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _listen(channel: Channel[Order], stop: Stop, begin: Begin) -> None:
    while (orders := channel.receive(wait=True)) is not None:
        for order in orders:
            _obey(order, stop)
    stop.drain("the fleet's parent is gone")
    time.sleep(begin.settings.drain_timeout + ORPHAN_GRACE)
    os._exit(DrainTimeout.exit_code)


def _obey(order: Order, stop: Stop) -> None:
    match order:
        case Drain(reason):
            stop.drain(reason)
        case StopNow(reason):
            stop.now(reason)
        case Begin():
            raise ValueError("a consumer begins once")


def _run(begin: Begin, channel: Channel[Order], stop: Stop) -> int:
    settings = begin.settings
    logs.configure(settings.log_format, settings.log_level, redaction=settings.redaction)
    emit = _telling(channel, logs.emitter(group=settings.group, fleet=os.getppid(), consumer=begin.index))
    consumer: Consumer | None = None
    try:
        with beating(_heartbeat_file(begin), lambda: beat_of(begin.index, consumer), emit):
            app = load(begin.app)
            collect_garbage_less_often()
            consumer = assemble(settings, app, begin.index, emit, _telling_stats(channel, settings), fleet=begin.fleet)
            stop.attach(consumer)
            ending = consumer.run()
    except ProcessorError as error:
        if settings.log_level == "debug":
            traceback.print_exception(error)
        channel.send(Failed(str(error), error.exit_code))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 — a bug of ours: the parent has to hear of it, whatever it is
        return _tell_bug(channel, emit, error)
    for report in _reports_of(recycle=ending.recycle, finished=ending.finished):
        channel.send(report)
    return ending.exit_code


def _heartbeat_file(begin: Begin) -> str | None:
    file = begin.settings.heartbeat_file
    return str(consumers_file(Path(file), begin.index)) if file is not None else None


def _reports_of(*, recycle: bool, finished: bool) -> list[Report]:
    return [*([Recycling()] if recycle else []), *([Finished()] if finished else [])]


def _tell_bug(channel: Channel[Order], emit: Emit, error: Exception) -> int:
    traceback.print_exception(error)
    sentence = f"the consumer failed with {type(error).__qualname__}: {error}"
    emit(ConsumerFailed(error=sentence, exit_code=ProcessorError.exit_code))
    channel.send(Failed(sentence, ProcessorError.exit_code))
    return ProcessorError.exit_code


def _telling(channel: Channel[Order], emit: Emit) -> Emit:
    """Tells the parent what concerns it of what the consumer says."""
    joined = False

    def emit_and_tell(event: Event) -> None:
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

    return emit_and_tell


def _telling_stats(channel: Channel[Order], settings: Settings) -> OnStats:
    def tell(stats: ConsumerStats, partitions: Sequence[PartitionStats]) -> None:
        told = partitions if settings.metrics_port is not None else ()
        channel.send_unless_busy(Stats(msgspec.structs.replace(stats, busiest_sessions=[]), told))

    return tell


def _leave(exit_code: int, channel: Channel[Order]) -> None:
    """Ends the process, also where a thread of a handler's would hold an ordinary exit up for ever."""
    channel.flush(1.0)
    guard = threading.Timer(EXIT_GRACE, os._exit, (exit_code,))
    guard.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread may be started any more: perhaps that is why it ends
        guard.start()
    atexit._run_exitfuncs()  # noqa: SLF001 — nothing public runs them without the wait for threads that follows
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
