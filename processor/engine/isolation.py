"""`Isolation`: runs each suspect alone, so that a process that dies proves which task has killed it."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from processor.engine.assignment import Assignment
from processor.engine.ledger import Ledger, Loan
from processor.engine.record import Record

P = TypeVar("P", bound=Hashable)


class Stage(enum.Enum):
    """What the isolated loan waits for."""

    NONE = "no suspect is isolated; lanes are lent as usual"
    AWAITING = "a suspect is next; running tasks must finish first, and nothing else begins"
    ALONE = "a suspect runs; nothing else begins"


NONE, AWAITING, ALONE = Stage

TRANSITIONS: dict[tuple[Stage, str], Stage] = {
    (NONE, "find"): AWAITING,
    (AWAITING, "begin"): ALONE,
    (AWAITING, "return"): NONE,
    (ALONE, "end"): NONE,
}
"""All transitions, for one suspect at a time. Others cannot happen."""


class Isolation(Generic[P]):
    """The suspects of one consumer, and the one that is isolated now.

    Not thread-safe: changes need one lock around each call. `deaths_of` needs none.
    """

    def __init__(self) -> None:
        self.is_active = False
        """Whether there are suspects, or one is isolated. While it is false, no other method needs to be called."""
        self.stage = NONE
        self.loan: Loan | None = None
        """The isolated suspect, with its one record."""
        self._suspects: dict[P, dict[int, int]] = {}
        """The number of deaths that count against each suspect, by partition and offset."""

    @property
    def suspects(self) -> list[tuple[P, int]]:
        """Partition and offset of each suspect."""
        return [(partition, offset) for partition, offsets in self._suspects.items() for offset in offsets]

    def suspect(self, suspects: Iterable[tuple[P, int, int]]) -> None:
        """Replace the suspects.

        Args:
            suspects: partition, offset, and the deaths that count against each.
        """
        by_partition: dict[P, dict[int, int]] = {}
        for partition, offset, deaths in suspects:
            by_partition.setdefault(partition, {})[offset] = deaths
        self._suspects = by_partition
        self._note()

    def acquit(self, partition: P, below: int) -> list[int]:
        """Removes the partition's suspects below this offset, where every task is settled. Returns their offsets."""
        offsets = self._suspects.get(partition, {})
        settled = [offset for offset in offsets if offset < below]
        if settled:
            left = {offset: deaths for offset, deaths in offsets.items() if offset >= below}
            others = {other: theirs for other, theirs in self._suspects.items() if other != partition}
            self._suspects = {**others, partition: left} if left else others
            self._note()
        return settled

    def deaths_of(self, partition: P, offset: int) -> int:
        """Return the deaths that count against a task. Any thread may call it."""
        return self._suspects.get(partition, {}).get(offset, 0)

    def filter(self, assignment: Assignment[P], loans: list[Loan]) -> list[Loan]:
        """Return those of the loans that may begin now, while nothing is isolated.

        A loan is cut before its first suspect. If a loan begins with a suspect, it is isolated, and all others go back.
        """
        found: Loan | None = None
        for loan in loans:
            at = self._first_suspect(assignment.partition_of(loan.ledger), loan.records)
            if at is not None:
                assignment.narrow(loan, max(at, 1))
            if at == 0 and found is None:
                found = loan
        if found is None:
            return loans
        for loan in reversed(loans):  # each goes to the front: the first one comes first again
            if loan is not found:
                assignment.take_back(loan)
        self._move("find", found)
        deaths = self.deaths_of(assignment.partition_of(found.ledger), found.records[0].offset())
        found.attempt = max(found.attempt, deaths + 1)
        return []

    def may_join(self, assignment: Assignment[P], ledger: Ledger, records: Sequence[Record]) -> int:
        """Return how many of these records of a ledger are before its first suspect."""
        at = self._first_suspect(assignment.partition_of(ledger), records)
        return len(records) if at is None else at

    def begin(self) -> Loan:
        """Begin the suspect, now that nothing else runs. Return its loan."""
        assert self.loan is not None
        self._move("begin", self.loan)
        return self.loan

    def give_back(self, assignment: Assignment[P]) -> None:
        """Take back the suspect's loan: it may not begin after all."""
        assert self.loan is not None
        assignment.take_back(self.loan)
        self._move("return", None)

    def end(self) -> None:
        """End the isolation: the suspect's attempt is over, and the process has survived it."""
        self._move("end", None)

    def _first_suspect(self, partition: P, records: Sequence[Record]) -> int | None:
        offsets = self._suspects.get(partition)
        if offsets is None:
            return None
        return next((index for index, record in enumerate(records) if record.offset() in offsets), None)

    def _move(self, event: str, loan: Loan | None) -> None:
        self.stage, self.loan = TRANSITIONS[self.stage, event], loan
        self._note()

    def _note(self) -> None:
        self.is_active = bool(self._suspects) or self.stage is not NONE
