"""`--metrics-port`: a fleet's metrics over HTTP, for Prometheus to scrape. The only importer of prometheus_client.

The names and labels are those that the Collector makes of the log. One port serves the whole fleet: the parent tells
what its consumers have told last, so values are as old as `--stats-interval` at most.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from processor.errors import LoadError, SettingsError
from processor.events import ConsumerStats, Event, FleetStats, PartitionStats
from processor.metrics import CONSUMER, FLEET, HISTOGRAM, HISTOGRAM_HELP, PARTITION, Family, samples
from processor.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CLOSE_SECONDS = 1.0


class Moment(NamedTuple):
    """What a fleet says of itself."""

    fleet: FleetStats
    consumers: Mapping[int, ConsumerStats]
    """What each that lives has told last, by its number."""
    partitions: Sequence[PartitionStats]


@contextmanager
def serving(settings: Settings, moment: Callable[[], Moment]) -> Iterator[None]:
    """Serves `moment`, which is called from a thread of its own, where `--metrics-port` is set.

    Raises:
        LoadError: prometheus-client is not installed.
        SettingsError: nobody can listen there.
    """
    if settings.metrics_port is None:
        yield
        return
    registry, start = _client()
    registry.register(Exposition(settings.group, moment))
    where = f"--metrics-host {settings.metrics_host}, --metrics-port {settings.metrics_port}"
    try:
        server, thread = start(settings.metrics_port, settings.metrics_host, registry)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"metrics cannot be served at {where}: {reason}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(CLOSE_SECONDS)


def _client() -> tuple[Any, Callable[..., Any]]:
    """Loaded here: who has no use for a port needs no client."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise LoadError("--metrics-port needs prometheus-client: pip install 'processor[metrics]'") from None
    return CollectorRegistry(), start_http_server


class Exposition:
    """Asked at each scrape; any thread."""

    def __init__(self, group: str, moment: Callable[[], Moment]) -> None:
        self._moment = moment
        self._group, self._host, self._fleet = group, socket.gethostname(), str(os.getpid())

    def collect(self) -> Iterator[Metric]:
        """Every metric with its samples."""
        moment = self._moment()
        consumers = {self._labels(str(index)): stats for index, stats in sorted(moment.consumers.items())}
        partitions: dict[tuple[str, ...], PartitionStats] = {
            (self._group, one.topic, str(one.partition)): one for one in moment.partitions
        }
        yield from _family(FLEET, {self._labels(): moment.fleet})
        yield from _family(CONSUMER, consumers)
        yield from _family(PARTITION, partitions)
        yield _histogram(consumers)

    def _labels(self, *more: str) -> tuple[str, ...]:
        return (self._group, self._host, self._fleet, *more)


def _family(family: Family, told: Mapping[tuple[str, ...], Event]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    values = {labels: dict(samples(family, event)) for labels, event in told.items()}
    for metric in family.metrics:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        exposed = kind(metric.name, metric.help, labels=family.labels)
        for labels, sampled in values.items():
            if metric in sampled:
                exposed.add_metric(labels, sampled[metric])
        yield exposed


def _histogram(told: Mapping[tuple[str, ...], ConsumerStats]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    exposed = HistogramMetricFamily(HISTOGRAM, HISTOGRAM_HELP, labels=CONSUMER.labels)
    for labels, stats in told.items():
        exposed.add_metric(labels, list(stats.handler_seconds_buckets.items()), stats.handler_seconds)
    return exposed
