"""`Moment`: something that happened to the fleet, worth a line and a mark in the plots."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, Literal

import msgspec

from processor.observe.series import Series

Kind = Literal["start", "stop", "rebalance", "restart", "trouble"]

KEPT: Final = 500


class Moment(msgspec.Struct, kw_only=True):
    """One line, at one time (seconds since the epoch). Its text is harmless for a terminal."""

    at: float
    kind: Kind
    who: str
    text: str


class Moments:
    """The last ones in full, all of them counted, and when they were, in bounded memory."""

    def __init__(self) -> None:
        self.last: deque[Moment] = deque(maxlen=KEPT)
        self.counts: Counter[Kind] = Counter()
        self.marks: dict[Kind, Series] = {}

    def note(self, moment: Moment) -> None:
        """Adds one."""
        self.last.append(moment)
        self.counts[moment.kind] += 1
        self.marks.setdefault(moment.kind, Series()).note(moment.at, 1.0)
