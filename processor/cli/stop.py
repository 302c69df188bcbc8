"""`Stop`: records SIGINT and SIGTERM, so that a command can end in an orderly way."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Records SIGINT and SIGTERM inside its context."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            # SIGINT is ignored in a background job of a script, and must stay ignored.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def is_asked(self) -> bool:
        """Return whether a signal has come."""
        return self._asked

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
