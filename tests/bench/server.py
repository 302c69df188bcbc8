"""The broker of the benchmark: one for all arms, on a JVM at full speed and with enough memory for their requests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.stage import Stage
from tests.support import kafka_jars
from tests.support.broker import ADDRESS, Broker, choose_broker
from tests.support.java_broker import JavaBroker

JAVA = ("-Xmx1g", "-Xms1g", "-XX:+UseSerialGC")
"""On two cores, a parallel garbage collector would only compete with the arms."""

PROPERTIES = {
    "offsets.topic.num.partitions": "8",
    "log.retention.check.interval.ms": "600000",
    "log.cleaner.enable": "false",
    "message.max.bytes": "2000000",
}


@contextmanager
def on_stage(*, scale: float, arms: tuple[str, ...], say: Callable[[str], None]) -> Iterator[Stage]:
    """Yield a stage on a broker: one that is started here, or the one that the tests were given.

    Raises:
        BrokerUnavailable: no broker was given, and none can be started.
        FetchError: a download that the broker needs failed.
    """
    own = kafka_jars.available() and not os.environ.get(ADDRESS)
    broker: Broker = JavaBroker(PROPERTIES, java=JAVA) if own else choose_broker()
    with broker, tempfile.TemporaryDirectory(prefix="processor-bench-") as folder:
        stage = Stage(broker.bootstrap_servers, Path(folder), scale=scale, arms=arms, say=say)
        try:
            yield stage
        finally:
            if not own:
                stage.delete_topics()
