"""`Step`: a task that will be sent, and the steps that follow; `group`: concurrent tasks, and their next step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Final

from processor.handlers.terms import Time


@dataclass(frozen=True, slots=True)
class Step:
    """A task that will be sent. `charge.then(ship).then(notify)` is a chain: each task is sent once the one before
    has succeeded.

    A step is immutable: `then` returns a new one. The fields are those of `Dispatcher.submit`.
    """

    session_id: str
    payload: Any = field(repr=False)
    name: str = ""
    _: KW_ONLY
    id: str | None = None
    """The task's ID; only for the first step. A task that follows has its predecessor's ID with `/1` appended."""
    headers: Mapping[str, str | bytes | None] | None = field(default=None, repr=False)
    topic: str | None = None
    """The topic to which a step that follows another one is sent; None is the topic of its predecessor."""
    priority: int = 0
    not_before: Time | None = None
    delay: float | None = None
    """Earliest start in seconds from when it is sent: for a step that follows, from the success of its predecessor."""
    expires: Time | None = None
    expires_in: float | None = None
    """Time to its expiry in seconds, from when it is sent."""
    following: tuple[Step | Group, ...] = ()
    """The steps that follow, in order. Use `then`."""

    def then(self, step: Step | Group) -> Step:
        """Return this chain with `step`, and the steps that follow it, appended.

        Raises:
            TypeError: it is neither a step nor a group.
        """
        return replace(self, following=(*self.following, *_in_order(step)))


@dataclass(frozen=True, slots=True)
class Group:
    """Branches that run concurrently; the next step is sent when all of them have succeeded. Use `group`."""

    branches: tuple[Step | Group, ...]
    _: KW_ONLY
    id: str | None = None
    """The group's ID; only for a submitted group. One that follows has its predecessor's ID with `/1` appended."""
    expires: Time | None = None
    """The time by which all branches must have succeeded, see `group`."""
    expires_in: float | None = None
    """The same, in seconds from when the group begins."""
    following: tuple[Step | Group, ...] = ()
    """The steps that follow, in order. Use `then`."""

    def then(self, step: Step | Group) -> Group:
        """Return this group with `step`, and the steps that follow it, appended.

        Raises:
            TypeError: it is neither a step nor a group.
        """
        return replace(self, following=(*self.following, *_in_order(step)))


def group(
    branches: Iterable[Step | Group],
    *,
    id: str | None = None,
    expires: Time | None = None,
    expires_in: float | None = None,
) -> Group:
    """Return a group: `group([reserve, charge]).then(ship)` ships when both have succeeded.

    Args:
        branches: steps, chains and groups. `task.inputs` of the next step has their return values, in this order.
        id: the group's ID, only for a submitted group. The IDs of its branches are ID/1, ID/2 and so on, and that of
            the next step is ID/then.
        expires: the time by which all branches must have succeeded: epoch milliseconds, ISO 8601 or a `datetime`, the
            latter two with a time zone. After it, the arrivals of branches that have succeeded become dead letters.
        expires_in: the same, in seconds from when the group begins.

    Raises:
        TypeError: a branch is neither a step nor a group.
        ValueError: there is no branch.
    """
    if not (members := tuple(branches)):
        raise ValueError("a group needs a branch")
    for branch in members:
        _check(branch)
    return Group(members, id=id, expires=expires, expires_in=expires_in)


def _in_order(step: Step | Group) -> tuple[Step | Group, ...]:
    """Return a step without what follows it, then what follows it."""
    _check(step)
    return replace(step, following=()), *step.following


def _check(step: object) -> None:
    if not isinstance(step, Step | Group):
        raise TypeError(f"a Step or a group is required here, not {type(step).__name__}")


NO_PAYLOAD: Final = object()
"""The default payload of `submit`, for a step or a group."""

ALONE: Final = (NO_PAYLOAD, "", None, None, 0, None, None, None, None)


def check_alone(*others: object) -> None:
    """Check that all arguments of `submit` besides a step or a group have their defaults.

    Raises:
        TypeError: one of them has not.
    """
    if others != ALONE:
        raise TypeError("submit takes a Step or a group alone: give what belongs to the task to the Step")
