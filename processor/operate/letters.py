"""`Letter`: a dead letter, read as the record that it was in its original topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from processor.engine.record import Headers, Record
from processor.handlers.task import REPLAYS
from processor.options.names import LARGEST_PARTITION

ADDED: Final = (
    "dlq-topic",
    "dlq-partition",
    "dlq-offset",
    "dlq-timestamp",
    "dlq-group",
    "dlq-attempts",
    "dlq-error-type",
    "dlq-error-message",
    "dlq-failed-at",
)
"""The headers that a dead letter has besides those of its record, see `runtime/settlement.py`."""

ARRIVAL: Final = "task-arrival"
AFTER: Final = "task-after"
"""The header with the ID of the dead-lettered task that this one follows, see `handlers/links.py`."""


class Place(NamedTuple):
    """Where a letter is in the dead-letter topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Letter:
    """A dead letter. Its `Record` methods return what the record had in its original topic."""

    def __init__(self, record: Record, added: dict[str, str]) -> None:
        """Use `letter_of`."""
        self._record = record
        self._added = added
        self.place = Place(record.partition(), record.offset())
        self.error_type = added.get("dlq-error-type", "")
        self.error_message = added.get("dlq-error-message", "")
        self.group = added.get("dlq-group", "")
        self.attempts = _number(added.get("dlq-attempts"))
        self.failed_at = _number(added.get("dlq-failed-at"))
        """Time of the failure in milliseconds since the epoch; -1 if the letter does not have it."""

    def topic(self) -> str:
        """The original topic."""
        return self._added["dlq-topic"]

    def partition(self) -> int:
        """The original partition; -1 if the letter does not have it."""
        number = _number(self._added.get("dlq-partition"))
        return number if number <= LARGEST_PARTITION else -1

    def offset(self) -> int:
        """The original offset; -1 if the letter does not have it."""
        return _number(self._added.get("dlq-offset"))

    def key(self) -> bytes | None:
        """The record's key."""
        return self._record.key()

    def value(self) -> bytes | None:
        """The record's value."""
        return self._record.value()

    def headers(self) -> Headers:
        """The record's headers, without those that were added, and without the count of replays."""
        return restored(self._record.headers() or ())

    def timestamp(self) -> tuple[int, int]:
        """The original timestamp in the client's form: a kind, 0 if there is none, and milliseconds."""
        milliseconds = _number(self._added.get("dlq-timestamp"))
        return (1, milliseconds) if milliseconds >= 0 else (0, -1)

    def error(self) -> None:
        """None: a letter is a record, and not an error of the client."""

    @property
    def comes_with_another(self) -> bool:
        """Whether its task follows from one that is a letter too. A replay of that one sends this task again."""
        return any(name == AFTER for name, _ in self._record.headers() or ())

    @property
    def replays(self) -> int:
        """Number of times that the record was replayed before it became this letter."""
        counts = [_number(_text(value)) for name, value in self._record.headers() or () if name == REPLAYS]
        return max([*counts, 0])

    def replayed_partition(self) -> int | None:
        """The partition that the record is sent to again; None is that of its key.

        An arrival is sent to the partition of its join. This may not be that of its key if the topic has grown.
        """
        is_arrival = any(name == ARRIVAL for name, _ in self._record.headers() or ())
        return self.partition() if is_arrival and self.partition() >= 0 else None

    def replayed_headers(self) -> Headers:
        """The headers with which the record is sent again."""
        return [*self.headers(), (REPLAYS, str(self.replays + 1).encode())]

    @property
    def size(self) -> int:
        """Bytes of the key, the value and the headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self._record.headers() or ())
        return len(self.key() or b"") + len(self.value() or b"") + headers


def letter_of(record: Record) -> Letter | None:
    """Return the record as a dead letter; None if it is not one, since it has no header `dlq-topic`."""
    added = {name: _text(value) for name, value in record.headers() or () if name in ADDED}
    return Letter(record, added) if added.get("dlq-topic") else None


def restored(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """Return the headers without the last one of each of `ADDED`, and without the counts of replays.

    A record that was a dead letter before it failed again, in a group that consumes a dead-letter topic, keeps the
    headers of its first failure.
    """
    kept = list(headers)
    for name in ADDED:
        last = max((index for index, (other, _) in enumerate(kept) if other == name), default=None)
        if last is not None:
            del kept[last]
    return [(name, value) for name, value in kept if name != REPLAYS]


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")


def _number(text: str | None) -> int:
    """Return a number that is not negative; -1 if the text is not one."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else -1
