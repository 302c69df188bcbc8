"""The lag of a group as `processor lag` reports it: its documents, and the verdict on each partition.

The verdicts are Burrow's, by `observe/window.py`, with the committed offset and the lag of each look as the samples.
Six further verdicts use facts beyond the offsets:
- `no-member`: it lags and no member of the group has it (Burrow's STOP, which Burrow infers from missing commits);
- `waits`: it is new in a topic that has grown, and waits for others;
- `delayed`: its oldest task that is not settled must not begin yet (`task-not-before`);
- `joining`: its oldest record that is not settled is an arrival of a group that waits for other branches;
- `paused`: it is paused, or its oldest task that is not settled is (only where the control topic is known);
- `held`: the committed offset does not move, but tasks behind it are done (Burrow's STALL, if nothing is done either).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final, Literal, NamedTuple

import msgspec

from processor.engine.pauses import Pauses
from processor.observe.window import Sample, Status, Window
from processor.observe.wording import duration, number
from processor.operate.census import Share
from processor.operate.partition_view import PartitionView
from processor.operate.pause_report import InForce
from processor.runtime.ports import Partition
from processor.telemetry.redaction import LogSessions, hashed

Verdict = Literal[
    "ok", "early", "behind", "held", "stalled", "no-member", "waits", "delayed", "joining", "paused", "rewound"
]

OF_STATUS: dict[Status, Verdict] = {
    Status.OK: "ok",
    Status.EARLY: "early",
    Status.BEHIND: "behind",
    Status.STALLED: "stalled",
    Status.STOPPED: "stalled",
    Status.REWOUND: "rewound",
}


class Owner(NamedTuple):
    """The member of the group that has a partition."""

    member_id: str
    client_id: str
    host: str


class Oldest(NamedTuple):
    """The oldest record of a partition that is not settled."""

    timestamp: int
    """Milliseconds since the epoch; -1 if it is not known."""
    due: float = -inf
    """The time before which its task must not begin, in seconds since the epoch."""
    key: bytes | None = None
    name: str | None = None
    """The task's name, if the headers have it."""
    join: str | None = None
    """The ID of its join, if it is an arrival."""


UNKNOWN: Final = Oldest(-1)


MAY_BE_PAUSED: Final = frozenset[Verdict]({"early", "behind", "held", "stalled", "delayed"})
"""Verdicts that a pause explains."""


class BusiestSession(msgspec.Struct, frozen=True, kw_only=True):
    """The session with the most tasks that are not settled, among those of a partition that were read."""

    session_id: str
    """the record key as text, or its hash as in the log: see --sessions"""
    tasks: int
    """tasks of this session among those that were read"""
    read: int
    """unsettled tasks that were read, the oldest of the partition, at most 10,000"""
    share: float
    """tasks divided by read"""
    is_all: bool
    """whether the partition has no other unsettled tasks"""


class PartitionLag(msgspec.Struct, frozen=True, kw_only=True):
    """One partition in the report of `processor lag`."""

    topic: str
    partition: int
    start: int
    """lowest offset that is retained"""
    end: int
    """offset of the next record"""
    committed: int | None
    """offset that the group has committed"""
    lag: int
    """offsets from the commit to the end, as other tools count them"""
    done_ahead: int
    """number of these offsets that are settled according to the skip map in the commit"""
    left: int
    """offsets that are not settled"""
    oldest_at: int | None
    """timestamp of the oldest unsettled record, in milliseconds since the epoch; null if none is left, or unknown"""
    oldest_age_seconds: float | None
    """age of that record"""
    delayed_until: int | None
    """the time before which its task must not begin, in milliseconds since the epoch; null if it may begin"""
    join: str | None
    """the join at which it waits for other branches: the ID of what follows a group; null if it is not an arrival"""
    member_id: str | None
    """the member that has the partition"""
    client_id: str | None
    """its client ID"""
    host: str | None
    """its address, as the coordinator sees it"""
    verdict: Verdict
    """see docs/OPERATING.md"""
    waits_for: list[str]
    """partitions that a new partition waits for, each as TOPIC[PARTITION]"""
    paused: InForce | None = None
    """the pause that covers the partition or its oldest unsettled task; null without one, or without --control-topic"""
    busiest_session: BusiestSession | None = None
    """the session with the most tasks that are not settled; null without --sessions, or if none with a key was read"""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a report."""

    partitions: int
    lag: int
    done_ahead: int
    left: int
    oldest_age_seconds: float | None
    """age of the oldest unsettled record of all partitions"""


class LagReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor lag -o json` prints; with --watch, one in each line."""

    group: str
    at: int
    """when the group was asked, in milliseconds since the epoch"""
    state: str | None
    """state of the group, such as stable or empty; null if the coordinator does not report it"""
    members: int | None
    """number of members; null if the coordinator does not report it"""
    totals: Totals
    partitions: list[PartitionLag]
    pauses: int | None = None
    """pauses in force; null without --control-topic"""
    paused_since: int | None = None
    """when the oldest of them was ordered, in milliseconds since the epoch; null without one"""


class Trail:
    """The samples of one partition, as far as the verdict needs them."""

    def __init__(self, length: int) -> None:
        """`length`: samples in a full window."""
        self._window = Window(length)
        self._first_done: dict[int, int] = {}
        """The count of tasks done ahead in the first sample with a committed offset, by offset; only the latest."""
        self._done_ahead = 0
        self._offset = 0

    def note(self, at: float, view: PartitionView) -> None:
        """Add a sample of the time `at`, in seconds since the epoch."""
        self._offset = view.settled_below
        self._done_ahead = size(view.settled_ranges())
        if self._offset not in self._first_done:
            self._first_done = {self._offset: self._done_ahead}
        self._window.note(Sample(at, self._offset, view.lag))

    @property
    def is_conclusive(self) -> bool:
        """Return whether another look would not change the verdict: the window is full, or it is `ok`."""
        samples = self._window.samples
        return len(samples) >= self._window.length or any(sample.lag <= 0 for sample in samples)

    def verdict(
        self, *, is_owned: bool | None, waits: bool, oldest: Literal["delayed", "joining"] | None = None
    ) -> Verdict:
        """Return the verdict.

        Args:
            is_owned: whether a member has the partition; None if that is not known.
            waits: whether it waits for other partitions.
            oldest: the reason why its oldest unsettled record waits, if the record itself has one.
        """
        samples = self._window.samples
        last = samples[-1]
        status = self._window.judge(last.at)
        if last.lag > 0 and is_owned is False:
            return "no-member"
        if waits:
            return "waits"
        if oldest is not None and status is not Status.OK:
            return oldest
        if status is Status.STALLED and self._done_ahead > self._first_done[self._offset]:
            return "held"
        return OF_STATUS[status]


def size(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many offsets the ranges contain."""
    return sum(high - low for low, high in ranges)


def partition_lag(
    view: PartitionView,
    owner: Owner | None,
    oldest: Oldest | None,
    now: float,
    verdict: Verdict,
    waits: Sequence[Partition],
) -> PartitionLag:
    """Return the report on one partition.

    Args:
        view: its offsets.
        owner: the member that has it, if one has.
        oldest: its oldest unsettled record, `UNKNOWN` if that was not read; None if what is left contains no record,
            only aborted ones, for example.
        now: seconds since the epoch.
        verdict: from its `Trail`.
        waits: the partitions that it waits for.
    """
    done_ahead = size(view.settled_ranges())
    known_at = oldest.timestamp if oldest is not None and oldest.timestamp >= 0 else None
    return PartitionLag(
        topic=view.partition.topic,
        partition=view.partition.number,
        start=view.start,
        end=view.end,
        committed=view.committed,
        lag=view.lag,
        done_ahead=done_ahead,
        left=max(view.end - view.settled_below - done_ahead, 0) if oldest is not None else 0,
        oldest_at=known_at,
        oldest_age_seconds=None if known_at is None else round(max(now - known_at / 1000, 0.0), 3),
        delayed_until=int(oldest.due * 1000) if oldest is not None and oldest.due > now else None,
        join=oldest.join if oldest is not None else None,
        member_id=owner.member_id if owner is not None else None,
        client_id=owner.client_id if owner is not None else None,
        host=owner.host if owner is not None else None,
        verdict=verdict,
        waits_for=[str(other) for other in waits],
    )


def waits_itself(oldest: Oldest | None, now: float) -> Literal["delayed", "joining"] | None:
    """Return why the oldest unsettled record of a partition waits, if the record itself has the reason."""
    if oldest is None:
        return None
    if oldest.join is not None:
        return "joining"
    return "delayed" if oldest.due > now else None


def with_pause(row: PartitionLag, oldest: Oldest | None, pauses: Pauses) -> PartitionLag:
    """Return the report on a partition with the pause that covers it, or its oldest unsettled task, if one does."""
    key, name = (oldest.key, oldest.name) if oldest is not None else (None, None)
    target = pauses.target_of(f"{row.topic}:{row.partition}", key, name)
    if target is None:
        return row
    pause = pauses.in_force[target]
    in_force = InForce(kind=target.kind, what=target.text, since=pause.since, by=pause.by)
    verdict = "paused" if row.verdict in MAY_BE_PAUSED else row.verdict
    return msgspec.structs.replace(row, paused=in_force, verdict=verdict)


def with_session(row: PartitionLag, share: Share | None, sessions: LogSessions) -> PartitionLag:
    """Return the report on a partition with its busiest session, shown hashed or plain."""
    if share is None:
        return row
    session_id = share.key.decode("utf-8", "backslashreplace")
    busiest = BusiestSession(
        session_id=hashed(session_id) if sessions == "hashed" else session_id,
        tasks=share.tasks,
        read=share.read,
        share=round(share.tasks / share.read, 4),
        is_all=share.is_all,
    )
    return msgspec.structs.replace(row, busiest_session=busiest)


def totals_of(partitions: Sequence[PartitionLag]) -> Totals:
    """Return the sums."""
    ages = [one.oldest_age_seconds for one in partitions if one.oldest_age_seconds is not None]
    return Totals(
        partitions=len(partitions),
        lag=sum(one.lag for one in partitions),
        done_ahead=sum(one.done_ahead for one in partitions),
        left=sum(one.left for one in partitions),
        oldest_age_seconds=max(ages, default=None),
    )


def sentence(totals: Totals) -> str:
    """Return the totals in words: "12,031 behind, 11,990 of them done, 41 left; the oldest is 3 m 02 s old"."""
    if not totals.lag:
        return "nothing behind"
    done = f", {number(totals.done_ahead)} of them done, {number(totals.left)} left" if totals.done_ahead else ""
    age = totals.oldest_age_seconds
    return f"{number(totals.lag)} behind{done}" + (f"; the oldest is {duration(age)} old" if age is not None else "")
