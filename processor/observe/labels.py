"""`Labels`: names of consumers, fleets and partitions for people, as short as they can be without confusion."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from processor.observe.consumer import ConsumerNow
from processor.observe.wording import plain

NAMED: Final = 4
"""The most partitions that a list names. It gives only the number of the others."""


class Labels:
    """Labels for the consumers of one `Watch`.

    Args:
        sources: all sources of events; may grow.
        consumers: all known consumers; may change.
    """

    def __init__(self, sources: Collection[str], consumers: Collection[ConsumerNow]) -> None:
        self._sources = sources
        self._consumers = consumers

    def of_consumer(self, consumer: ConsumerNow) -> str:
        """Return `#0`, with the source and the fleet in front of it if there are several."""
        number = "consumer" if consumer.index is None else f"#{consumer.index}"
        return f"{self._place(consumer.source, consumer.fleet)} {number}".strip()

    def of_origin(self, source: str, fleet: int, number: int | None) -> str:
        """Return the label of an event's origin. `number` is the consumer's, or None for the fleet's parent."""
        name = "fleet" if number is None else f"#{number}"
        return f"{self._place(source, fleet)} {name}".strip()

    def _place(self, source: str, fleet: int) -> str:
        """Return the text that distinguishes a fleet from the others; "" if it is the only one."""
        shown = shown_source(source) if len(self._sources) > 1 else ""
        has_neighbour = any(
            other.source == source and other.fleet != fleet and not other.has_ended for other in self._consumers
        )
        return f"{shown}/{fleet}" if shown and has_neighbour else str(fleet) if has_neighbour else shown


def shown_source(source: str) -> str:
    """Return a pod's name without its kind, a file's without its folder."""
    return plain(source.rpartition("/")[2] if source.startswith("/") else source.removeprefix("pod/"), 60)


def listed(names: list[str]) -> str:
    """Return partitions without their offsets; if they are many, the first ones and the number of the others."""
    shown = [name.partition("@")[0] for name in names[:NAMED]]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "nothing") + more
