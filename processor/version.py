"""The distribution: its name, its version, and the command that adds an extra to it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "session-processor"
"""What pip installs; not the import's name, since the `processor` of the package index is by an unrelated author."""

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"


def install_command(extra: str) -> str:
    """The pip command that installs what the extra `extra` needs; it works beside an installed wheel, too."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
