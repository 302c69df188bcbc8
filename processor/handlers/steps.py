"""`Step`: a task to be, and what follows from it; `group`: tasks that run side by side, and what follows from all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    following: tuple[Step | Group, ...] = ()
    """What comes after it, in order. Use `then`."""

    def then(self, step: Step | Group) -> Step:
        """Return this chain with `step`, and what follows from that, at its end."""
        return replace(self, following=(*self.following, replace(step, following=()), *step.following))


@dataclass(frozen=True, slots=True)
class Group:
    """Branches that run side by side; what follows begins when all of them have succeeded. Use `group`."""

    branches: tuple[Step | Group, ...]
    _: KW_ONLY
    id: str | None = None
    """Only where it is submitted. One that follows has the ID of its predecessor with `/1` behind it."""
    expires: Time | None = None
    """Branches that have succeeded do not wait for the others after this time."""
    expires_in: float | None = None
    """The same, in seconds from when it begins."""
    following: tuple[Step | Group, ...] = ()
    """What comes after it, in order. Use `then`."""

    def then(self, step: Step | Group) -> Group:
        """Return this group with `step`, and what follows from that, at its end."""
        return replace(self, following=(*self.following, replace(step, following=()), *step.following))


def group(
    branches: Iterable[Step | Group],
    *,
    id: str | None = None,
    expires: Time | None = None,
    expires_in: float | None = None,
) -> Group:
    """Return a group: `group([reserve, charge]).then(ship)` ships when both have succeeded.

    Args:
        branches: steps, chains and groups. `task.inputs` of what follows has what they returned, in this order.
        id: its branches are ID/1, ID/2 and so on, and what follows is ID/then. Only where it is submitted.
        expires: until when all branches must have succeeded: epoch milliseconds, ISO 8601 or a `datetime`, both with a
            time zone. Those that have are dead letters then.
        expires_in: the same, in seconds from when the group begins.

    Raises:
        ValueError: there is no branch.
    """
    if not (members := tuple(branches)):
        raise ValueError("a group needs a branch")
    return Group(members, id=id, expires=expires, expires_in=expires_in)


NO_PAYLOAD: Final = object()
"""What `submit` has as its payload where it is given a step or a group."""

ALONE: Final = (NO_PAYLOAD, "", None, None, 0, None, None, None, None)


def check_alone(*others: object) -> None:
    """Checks that `submit` was given nothing beside a step or a group.

    Raises:
        TypeError: it was.
    """
    if others != ALONE:
        raise TypeError("submit takes a Step or a group alone: give what belongs to the task to the Step")
