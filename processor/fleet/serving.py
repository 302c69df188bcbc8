"""`--metrics-port`: who listens there, and what is asked. Nothing of it is loaded by a fleet without a port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from processor.errors import SettingsError
from processor.events import ConsumerStats, FleetStats, PartitionStats
from processor.settings import Settings

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
    from processor.fleet.exposition import start  # here: it costs a fleet's start some milliseconds

    where = f"--metrics-host {settings.metrics_host}, --metrics-port {settings.metrics_port}"
    try:
        server, thread = start(settings.metrics_port, settings.metrics_host, settings.group, moment)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"metrics cannot be served at {where}: {reason}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(CLOSE_SECONDS)
