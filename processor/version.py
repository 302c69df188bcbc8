"""The distribution: its name, its version, and the command that adds an extra to it."""

from __future__ import annotations

from typing import Final

DISTRIBUTION: Final = "session-processor"
"""What pip installs; not the import's name, since the `processor` of the package index is by an unrelated author."""


def installed_version() -> str:
    """The version in the installed metadata, or 0.0.0 in a source tree that was never installed."""
    # Here: it takes some 30 ms of CPU, a tenth of a consumer's start, and consumers do not ask for it.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0.0.0"


def install_command(extra: str) -> str:
    """The pip command that installs what the extra `extra` needs; it works beside an installed wheel, too."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
