"""A reset of a group's offsets: what it would change in each partition, and at what cost."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from processor.errors import ProcessorError
from processor.operate.lag import size
from processor.operate.moments import Target
from processor.operate.partition_view import PartitionView
from processor.options.names import topic_fault


class OffsetChange(msgspec.Struct, frozen=True, kw_only=True):
    """One partition in the report of `processor offsets reset`."""

    topic: str
    partition: int
    before: int | None
    """committed offset before the reset"""
    after: int
    """committed offset after it"""
    runs_again: int
    """settled offsets, done ahead ones included, that are delivered again"""
    skipped: int
    """offsets that are not settled and will not be delivered"""
    clamped: bool
    """whether the partition does not have the requested offset, and the nearest one is taken"""


class ResetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor offsets reset -o json` prints."""

    group: str
    executed: bool
    """whether the offsets were changed; without --execute they are not"""
    target: Literal["earliest", "latest", "time", "offset", "shift"]
    """kind of the target"""
    value: int | None
    """offset, number of offsets to shift by, or milliseconds since the epoch; null for earliest and latest"""
    partitions: list[OffsetChange]


class GroupOffset(msgspec.Struct, frozen=True, kw_only=True):
    """One partition in the report of `processor offsets show`."""

    topic: str
    partition: int
    start: int
    """lowest offset that is retained"""
    committed: int | None
    """offset that the group has committed"""
    end: int
    """offset of the next record"""
    lag: int
    """offsets from the commit to the end"""
    done_ahead: int
    """number of these offsets that are settled according to the skip map"""
    ranges: int
    """separate ranges in the skip map"""
    metadata_characters: int
    """length of the commit's metadata; brokers limit it to 4096 by default"""


class OffsetsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor offsets show -o json` prints."""

    group: str
    partitions: list[GroupOffset]


class Selection(NamedTuple):
    """A topic, or one partition of it, as `-t` names it."""

    topic: str
    number: int | None


_SELECTION = re.compile(r"([^:]*)(?::([0-9]{1,6}))?")


def selection_of(text: str) -> Selection:
    """Read `TOPIC` or `TOPIC:PARTITION`, which `selection_fault` has accepted."""
    topic, _, number = text.partition(":")
    return Selection(topic, int(number) if number else None)


def selection_fault(text: str) -> str | None:
    """Return what is wrong with a selection, in the words that follow an option's name, or None."""
    found = _SELECTION.fullmatch(text)
    if found is None:
        return f"must be TOPIC or TOPIC:PARTITION, not {text[:80]!r}"
    return topic_fault(found[1])


def change_of(view: PartitionView, target: Target, offset_at_time: int | None) -> OffsetChange:
    """Return what the reset changes in a partition.

    Args:
        view: the partition.
        target: where to reset to.
        offset_at_time: for a target in time, the offset of the first record from that time on, None if there is none.

    Raises:
        ProcessorError: the target is relative to a commit that the group does not have.
    """
    wanted = _wanted(view, target, offset_at_time)
    after = min(max(wanted, view.start), view.end)
    settled_below = view.settled_below
    settled = [(view.start, settled_below), *view.settled_ranges()]
    runs_again = size((max(low, after), high) for low, high in settled if high > max(low, after))
    passed = size((low, min(high, after)) for low, high in view.settled_ranges() if low < after)
    return OffsetChange(
        topic=view.partition.topic,
        partition=view.partition.number,
        before=view.committed,
        after=after,
        runs_again=runs_again,
        skipped=max(after - settled_below - passed, 0),
        clamped=after != wanted,
    )


def _wanted(view: PartitionView, target: Target, offset_at_time: int | None) -> int:
    match target.kind:
        case "earliest":
            return view.start
        case "latest":
            return view.end
        case "time":
            return view.end if offset_at_time is None else offset_at_time
        case "offset":
            return target.value
        case "shift":
            if view.committed is None:
                raise ProcessorError(f"{view.partition} has no committed offset to count from: give another --to")
            return view.committed + target.value
