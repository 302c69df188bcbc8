"""Where what was fetched or built once is kept for later test runs."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "PROCESSOR_TEST_CACHE"
"""Names another folder than `.cache` in the source tree."""


def cache_folder() -> Path:
    """It need not exist yet."""
    named = os.environ.get(CACHE)
    return Path(named) if named else Path(__file__).resolve().parents[2] / ".cache"


def keep(built: Path, place: Path) -> None:
    """Moves what was built to its place. Two test runs may build the same at once: the first rename wins."""
    try:
        built.rename(place)
    except OSError:
        if not place.is_dir():  # else another run was first, and what it built is as good
            raise
