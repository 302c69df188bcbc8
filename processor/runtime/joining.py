"""`Joining`: handles the records of a join: arrivals, markers, and records that begin a group."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import time

from processor.engine.joins import Due
from processor.engine.record import Record
from processor.errors import EncodeError
from processor.handlers.joins import Arrival, Joined, Start, read_arrival
from processor.handlers.task import NO_CONTENT, identity_of
from processor.handlers.terms import terms_of
from processor.runtime.attempt import Attempt
from processor.runtime.desk import Desk
from processor.runtime.follow_ups import Came, first_records, joined_records
from processor.runtime.outbox import Output, Outputs

LATE_SECONDS = 1.0
"""How long a join still waits if its time is over when its first arrival is read. A consumer that was down meanwhile
reads the other arrivals right behind that one."""


NULL = b'{"json":null}'
"""The value of an arrival that has none."""


class NothingFollows(Exception):
    """The records that should follow a join, or a group that begins, cannot be written."""

    def __init__(self, why: EncodeError, others: Sequence[Record] = ()) -> None:
        self.why = why
        self.others = others
        """The other arrivals."""


class Joining:
    """Concludes attempts at records of joins. Any thread may call it."""

    def __init__(self, desk: Desk, outputs: Outputs) -> None:
        self._arrivals = desk.arrivals
        self._outputs = outputs

    def conclude(self, attempt: Attempt, found: Arrival | Joined | Start) -> None:
        """Handle an attempt whose record is not a task, but one of a join: `found`.

        Raises:
            NothingFollows: what follows cannot be written.
        """
        match found:
            case Arrival():
                self._arrive(attempt, found)
            case Joined(id, run, path):
                self._arrivals.mark(attempt.loan, (id, run), path)
            case Start(plan):
                try:
                    records = first_records(attempt.record, plan, identity_of(attempt.record, NO_CONTENT).id)
                except EncodeError as error:
                    raise NothingFollows(error) from None
                self._outputs.send(Output(attempt, records))

    def _arrive(self, attempt: Attempt, arrival: Arrival) -> None:
        join, record = arrival.join, attempt.record
        due = Due((join.id, join.run), join.of, arrival.branch.index, _expiry_of(record), time() + LATE_SECONDS)
        others = self._arrivals.arrive(attempt.loan, due)
        if others is None:
            return
        try:
            came = {index: _came(kept) for index, kept in others.items()}
            came[due.branch] = Came(record.value() or NULL, arrival.branch.path)
            records = joined_records(record, arrival, [came[index] for index in sorted(came)])
        except EncodeError as error:
            raise NothingFollows(error, list(others.values())) from None
        self._outputs.send(Output(attempt, records, last_alone=True))  # the marker may only follow the other records


def _came(record: Record) -> Came:
    arrival = read_arrival(record)
    assert isinstance(arrival, Arrival)
    return Came(record.value() or NULL, arrival.branch.path)


def _expiry_of(record: Record) -> float:
    terms = terms_of(record.headers() or [])
    return terms.expires if terms is not None else inf
