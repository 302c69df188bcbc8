"""The search for the processes below another one."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import psutil
import pytest

from tests.support.processes import children, descendants
from tests.support.until import until


def test_children_are_found_although_they_seem_older_than_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a change of the boot's time, from which the time of a process's start follows."""
    with subprocess.Popen(["sh", "-c", "sh -c 'sleep 600; true'; true"]) as parent:
        try:
            until(lambda: len(descendants(parent.pid)) == 2, "each has started the next one")
            monkeypatch.setattr(psutil.Process, "create_time", lambda self: -self.pid)
            child, grandchild = descendants(parent.pid)
            assert children(parent.pid) == [child]
            assert children(child.pid) == [grandchild]
            assert children(grandchild.pid) == []
        finally:
            for process in reversed(descendants(parent.pid)):
                with suppress(psutil.NoSuchProcess):  # a shell ends by itself once its command has
                    process.kill()
