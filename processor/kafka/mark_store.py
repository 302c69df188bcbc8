"""`MarkStore`: the notes of which letters are dealt with, as commits of groups that have no members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processor.kafka.admin import ANSWER_SECONDS
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.committed import commit_offsets, committed_offsets
from processor.kafka.config import open_client, reader_config
from processor.kafka.errors import error_of
from processor.operate.marks import Marks, Page, further_pages
from processor.options.connection import ConnectionOptions
from processor.runtime.ports import Partition

FORGOTTEN: Final = (2**62, "")
"""A page that the brokers do not have any more. It begins at an offset that no letter has, so that no mark moves to it.
"""


class MarkStore:
    """The pages of notes: page 0 is in the group `group`, page 1 in `group.1`, and so on. Belongs to one thread."""

    def __init__(self, connection: ConnectionOptions, group: str) -> None:
        self._connection = connection
        self._group = group
        self._clients: dict[int, Consumer] = {}
        self._first_pages: dict[Partition, tuple[int, str]] = {}
        """Page 0 of each partition, as it was last read or written."""

    def load(self, partitions: Iterable[Partition]) -> dict[Partition, Marks]:
        """Return the marks of the partitions.

        Raises:
            BrokerError: no broker responds, or this client has no right to read the group.
        """
        places = list(partitions)
        self._first_pages = self._committed(0, places)
        pages = {place: [page] for place, page in self._first_pages.items()}
        number = 1
        while further := [place for place, (first, *_) in pages.items() if further_pages(first[1]) >= number]:
            found = self._committed(number, further)
            for place in further:
                pages[place].append(found.get(place, FORGOTTEN))
            number += 1
        return {place: Marks(pages.get(place, ())) for place in places}

    def has_another_writer(self, partitions: Iterable[Partition]) -> bool:
        """Return whether another client has written page 0 of one of them since this one read or wrote it."""
        return self._committed(0, list(partitions)) != self._first_pages

    def save(self, changed: Mapping[Partition, list[Page]]) -> None:
        """Commits pages, those of a partition in their order.

        Raises:
            BrokerError: no broker responds, or this client has no right to commit.
            ProcessorError: the brokers refuse.
        """
        ahead = {place: list(order) for place, order in changed.items() if order}
        while ahead:
            number = next(iter(ahead.values()))[0].number
            together = [place for place, order in ahead.items() if order[0].number == number]
            pages = {place: ahead[place].pop(0) for place in together}
            commits = [TopicPartition(*place, page.offset, page.metadata) for place, page in pages.items()]
            ahead = {place: order for place, order in ahead.items() if order}
            try:
                commit_offsets(self._client(number), commits, ANSWER_SECONDS)
            except KafkaException as caught:
                error = error_of(
                    caught.args[0], self._connection.bootstrap_servers, about=f"group {self._name(number)}"
                )
                raise type(error)(f"what was done could not be noted: {error}") from None
            if number == 0:
                self._first_pages |= {place: (page.offset, page.metadata) for place, page in pages.items()}

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()

    def _committed(self, number: int, places: list[Partition]) -> dict[Partition, tuple[int, str]]:
        try:
            asked = [TopicPartition(*place) for place in places]
            found = committed_offsets(self._client(number), asked, ANSWER_SECONDS)
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
            own = {"group.id": self._name(number), **client_hooks(discard)}
            self._clients[number] = open_client(Consumer, {**config, **own})
        return self._clients[number]
