"""The cache folder, which keeps downloads and builds for later test runs."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "PROCESSOR_TEST_CACHE"
"""The environment variable that names a cache folder other than `.cache` in the source tree."""


def cache_folder() -> Path:
    """Return the cache folder, which may not exist yet."""
    named = os.environ.get(CACHE)
    return Path(named) if named else Path(__file__).resolve().parents[2] / ".cache"


def keep(built: Path, place: Path) -> None:
    """Moves a finished build to its place. Two test runs may build the same thing at once: the first rename wins."""
    try:
        built.rename(place)
    except OSError:
        if not place.is_dir():  # otherwise another run was first, and its build is equivalent
            raise
