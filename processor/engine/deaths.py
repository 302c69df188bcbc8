"""`Deaths`: finds the task that kills its process, from what each process of a fleet ran when it died."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

LEAST_DEATHS: Final = 2
"""Deaths below which a task never becomes a dead letter, whatever `--max-attempts` says. One death proves nothing: an
operator or the kernel may have killed the process for another reason while it ran one task."""

MOST_SUSPECTS: Final = 500
"""The most suspects that are sent to the processes of a fleet: a message of 25 KB with topic names of usual length.
There are more only where batches ran. The others are sent once the first ones are settled."""


class TaskPlace(NamedTuple):
    """The place of a task's record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


class Suspect(NamedTuple):
    """A task that ran in a process when it died."""

    place: TaskPlace
    deaths: int
    """Deaths that count against it: 0 until a process has died that ran nothing else."""


class Deaths:
    """The suspects of one fleet.

    A process that dies leaves the tasks that it ran: all of them are suspects. Each suspect then runs alone. If its
    process dies again, the suspect is proven to be the cause, and the deaths before count against it too.
    """

    def __init__(self) -> None:
        self._present: dict[TaskPlace, int] = {}
        """For each suspect, how many processes died while they ran it."""
        self._proven: set[TaskPlace] = set()

    @property
    def suspects(self) -> list[Suspect]:
        """At most `MOST_SUSPECTS` suspects: those that were running at the most deaths."""
        places = sorted(self._present, key=self._present.__getitem__, reverse=True)[:MOST_SUSPECTS]
        return [Suspect(place, self.deaths_of(place)) for place in places]

    @property
    def has_more(self) -> bool:
        """Whether there are suspects beyond those in `suspects`."""
        return len(self._present) > MOST_SUSPECTS

    def deaths_of(self, place: TaskPlace) -> int:
        """Return the deaths that count against a task."""
        return self._present[place] if place in self._proven else 0

    def record(self, running: Sequence[TaskPlace]) -> TaskPlace | None:
        """Record the death of a process that ran these tasks. Return the task that is proven to be its cause, if any.

        A single running task is the cause. Among several, none is proven.
        """
        for place in running:
            self._present[place] = self._present.get(place, 0) + 1
        if len(running) != 1:
            return None
        self._proven.update(running)
        return running[0]

    def forget(self, places: Iterable[TaskPlace]) -> None:
        """Forget tasks that are settled."""
        for place in places:
            self._present.pop(place, None)
            self._proven.discard(place)
