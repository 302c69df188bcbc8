"""`Surveys`: requests one survey at a time from the source, and passes each answer to the part that asked for it.

After a failure, which is logged here, that part must ask again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from processor.runtime.ports import Source, Survey
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.events import ConsumerSurveyFailed, Emit

Then = Callable[[Survey | None], None]
"""Receives a survey; None if it failed."""


class Surveys:
    """Belongs to the poller's thread."""

    def __init__(self, source: Source, emit: Emit) -> None:
        self._source = source
        self._emit = emit
        self._failures = Repeats(LOG_AGAIN_SECONDS)
        self._asked: deque[tuple[Sequence[str], Then]] = deque()
        """Surveys that have no answer yet. The first one is in progress."""

    def ask(self, topics: Sequence[str], then: Then) -> None:
        """Requests a survey of these topics, which begins after this call. `then` receives the answer."""
        self._asked.append((topics, then))
        if len(self._asked) == 1:
            self._source.survey(topics)

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        """Passes on the answer to the survey in progress, and requests the next one."""
        _, then = self._asked.popleft()
        if self._asked:
            self._source.survey(self._asked[0][0])
        if survey is not None:
            self._failures.forget()
        elif self._failures.is_due(error, monotonic()):
            self._emit(ConsumerSurveyFailed(error=error or ""))
        then(survey)
