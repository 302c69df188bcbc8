"""`run_in_process`: runs one consumer in the calling process, without a supervising parent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from processor.boot.assembly import assemble
from processor.boot.signals import signal_name
from processor.errors import ProcessorError
from processor.handlers.table import Handlers
from processor.health.heartbeat import consumer_heartbeat, fleet_heartbeats
from processor.settings import Settings
from processor.telemetry.events import ConsumerStats, Emit, PartitionStats
from processor.telemetry.handler_logs import captured
from processor.telemetry.prometheus import MetricsSnapshot, serving
from processor.telemetry.totals import Totals

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer


def run_in_process(
    app: Handlers, settings: Settings, *, emit: Emit, on_consumer: Callable[[Consumer], None] | None = None
) -> int:
    """Runs one consumer until it stops. Returns its exit code.

    In the main thread, the first SIGTERM or SIGINT stops it cleanly and the second one at once, as on the command line.
    In another thread, only `request_stop` of the consumer passed to `on_consumer` stops it. If a handler cannot be
    interrupted, the consumer ends with exit code 1, since no parent can replace the process.

    Args:
        app: the handlers.
        settings: the settings; `processes` is ignored.
        emit: receives log events.
        on_consumer: called with the consumer before it runs.

    Raises:
        ProcessorError: the consumer cannot start, for the reasons of `assemble`.
    """
    stats = _LatestStats()
    consumer = assemble(settings, Handlers.of(app), 0, emit)
    consumer.report_to(stats.update)
    if on_consumer is not None:
        on_consumer(consumer)
    with (
        fleet_heartbeats(settings.heartbeat_file, lambda: consumer_heartbeat(0, consumer), emit, consumers=0),
        serving(settings.metrics_port, settings.metrics_host, settings.group, stats.snapshot),
        captured(emit, settings.log_level, wanted=settings.log_handlers),
    ):
        if threading.current_thread() is not threading.main_thread():
            return _run(consumer)
        with _signals_stop(consumer):
            return _run(consumer)


def _run(consumer: Consumer) -> int:
    """Run the consumer and return its exit code: 1 if it ends only because a handler is stuck.

    With 0, as after a clean stop, a service manager would not start the program again.
    """
    status = consumer.run()
    has_given_up = status.recycle and not consumer.is_stop_requested
    return status.exit_code or (ProcessorError.exit_code if has_given_up else 0)


class _LatestStats:
    """The latest statistics of the consumer."""

    def __init__(self) -> None:
        self._stats: ConsumerStats | None = None
        self._partitions: Sequence[PartitionStats] = ()
        self._totals = Totals()

    def update(self, stats: ConsumerStats, partitions: Sequence[PartitionStats]) -> None:
        self._stats, self._partitions = stats, partitions

    def snapshot(self) -> MetricsSnapshot:
        stats = self._stats
        return MetricsSnapshot(self._totals.stats([stats]), {0: stats} if stats is not None else {}, self._partitions)


@contextmanager
def _signals_stop(consumer: Consumer) -> Iterator[None]:
    reasons: list[str] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        reasons.append(signal_name(number))
        stop = consumer.request_stop if len(reasons) == 1 else consumer.request_stop_now
        stop(reasons[-1])

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
