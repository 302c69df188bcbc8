"""`MarkStore`: the notes of which letters are dealt with, as commits of groups that have no members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processor.kafka.admin import ANSWER_SECONDS
from processor.kafka.client_log import client_hooks
from processor.kafka.config import error_of, open_client, reader_config
from processor.operate.marks import Marks, Page
from processor.options.connection import ConnectionOptions
from processor.runtime.ports import Partition
from processor.telemetry.events import Event

MOST_PAGES: Final = 1000
"""Pages of one partition that are read: letters that no pattern can describe fill one with each 25,000."""


class MarkStore:
    """Page 0 is in the group `group`, page 1 in `group.1`, and so on. Belongs to one thread."""

    def __init__(self, connection: ConnectionOptions, group: str) -> None:
        self._connection = connection
        self._group = group
        self._clients: dict[int, Consumer] = {}

    def load(self, partitions: Iterable[Partition]) -> dict[Partition, Marks]:
        """Return the marks of the partitions.

        Raises:
            BrokerError: no broker responds, or this client has no right to read the group.
        """
        places = list(partitions)
        pages: dict[Partition, list[tuple[int, str]]] = {place: [] for place in places}
        for number in range(MOST_PAGES):
            found = self._committed(number, [place for place in places if len(pages[place]) == number])
            for place, page in found.items():
                pages[place].append(page)
            if not found:
                break
        return {place: Marks(pages[place]) for place in places}

    def save(self, changed: Mapping[Partition, list[Page]]) -> None:
        """Commits pages, those with higher numbers first.

        Raises:
            BrokerError: no broker responds, or this client has no right to commit.
            ProcessorError: the brokers refuse.
        """
        by_number: dict[int, list[TopicPartition]] = {}
        for place, pages in changed.items():
            for page in pages:
                by_number.setdefault(page.number, []).append(TopicPartition(*place, page.offset, page.metadata))
        for number in sorted(by_number, reverse=True):
            try:
                for answer in self._client(number).commit(offsets=by_number[number], asynchronous=False) or []:
                    if answer.error is not None:
                        raise KafkaException(answer.error)
            except KafkaException as caught:
                error = error_of(
                    caught.args[0], self._connection.bootstrap_servers, about=f"group {self._name(number)}"
                )
                raise type(error)(f"what was done could not be noted: {error}") from None

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()

    def _committed(self, number: int, places: list[Partition]) -> dict[Partition, tuple[int, str]]:
        if not places:
            return {}
        try:
            asked = [TopicPartition(*place) for place in places]
            found = self._client(number).committed(asked, timeout=ANSWER_SECONDS)
            for answer in found:
                if answer.error is not None:
                    raise KafkaException(answer.error)
        except KafkaException as caught:
            servers = self._connection.bootstrap_servers
            raise error_of(caught.args[0], servers, about=f"group {self._name(number)}") from None
        return {
            Partition(answer.topic, answer.partition): (answer.offset, answer.metadata or "")
            for answer in found
            if answer.offset >= 0
        }

    def _name(self, number: int) -> str:
        return f"{self._group}.{number}" if number else self._group

    def _client(self, number: int) -> Consumer:
        if number not in self._clients:
            config = reader_config(self._connection.bootstrap_servers, self._connection.kafka_config)
            own = {"group.id": self._name(number), **client_hooks(_ignore)}
            self._clients[number] = open_client(Consumer, {**config, **own})
        return self._clients[number]


def _ignore(event: Event) -> None:
    """Discards events: the raised errors say what is wrong."""
