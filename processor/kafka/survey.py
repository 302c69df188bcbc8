"""`Surveyor`: queries the offsets of topics and of the group, in a separate thread and without joining the group.

It does not use an admin client: one that asks for a group's offsets while its broker is killed may abort the process
(confluent-kafka 2.16).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from processor.kafka.aside import Aside
from processor.kafka.client_log import client_hooks
from processor.kafka.committed import committed_offsets
from processor.kafka.config import open_client, reader_config
from processor.kafka.errors import error_of
from processor.runtime.ports import Commit, Partition, Survey
from processor.settings import Settings
from processor.telemetry.events import Event

ANSWER_SECONDS: Final = 3.0
"""Time limit for one request. The caller repeats it, and nothing else waits for it."""

IDLE_SECONDS: Final = 5.0
"""The client is closed after this time without a request."""

OnSurvey = Callable[[Survey | None, str | None], None]
"""Receives a survey, or why there is none."""


class Surveyor:
    """Belongs to the poller's thread. Its client is opened by the first survey, and closed once it is idle."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aside = Aside("survey")
        self._client: Consumer | None = None
        """Belongs to the thread of `Aside`."""
        self._is_asking = False
        self._used_at: float | None = None
        """When the last survey was requested or answered; None after the client was closed."""

    def ask(self, topics: Sequence[str], then: OnSurvey) -> None:
        """Has these topics surveyed; `then` receives the answer from inside `tick`."""

        def answered(answer: tuple[Survey | None, str | None]) -> None:
            self._is_asking, self._used_at = False, monotonic()
            then(*answer)

        self._is_asking, self._used_at = True, monotonic()
        self._aside.run(partial(self._answer, topics), answered)

    def tick(self) -> None:
        """Hands over an answer that has come. Closes a client that has been idle."""
        if self._used_at is None:
            return
        self._aside.deliver()
        if not self._is_asking and monotonic() - self._used_at > IDLE_SECONDS:
            self._used_at = None
            self._aside.run(self._close, lambda _: None)

    def close(self) -> None:
        """Ends the thread and closes the client. A survey in progress gets no answer."""
        self._aside.close(self._close)

    def _answer(self, topics: Sequence[str]) -> tuple[Survey | None, str | None]:
        try:
            if self._client is None:
                self._client = self._open()
            return survey_of(self._client, topics), None
        except KafkaException as caught:
            return None, str(error_of(caught.args[0], self._settings.bootstrap_servers))
        except Exception as error:  # noqa: BLE001 — a call aside must not raise, and without an answer none would follow
            return None, str(error)

    def _open(self) -> Consumer:
        settings = self._settings
        config = reader_config(settings.bootstrap_servers, settings.kafka_config)
        # The end is where the next record goes: those of an open transaction count, since they are yet to be settled.
        own = {"group.id": settings.group, "isolation.level": "read_uncommitted"}
        client: Consumer = open_client(Consumer, {**config, **own, **client_hooks(_say_nothing)})
        return client

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def survey_of(client: Consumer, topics: Sequence[str]) -> Survey:
    """Return the bounds of all partitions of the topics, and what the client's group has committed of them.

    Raises:
        KafkaException: a request has no response in time, or is refused.
    """
    partitions = [place for topic in topics for place in _partitions(client, topic)]
    starts, ends = (_offsets(client, partitions, which) for which in (OFFSET_BEGINNING, OFFSET_END))
    found = committed_offsets(client, [TopicPartition(*place) for place in partitions], ANSWER_SECONDS)
    committed = {}
    for place in found:
        if place.offset >= 0:
            partition = Partition(place.topic, place.partition)
            committed[partition] = Commit(partition, place.offset, place.metadata or "")
    return Survey({place: (starts[place], ends[place]) for place in partitions}, committed)


def _partitions(client: Consumer, topic: str) -> list[Partition]:
    metadata = client.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return [Partition(topic, number) for number in metadata.partitions]


def _offsets(client: Consumer, partitions: Sequence[Partition], which: int) -> Mapping[Partition, int]:
    """Return the first or the end offset of each, in one request: to the broker, both are special timestamps."""
    asked = [TopicPartition(*place, which) for place in partitions]
    found = map(_checked, client.offsets_for_times(asked, timeout=ANSWER_SECONDS))
    return {Partition(place.topic, place.partition): place.offset for place in found}


def _checked(place: TopicPartition) -> TopicPartition:
    if place.error is not None:
        raise KafkaException(place.error)
    return place


def _say_nothing(event: Event) -> None:
    """Discards the event: the member's own client reports problems with connections."""
