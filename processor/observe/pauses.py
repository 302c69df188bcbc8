"""`PauseNow`: a pause that is in force, from the reports of the consumers that obey it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from processor.observe.consumer import ConsumerNow
from processor.observe.wording import clock, duration, many, plain


class PauseNow(msgspec.Struct, kw_only=True):
    """One pause. Its texts are safe for a terminal."""

    what: str
    """what is paused, such as `session s3`"""
    since: float
    """when the command was given, in seconds since the epoch"""
    by: str
    waiting: int = 0
    """tasks that wait for its end, in all consumers"""

    def sentence(self, now: float) -> str:
        """Return its age, its author and the number of waiting tasks, at `now` in seconds since the epoch."""
        age = duration(max(0.0, now - self.since))
        return f"for {age}, since {clock(self.since)}, by {self.by}: {many(self.waiting, 'task')} waiting"


def pauses_of(consumers: Iterable[ConsumerNow]) -> list[PauseNow]:
    """Return the pauses that running consumers report, the oldest first. Each consumer reports at most ten."""
    found: dict[str, PauseNow] = {}
    for consumer in consumers:
        for report in consumer.stats.paused_by if consumer.stats is not None else ():
            text = plain(report.session_id or report.task_name or report.partition)
            what = "everything" if report.kind == "all" else f"{report.kind} {text}"
            pause = found.setdefault(what, PauseNow(what=what, since=report.since / 1000, by=plain(report.by)))
            pause.waiting += report.waiting
    return sorted(found.values(), key=lambda pause: pause.since)
