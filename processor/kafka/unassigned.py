"""`UnassignedWatch`: finds partitions that no member of the group has, after a static member was replaced.

A cooperative rebalance has two rounds: in the first, a member gives up partitions; in the second, another member gets
them. If a static member dies between the two, its successor gets the assignment of the first round without a rebalance,
and the second round never comes: the partitions that were given up have no owner until the group changes. So the
successor checks for such partitions, and joins again if there are any.
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial
from time import monotonic
from typing import Final

from processor.kafka.aside import Aside
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.missing import Missing
from processor.runtime.ports import Partition

CHECK_SECONDS: Final = 1.0
"""Time between two checks, and before the first one."""


class UnassignedWatch:
    """Belongs to the poller's thread; another thread sends the requests. It ends when every partition has a member."""

    def __init__(self, aside: Aside, inquiry: GroupInquiry) -> None:
        self._aside = aside
        self._inquiry = inquiry
        self._next_check = float("inf")
        self._has_ended = False
        self._missing = Missing()

    def is_due(self) -> bool:
        """Return whether it is time to check."""
        return monotonic() >= self._next_check

    def check(self, _member_id: str, own: Set[Partition]) -> None:
        """Ask which partitions have no member. `own` is the live set of the member's own: it is read at the answer."""
        self._next_check = float("inf")
        self._aside.run(self._inquiry.unassigned, partial(self._compare, own))

    def on_rebalanced(self) -> None:
        """Start again after a rebalance: what was missing before proves nothing."""
        self._missing.forget()
        if not self._has_ended:
            self._next_check = monotonic() + CHECK_SECONDS

    def unserved(self) -> frozenset[Partition]:
        """Return the partitions that have been missing for long enough, once."""
        return self._missing.take()

    def _compare(self, own: Set[Partition], unassigned: frozenset[Partition] | None) -> None:
        """Note the answer; None means that the group rebalances, or that its coordinator does not answer."""
        missing = frozenset() if unassigned is None else unassigned - own
        self._missing.note(missing)
        self._has_ended = unassigned is not None and not missing
        if not self._has_ended:
            self._next_check = monotonic() + CHECK_SECONDS
