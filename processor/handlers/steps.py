"""`Step`: a task to be, and the tasks that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Final

from processor.handlers.terms import Time


@dataclass(frozen=True, slots=True)
class Step:
    """A task to be. `charge.then(ship).then(notify)` is a chain: each task is sent once the one before has succeeded.

    A step is never changed: `then` returns a new one. The fields are those of `Dispatcher.submit`.
    """

    session_id: str
    payload: Any = field(repr=False)
    name: str = ""
    _: KW_ONLY
    id: str | None = None
    """Of the first step only. A task that follows has the ID of its predecessor with `/1` behind it."""
    headers: Mapping[str, str | bytes | None] | None = field(default=None, repr=False)
    topic: str | None = None
    """Where it is sent if it follows from another one; None is the topic of that one."""
    priority: int = 0
    not_before: Time | None = None
    delay: float | None = None
    """Seconds from when it is sent: for a step that follows, from the success of its predecessor."""
    expires: Time | None = None
    expires_in: float | None = None
    """Seconds from when it is sent."""
    following: tuple[Step, ...] = ()
    """The steps after it, in order. Use `then`."""

    def then(self, step: Step) -> Step:
        """Return this chain with `step`, and what follows from that, at its end."""
        return replace(self, following=(*self.following, replace(step, following=()), *step.following))


NO_PAYLOAD: Final = object()
"""What `submit` has as its payload where it is given a step."""

ALONE: Final = (NO_PAYLOAD, "", None, None, 0, None, None, None, None)


def check_alone(*others: object) -> None:
    """Checks that `submit` was given nothing beside a step.

    Raises:
        TypeError: it was.
    """
    if others != ALONE:
        raise TypeError("submit takes a Step alone: give what belongs to the task to the Step")
