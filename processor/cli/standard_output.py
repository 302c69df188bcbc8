"""Standard output that nobody can write to any more."""

from __future__ import annotations

import os
import sys


def let_nothing_more_be_written() -> None:
    """Its reader is gone, as `head` is, or its disk full: the interpreter's own flush at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
