"""Where commands keep temporary files."""

from __future__ import annotations

import tempfile

from processor.errors import SettingsError


def temporary_folder() -> str:
    """The folder for temporary files: the first that can be written to of TMPDIR, /tmp, /var/tmp and the current one.

    Raises:
        SettingsError: none of them can be written to, as in a container with a read-only root.
    """
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise SettingsError("no folder for temporary files can be written to; set TMPDIR to one that can") from None
