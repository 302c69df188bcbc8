"""`processor broker`: the demo's embedded broker by itself, for development."""

import select
import signal
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from processor.boot.signals import Signals
from processor.errors import SettingsError
from processor.options.names import topic_fault
from processor.options.option import VARIABLE_PREFIX, Option, Panel

MOST_PARTITIONS: Final = 1000
"""The most partitions per topic. One thread serves them all, with up to 5 MB of memory each."""

NOTES: Final = (
    "the broker runs until Ctrl-C, in memory only; in another terminal: export {address}",
    "give consumers --group-protocol consumer: a classic group takes its session timeout to rebalance here",
)


def _fault(wanted: str) -> str | None:
    name, colon, count = wanted.partition(":")
    if colon and not (count.isascii() and count.isdigit() and 1 <= int(count) <= MOST_PARTITIONS):
        return f"{wanted!r} must be NAME or NAME:PARTITIONS, with 1 to {MOST_PARTITIONS:,} partitions"
    return topic_fault(name)


def broker(
    topic: Annotated[
        list[str],
        Option(
            "Topic to create, with 4 partitions or the given number; repeatable.",
            Panel.KAFKA,
            short="-t",
            metavar="NAME[:PARTITIONS]",
            rule=_fault,
        ),
    ] = [],  # noqa: B006 — read only
) -> int:
    """Run a broker for development, with nothing installed but this package.

    It prints PROCESSOR_BOOTSTRAP_SERVERS=HOST:PORT, the variable that every
    other command reads. SIGTERM or SIGINT (Ctrl-C) stops it, with exit code 0.

    All data is in memory and lost at the stop. Each partition keeps its last
    5 MB. A missing topic is created when a record is sent to it. The broker
    listens on 127.0.0.1, and supports no admin requests, transactions, TLS or login.

    Give consumers --group-protocol consumer: in this broker, a classic group
    takes its session timeout to rebalance.
    """
    from processor.kafka.embedded import EmbeddedBroker  # here, so that help does without
    from processor.telemetry import logs

    wanted = _wanted(topic)
    with Signals(signal.SIGTERM, signal.SIGINT) as signals, EmbeddedBroker() as embedded:
        for name, partitions in wanted.items():
            embedded.create_topics([name], partitions)
        address = f"{VARIABLE_PREFIX}BOOTSTRAP_SERVERS={embedded.bootstrap_servers}"
        typer.echo(address)
        for note in NOTES:
            logs.print_line(note.format(address=address))
        select.select([signals], [], [])
        signals.keep_stops_ignored()
    return 0


def _wanted(topics: Sequence[str]) -> dict[str, int]:
    from processor.kafka.embedded import PARTITIONS

    wanted: dict[str, int] = {}
    for topic in topics:
        name, _, count = topic.partition(":")
        if name in wanted:
            raise SettingsError(f"--topic names {name!r} twice")
        wanted[name] = int(count) if count else PARTITIONS
    return wanted
