"""Replaces the Kafka clients in a child process that was forked.

A fork copies a client without its threads. Such a copy sends nothing, and waits for those threads without end when it
is destroyed.
"""

from __future__ import annotations

import ctypes
import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """An object with a client, or with other things that a child process cannot use."""

    def renew(self) -> None:
        """Replaces them, in the only thread of a child process. A lock that was held at the fork is held forever."""


_renewables: WeakSet[Renewable] = WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Has `renewable` renewed in each child process that this one forks."""
    _renewables.add(renewable)


def never_destroy(client: object) -> None:
    """Keeps the copy of a client from being destroyed, at the end of the process too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


def _renew() -> None:
    for renewable in list(_renewables):
        renewable.renew()


os.register_at_fork(after_in_child=_renew)
