"""`DeadLetters`: the letters of one dead-letter topic that are not dealt with yet, and the notes of those that are."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from types import TracebackType
from typing import Final, Self

from confluent_kafka.admin import AclOperation

from processor.engine.record import Record
from processor.errors import LoadError, ProcessorError, SettingsError
from processor.kafka.admin import ANSWER_SECONDS, TopicAdmin, missing_topics
from processor.kafka.config import admin_config
from processor.kafka.mark_store import MarkStore
from processor.kafka.scan import Scan
from processor.operate.letters import Letter, letter_of
from processor.options.connection import ConnectionOptions
from processor.options.names import DEAD_LETTER_SUFFIX, LONGEST_TOPIC
from processor.runtime.ports import Partition

NOTE_SECONDS: Final = 0.5
"""Time between two commits of notes. Letters that were replayed since the last one are sent twice after a kill."""

NOTE_EVERY: Final = 500
"""The most letters between two commits of notes."""

FOREIGN: Final = 100
"""A topic that begins with this many records that are not dead letters is not a dead-letter topic."""


class DeadLetters:
    """A dead-letter topic. Belongs to one thread. Its methods raise BrokerError if no broker responds or access is
    denied.
    """

    def __init__(self, connection: ConnectionOptions, topic: str, group: str) -> None:
        """Opens the clients, and reads the notes.

        Args:
            connection: the brokers.
            topic: the dead-letter topic.
            group: the group that holds the notes.

        Raises:
            LoadError: the topic does not exist.
            BrokerError: this client may not read the topic or the group.
        """
        self.topic = topic
        self.dealt_with = 0
        """Number of letters that were left out because they are dealt with."""
        self.foreign = 0
        """Number of records that are not dead letters."""
        self._admin = TopicAdmin(admin_config(connection.bootstrap_servers, connection.kafka_config))
        self._servers = connection.bootstrap_servers
        self._scan = Scan(connection, f"topic {topic}")
        self._store = MarkStore(connection, group)
        count = self.partition_count(topic)
        self._admin.require(AclOperation.READ, [topic])
        self._bounds = self._scan.bounds(topic, count)
        self._marks = self._store.load(self._bounds)
        for place, (low, _) in self._bounds.items():
            self._marks[place].add(0, low)
        self._unnoted = 0
        self._noted_at = monotonic()

    def partition_count(self, topic: str) -> int:
        """Return the number of partitions of a topic.

        Raises:
            LoadError: it does not exist.
        """
        found = self._admin.partitions([topic], ANSWER_SECONDS)
        if topic not in found:
            raise LoadError(missing_topics([topic], self._servers))
        return found[topic]

    def require_target(self, topic: str) -> None:
        """Check that letters can be sent to a topic.

        Raises:
            LoadError: it does not exist.
            BrokerError: this client may not write to it.
        """
        self.partition_count(topic)
        self._admin.require(AclOperation.WRITE, [topic])

    def letters(self, *, every: bool = False) -> Iterator[Letter | None]:
        """Yield the letters that are in the topic now, each partition in its order, and None while none arrives.

        Args:
            every: whether to include letters that are dealt with.

        Raises:
            SettingsError: the topic is not one of dead letters.
        """
        found = 0
        begin = {place: low if every else max(low, self._marks[place].base) for place, (low, _) in self._bounds.items()}
        self.dealt_with = sum(begin[place] - low for place, (low, _) in self._bounds.items())
        after = dict(begin)
        for record in self._scan.records({place: (begin[place], high) for place, (_, high) in self._bounds.items()}):
            if record is None:
                yield None
                continue
            place = Partition(record.topic(), record.partition())
            self._marks[place].add(after[place], record.offset())  # there are no records in between
            after[place] = record.offset() + 1
            letter = self._letter(record, every=every)
            found += letter is not None
            if not found and self.foreign >= FOREIGN:
                break
            if letter is not None:
                yield letter
        if not found and not self.dealt_with:
            self._check_topic()

    def _letter(self, record: Record, *, every: bool) -> Letter | None:
        place, offset = Partition(record.topic(), record.partition()), record.offset()
        letter = letter_of(record)
        if letter is None:
            self.foreign += 1
            self._marks[place].add(offset, offset + 1)
        elif offset in self._marks[place] and not every:
            self.dealt_with += 1
            return None
        return letter

    def _check_topic(self) -> None:
        """Refuse a topic without letters if it has other records, or if its own dead letters are in another topic."""
        likely = f"{self.topic}{DEAD_LETTER_SUFFIX}"
        if len(likely) <= LONGEST_TOPIC and likely in self._admin.partitions([likely], ANSWER_SECONDS, tolerant=True):
            raise SettingsError(f"{self.topic} has no dead letters, and {likely} exists: give -t {likely}")
        if self.foreign:
            raise SettingsError(f"{self.topic} has no dead letters: its records have no header dlq-topic")

    def is_dealt_with(self, letter: Letter) -> bool:
        """Return whether the letter was replayed or discarded."""
        return letter.place.offset in self._marks[self._partition(letter)]

    def deal(self, letter: Letter) -> None:
        """Mark a letter as dealt with: replayed or discarded. The note is committed soon, see `note_when_due`."""
        self._marks[self._partition(letter)].add(letter.place.offset, letter.place.offset + 1)
        self._unnoted += 1

    def note_when_due(self) -> None:
        """Commit the notes if there is enough to note.

        Raises:
            ProcessorError: the brokers refuse.
        """
        if self._unnoted >= NOTE_EVERY or (self._unnoted and monotonic() - self._noted_at >= NOTE_SECONDS):
            self.note()

    def note(self, *, every: bool = False) -> None:
        """Commit the notes that have changed; with `every` all notes, which renews their retention on the brokers.

        Raises:
            BrokerError: this client has no right to.
            ProcessorError: the brokers refuse, or another command notes the letters of this topic at the same time.
        """
        is_alone = not self._store.has_another_writer(self._marks)
        if not is_alone:
            self._join_marks()
        self._store.save({place: marks.changed(every=every) for place, marks in self._marks.items()})
        self._unnoted, self._noted_at = 0, monotonic()
        if not is_alone:
            raise ProcessorError(
                f"another replay or discard of {self.topic} is under way; this one stops, and what it did is noted"
            )

    def _join_marks(self) -> None:
        """Add the marks of this command to those that another one has written."""
        own, self._marks = self._marks, self._store.load(self._marks)
        for place, marks in own.items():
            for low, high in marks.ranges():
                self._marks[place].add(low, high)

    def close(self) -> None:
        """Closes the clients."""
        self._scan.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _partition(self, letter: Letter) -> Partition:
        return Partition(self.topic, letter.place.partition)
