"""`Surveys`: asks the source for one survey at a time, and passes each answer to the part that requested it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from processor.runtime.ports import Source, Survey

Then = Callable[[Survey | None, str | None], None]
"""Receives a survey, or why there is none."""


class Surveys:
    """Belongs to the poller's thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
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
        then(survey, error)
