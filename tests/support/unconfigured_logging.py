"""`logging` and structlog as a program finds them that has set up neither."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def unconfigured() -> Iterator[None]:
    """Without pytest's handlers and level; what is set up meanwhile is undone at the end."""
    root = logging.root
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    structlog.reset_defaults()
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
