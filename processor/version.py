"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("processor")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
