"""Runs a real Kafka broker for development until SIGINT or SIGTERM: `python -m tests.support.run_broker [TOPIC…]`.

The broker is that of the test suite, from Java and Maven or from Docker. Its data are deleted at the end. A topic is
`NAME` or `NAME:PARTITIONS`, as for `processor broker`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from tests.support import cluster
from tests.support.broker import STAYS, BrokerUnavailable, choose_broker
from tests.support.kafka_jars import FetchError

PARTITIONS = 4
STOPS = (signal.SIGINT, signal.SIGTERM)
UNAVAILABLE = "Kafka cannot be started here: install Java 17+ and Maven, or start Docker"


def main(topics: Sequence[str]) -> int:
    """Run the broker until a signal; return the exit code, 1 if the broker cannot be started."""
    # A signal must also end the first download and the start, which take seconds to minutes.
    for number in STOPS:
        signal.signal(number, signal.default_int_handler)
    try:
        with choose_broker(STAYS, own=True) as broker:
            for topic in topics:
                name, _, partitions = topic.partition(":")
                cluster.create_topic(broker.bootstrap_servers, name, int(partitions or PARTITIONS))
            print(f"PROCESSOR_BOOTSTRAP_SERVERS={broker.bootstrap_servers}", flush=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            signal.sigwait(STOPS)
            return 0
    except KeyboardInterrupt:
        return 0
    except BrokerUnavailable:
        print(UNAVAILABLE, file=sys.stderr)
    except (FetchError, RuntimeError) as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
