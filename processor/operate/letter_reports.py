"""The documents that `processor dlq` prints: groups of dead letters, single ones, and counts of replays."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from processor.operate.letter_filter import Identify, value_of
from processor.operate.letters import Letter

By = Literal["error-type", "name", "session", "id", "group", "topic", "age"]

AGES: Final = ((3_600_000, "last hour"), (86_400_000, "last 24 hours"), (604_800_000, "last 7 days"))
"""Groups by age: the most milliseconds since the failure, and the name."""

MOST_GROUPS: Final = 10_000
"""The most groups. Letters of further groups are counted together."""

REST: Final = "(others)"


class LetterGroup(msgspec.Struct, kw_only=True):
    """Letters with something in common."""

    value: str
    """the error type, or the value of the field that --by names"""
    letters: int
    first_failed_at: int
    """milliseconds since the epoch; -1 if the letters do not have it"""
    last_failed_at: int
    """the same of the latest one"""
    error: str
    """error message of the latest one"""
    letter: str
    """place of the latest one, PARTITION:OFFSET, for `dlq show`"""


class LetterGroups(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor dlq list -o json` prints."""

    topic: str
    by: By
    """what the groups have in common"""
    letters: int
    """letters that the conditions match"""
    dealt_with: int
    """letters that are left out, being replayed or discarded; counted by offsets, which may include other records"""
    foreign: int
    """records that are not dead letters"""
    groups: list[LetterGroup]
    """the largest first"""


class LetterDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor dlq show -o json` prints."""

    letter: str
    """place in the dead-letter topic, PARTITION:OFFSET"""
    dealt_with: bool
    """whether it was replayed or discarded"""
    topic: str
    """original topic"""
    partition: int
    """original partition"""
    offset: int
    """original offset"""
    timestamp: int
    """of the original record, in milliseconds since the epoch; -1 if it had none"""
    session: str
    name: str
    id: str
    group: str
    """consumer group that dead-lettered it"""
    error_type: str
    error_message: str
    attempts: int
    """attempts that it had; 0 if it could not be decoded"""
    replays: int
    """how often it was replayed before"""
    failed_at: int
    """milliseconds since the epoch"""
    headers: list[tuple[str, str | None]]
    """of the original record; bytes that are not UTF-8 as \\xNN"""
    value: Any
    """its decoded value, or the part of it that could be decoded"""
    decode_error: str | None
    """why it could not be decoded"""


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor dlq replay -o json` and `processor dlq discard -o json` print."""

    topic: str
    executed: bool
    """whether anything was done; without --execute nothing is"""
    letters: int
    """letters that the conditions match; with --execute, those that were replayed or discarded"""
    targets: dict[str, int]
    """of these, how many for each original topic"""
    guarded: int
    """letters that were replayed --max-replays times already, and are left alone"""
    unmet: int
    """letters of tasks that follow from other letters and come with those: noted as dealt with, not sent"""
    other: int
    """letters that the conditions do not match"""
    dealt_with: int
    """letters that were replayed or discarded before; counted by offsets, which may include other records"""
    foreign: int
    """records that are not dead letters"""


class Grouping:
    """Counts letters by one of their fields, with bounded memory."""

    def __init__(self, by: By, now: float) -> None:
        """`by` is the field to group by, `now` the time in seconds since the epoch."""
        self.letters = 0
        self._now = int(now * 1000)
        self._by = by
        self._groups: dict[str, LetterGroup] = {}

    def note(self, letter: Letter, identify: Identify) -> None:
        """Count a letter."""
        self.letters += 1
        value = self._age(letter) if self._by == "age" else value_of(self._by, letter, identify)
        if value not in self._groups and len(self._groups) >= MOST_GROUPS:
            value = REST
        group = self._groups.get(value)
        if group is None:
            first = letter.failed_at
            group = self._groups[value] = LetterGroup(
                value=value, letters=0, first_failed_at=first, last_failed_at=-2, error="", letter=""
            )
        group.letters += 1
        group.first_failed_at = min(group.first_failed_at, letter.failed_at)
        if letter.failed_at >= group.last_failed_at:
            group.last_failed_at = letter.failed_at
            group.error, group.letter = letter.error_message, str(letter.place)

    def _age(self, letter: Letter) -> str:
        """Return the group with the lowest limit that the letter's age does not exceed."""
        return next((name for most, name in AGES if self._now - letter.failed_at <= most), "older")

    def groups(self) -> list[LetterGroup]:
        """Return the groups, the largest first."""
        return sorted(self._groups.values(), key=lambda group: (-group.letters, group.value))
