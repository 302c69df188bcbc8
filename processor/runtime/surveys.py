"""`Surveys`: asks the source for one survey at a time, and passes each answer to the part that requested it.

That part asks again after a failure; the failure is logged here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from processor.runtime.ports import Source, Survey
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.events import ConsumerSurveyFailed, Emit

Then = Callable[[Survey | None], None]
"""Receives a survey; None where it failed."""


class Surveys:
    """Belongs to the poller's thread."""

    def __init__(self, source: Source, emit: Emit) -> None:
        self._source = source
        self._emit = emit
        self._failures = Repeats(LOG_AGAIN_SECONDS)
        self._asked: deque[tuple[Sequence[str], Then]] = deque()
        """The first one is under way."""

    def ask(self, topics: Sequence[str], then: Then) -> None:
        """Has these topics surveyed, all of it after this call. `then` receives the answer."""
        self._asked.append((topics, then))
        if len(self._asked) == 1:
            self._source.survey(topics)

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        """The survey that was under way has ended."""
        _, then = self._asked.popleft()
        if self._asked:
            self._source.survey(self._asked[0][0])
        if survey is not None:
            self._failures.forget()
        elif self._failures.is_due(error, monotonic()):
            self._emit(ConsumerSurveyFailed(error=error or ""))
        then(survey)
