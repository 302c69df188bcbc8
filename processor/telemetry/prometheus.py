"""A fleet's metrics over HTTP, for Prometheus to scrape. The only importer of prometheus_client.

Names and labels are those that the Collector produces from the log. One port serves the whole fleet: the parent has the
latest report of each consumer, so values are at most about `--stats-interval` old.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from processor.errors import LoadError, SettingsError
from processor.telemetry.events import ConsumerStats, Event, FleetStats, PartitionStats
from processor.telemetry.metrics import CONSUMER, FLEET, HISTOGRAM, HISTOGRAM_HELP, PARTITION, Family, samples
from processor.version import install_command

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CLOSE_SECONDS = 1.0
"""How long a stop waits for a scrape in progress."""


class MetricsSnapshot(NamedTuple):
    """The latest statistics of a fleet."""

    fleet: FleetStats
    consumers: Mapping[int, ConsumerStats]
    """The last report of each running consumer, by its number."""
    partitions: Sequence[PartitionStats]


@contextmanager
def serving(port: int | None, host: str, group: str, snapshot: Callable[[], MetricsSnapshot]) -> Iterator[None]:
    """Serve metrics while the context is entered; without a port, do nothing.

    Args:
        port: the port to listen on.
        host: the address to listen on.
        group: the consumer group, a label of each metric.
        snapshot: called for each scrape, in a separate thread.

    Raises:
        LoadError: prometheus-client is not installed.
        SettingsError: the address cannot be listened on.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start(port, host, group, snapshot)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"--metrics-host {host}, --metrics-port {port}"
        raise SettingsError(f"metrics cannot be served at {where}: {reason}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(CLOSE_SECONDS)


def start(port: int, host: str, group: str, snapshot: Callable[[], MetricsSnapshot]) -> tuple[Any, Thread]:
    """Start a server that calls `snapshot` for each scrape, and return it with its thread.

    Raises:
        LoadError: prometheus-client is not installed.
        OSError: the address cannot be listened on.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise LoadError(f"--metrics-port needs prometheus-client: {install_command('metrics')}") from None
    registry = CollectorRegistry()
    registry.register(Exposition(group, snapshot))
    return start_http_server(port, host, registry)


class Exposition:
    """The collector of prometheus_client, called for each scrape in any thread."""

    def __init__(self, group: str, snapshot: Callable[[], MetricsSnapshot]) -> None:
        self._snapshot = snapshot
        self._group, self._host, self._fleet = group, socket.gethostname(), str(os.getpid())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its samples."""
        latest = self._snapshot()
        consumers = {self._labels(str(index)): stats for index, stats in sorted(latest.consumers.items())}
        partitions: dict[tuple[str, ...], PartitionStats] = {
            (self._group, one.topic, str(one.partition)): one for one in latest.partitions
        }
        yield from _family(FLEET, {self._labels(): latest.fleet})
        yield from _family(CONSUMER, consumers)
        yield from _family(PARTITION, partitions)
        yield _histogram(consumers)

    def _labels(self, *more: str) -> tuple[str, ...]:
        return (self._group, self._host, self._fleet, *more)


def _family(family: Family, events: Mapping[tuple[str, ...], Event]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    values = {labels: dict(samples(family, event)) for labels, event in events.items()}
    for metric in family.metrics:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        exposed = kind(metric.name, metric.help, labels=family.labels)
        for labels, sampled in values.items():
            if metric in sampled:
                exposed.add_metric(labels, sampled[metric])
        yield exposed


def _histogram(consumers: Mapping[tuple[str, ...], ConsumerStats]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    exposed = HistogramMetricFamily(HISTOGRAM, HISTOGRAM_HELP, labels=CONSUMER.labels)
    for labels, stats in consumers.items():
        exposed.add_metric(labels, list(stats.handler_seconds_buckets.items()), stats.handler_seconds)
    return exposed
