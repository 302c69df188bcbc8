"""A consumer's process, from its first order to its end.

The process reads its orders from a descriptor, one end of a socket pair. When the other end closes, the parent is gone,
and the consumer drains and leaves the group, so that no orphan remains. Signals and orders are obeyed even before the
Kafka client and the consumer's other modules are imported.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Final

from processor.boot.first_signals import STOP_SIGNALS
from processor.boot.signals import signal_name
from processor.boot.stop import Stop
from processor.engine.deaths import Suspect
from processor.errors import DrainTimeout
from processor.fleet.channel import Begin, Channel, Drain, Order, StopNow, Watch

ORPHAN_GRACE: Final = 5.0
"""Seconds beyond its drain timeout after which a consumer without a parent ends in any case."""

EXIT_GRACE: Final = 5.0
"""Seconds that the application's process pools and exit functions may take at exit."""


def main() -> None:
    """Runs one consumer and ends the process."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed
        faulthandler.enable()
    channel: Channel[Order] = Channel(_connection(int(sys.argv[1])), Order)
    begin, *early = channel.receive(wait=True) or (None,)
    if not isinstance(begin, Begin):
        return  # the parent was gone before it sent the first order
    if begin.memory is not None:
        os.set_inheritable(begin.memory, False)
    stop = Stop(leave=lambda: _end(0))
    watches: deque[Sequence[Suspect]] = deque()
    obey = partial(_obey, stop, watches.append)
    _install_signal_handlers(stop)
    for order in early:
        obey(order)
    threading.Thread(target=_listen, args=(channel, stop, obey, begin), name="fleet-channel", daemon=True).start()

    from processor.fleet.member import run  # here: it takes most of the start, and orders are obeyed meanwhile

    _leave(run(begin, channel, stop, watches), channel)


def _connection(descriptor: int) -> socket.socket:
    """Return the channel's socket, set up so that no process that a handler starts or forks keeps it open."""
    os.set_inheritable(descriptor, False)
    connection = socket.socket(fileno=descriptor)
    forking = _Forking()
    os.register_at_fork(
        before=forking.begin,
        after_in_parent=forking.end,
        after_in_child=lambda: _be_nobodys_consumer(connection, forking),
    )
    return connection


class _Forking(threading.local):
    """Blocks stop signals in a thread that forks, until its child has the default handlers.

    Without it, a child may miss its stop: a handler forks the child, which has not run yet. The consumer is killed, and
    the fleet's parent sends SIGTERM to all processes that the consumer has started. In the child, the C signal handler
    that it shares with the consumer only notes the signal. Then Python's code after a fork clears what was noted, and
    the child continues to work.
    """

    mask: frozenset[int] = frozenset()

    def begin(self) -> None:
        self.mask = frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS))

    def end(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def _be_nobodys_consumer(connection: socket.socket, forking: _Forking) -> None:
    connection.close()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    forking.end()


def _install_signal_handlers(stop: Stop) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        stop.on_signal(signal_name(number))

    for number in STOP_SIGNALS:
        signal.signal(number, handle)


def _listen(channel: Channel[Order], stop: Stop, obey: Callable[[Order], None], begin: Begin) -> None:
    reason = "the fleet's parent is gone"
    try:
        while (orders := channel.receive(wait=True)) is not None:
            for order in orders:
                obey(order)
    except Exception as error:  # noqa: BLE001 — a consumer that no longer obeys must end
        reason = f"an order of the fleet's parent cannot be obeyed: {type(error).__name__}: {error}"
    stop.drain(reason)
    time.sleep(begin.settings.drain_timeout + ORPHAN_GRACE)
    _end(DrainTimeout.exit_code)


def _obey(stop: Stop, watch: Callable[[Sequence[Suspect]], None], order: Order) -> None:
    match order:
        case Drain(reason, for_good):
            stop.drain(reason, for_good=for_good)
        case StopNow(reason):
            stop.now(reason)
        case Watch(suspects):
            watch(suspects)
        case Begin():
            raise ValueError("a consumer begins once")


def _leave(exit_code: int, channel: Channel[Order]) -> None:
    """End the process, even if a thread of a handler would block an ordinary exit forever."""
    channel.flush(1.0)
    guard = threading.Timer(EXIT_GRACE, _end, (exit_code,))
    guard.daemon = True
    with contextlib.suppress(RuntimeError):  # no more threads can be started, perhaps the reason why it ends
        guard.start()
    _shut_down_process_pools()
    atexit._run_exitfuncs()  # noqa: SLF001 — nothing public runs them without the wait for threads that follows
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    _end(exit_code)


def _shut_down_process_pools() -> None:
    """Ends the workers of each `ProcessPoolExecutor` as soon as their work is done.

    An ordinary exit does so before it runs the functions of `atexit`. One of those, multiprocessing's, waits for every
    child process. The worker of an open pool waits for work, so without this the exit would take the whole grace.
    """
    if (pools := sys.modules.get("concurrent.futures.process")) is not None:
        pools._python_exit()  # noqa: SLF001 — an exit calls it; nothing public finds the pools of an application


def _end(exit_code: int) -> None:
    """Ends this process and its children of multiprocessing: a pool's worker would wait forever for work.

    The fleet's parent ends them too, but it may be gone itself.
    """
    try:
        if (multiprocessing := sys.modules.get("multiprocessing")) is not None:
            for child in multiprocessing.active_children():
                child.terminate()
    finally:
        os._exit(exit_code)
