"""`logging` and structlog in the state of a program that has configured neither."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def unconfigured() -> Iterator[None]:
    """Remove pytest's handlers and level inside the `with` block; restore them at its end."""
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
