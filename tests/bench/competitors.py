"""The arms that a run can choose, and the environments that competitors are installed in.

Each competitor has its own environment under `.venv-bench`. Competitors need different versions of the Kafka client,
and none of them may change the environment that the tests run in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.support.kafka_jars import PROJECT

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
ENVIRONMENTS = PROJECT / ".venv-bench"

CLIENT = "confluent-kafka==2.16.1"


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One program that does the same work."""

    name: str
    requires: tuple[str, ...] = ()
    """The packages to install for the arm; empty for an arm that runs in the tests' environment."""
    least_python: tuple[int, int] = (3, 11)
    ordered: bool = True
    """Whether the tasks of one session run one at a time and in order."""
    differs: str
    """How it differs from the processor, in a few words."""


class Unavailable(Exception):
    """A competitor cannot be installed on this machine; the message gives the reason."""


_ALL = (
    Arm(name="consume", differs="the client's own consume(500), nothing done: the ceiling"),
    Arm(name="processor", differs="this project"),
    Arm(name="plain", differs="a loop over consume(500), one task at a time, a commit a batch"),
    Arm(name="pool", differs="64 threads; each batch of 5,000 waits for its busiest session; a commit a batch"),
    Arm(
        name="pyrallel",
        requires=("pyrallel-consumer==1.0.0", CLIENT),
        least_python=(3, 12),
        differs="its own key_hash order, 64 in flight, one asyncio loop",
    ),
    Arm(
        name="quixstreams",
        requires=("quixstreams==3.28.1", "confluent-kafka==2.12.2"),
        differs="one task at a time, whatever the workers; commits every 5 s",
    ),
    Arm(
        name="arroyo",
        requires=("sentry-arroyo==2.48.0", CLIENT),
        ordered=False,
        differs="RunTaskInThreads with 64: tasks of one session overlap, so that it has less to wait for",
    ),
    Arm(
        name="faststream",
        requires=("faststream[kafka]==0.7.8", "cramjam"),
        differs="at-least-once subscriber; its concurrency ends at the number of partitions",
    ),
    Arm(
        name="bytewax",
        requires=("bytewax[kafka]==0.21.1", CLIENT),
        differs="64 workers, keyed by session; commits nothing to the group",
    ),
)

ARMS = {arm.name: arm for arm in _ALL}


def interpreter(arm: Arm, say: Callable[[str], None]) -> Path:
    """Return the Python interpreter that runs the arm; first installs the arm's packages if they are missing.

    Raises:
        Unavailable: no suitable Python was found, or the installation failed.
    """
    if not arm.requires:
        return Path(sys.executable)
    folder = ENVIRONMENTS / arm.name
    stamp, wanted = folder / "installed", "\n".join(arm.requires)
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {arm.requires[0]} into {folder.relative_to(PROJECT)}")
        python = _python(arm)
        _run(arm, [python, "-m", "venv", "--clear", str(folder)])
        _run(arm, [str(folder / "bin" / "pip"), "install", "--quiet", "-c", str(CONSTRAINTS), *arm.requires])
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def _python(arm: Arm) -> str:
    if sys.version_info >= arm.least_python:
        return sys.executable
    for minor in range(arm.least_python[1], 14):
        for found in _pythons(f"python3.{minor}"):
            if _runs(found):
                return found
    least = ".".join(map(str, arm.least_python))
    raise Unavailable(f"{arm.name} needs Python {least} or newer, and there is none")


def _pythons(name: str) -> list[str]:
    # What pyenv puts on the PATH runs only the version that is chosen; the others are in their folders.
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(name)
    return [*([on_path] if on_path else []), *map(str, sorted(root.glob(f"versions/*/bin/{name}")))]


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def _run(arm: Arm, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Unavailable(f"{arm.name} cannot be installed: {done.stderr.strip()[-500:]}")
