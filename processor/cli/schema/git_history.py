"""What a folder held at a commit, as git has it."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from processor.errors import SettingsError

SECONDS = 60.0
"""What one question to git may take."""

OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})


def is_in_git(folder: Path) -> bool:
    """Whether the folder is in a work tree that has a commit.

    Raises:
        SettingsError: it is in one, and git cannot say: nobody may take that for nothing to hold against.
    """
    place = folder.resolve()
    if not any((parent / ".git").exists() for parent in (place, *place.parents)):
        return False
    try:
        _asked(folder, "rev-parse", "--git-dir")
    except SettingsError as error:
        raise SettingsError(f"--schemas is in a repository, but {error}; --against none does without") from None
    try:
        return bool(_asked(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"))
    except SettingsError:
        return False


def commit_of(folder: Path, revision: str) -> str:
    """The commit that a revision names.

    Raises:
        SettingsError: there is no git, no repository or no such revision.
    """
    try:
        found = _asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except SettingsError as error:
        raise SettingsError(f"--against git:{revision}: {error}") from None
    return found.decode().strip()


def commits_before(folder: Path, commit: str) -> list[str]:
    """The commits up to this one that changed an .avsc file of the folder, the newest first."""
    return _asked(folder, "rev-list", commit, "--", "*.avsc").decode().split()


def has_changed(folder: Path) -> bool:
    """Whether an .avsc file of the folder is not what it was at HEAD, or is new."""
    return bool(_asked(folder, "status", "--porcelain", "--untracked-files=all", "--", "*.avsc"))


def is_shallow(folder: Path) -> bool:
    """Whether the repository was cloned without its older commits, as CI does to save time."""
    return _asked(folder, "rev-parse", "--is-shallow-repository").strip() == b"true"


def extract(folder: Path, commit: str, into: Path) -> bool:
    """Writes what the folder held at a commit to the folder `into`; whether it was there.

    Raises:
        SettingsError: git could not tell.
    """
    if not _asked(folder, "ls-tree", "--name-only", commit, "."):
        return False
    with tarfile.open(fileobj=io.BytesIO(_asked(folder, "archive", "--format=tar", commit, "."))) as archive:
        archive.extractall(into, filter="data")
    return True


def _asked(folder: Path, *question: str) -> bytes:
    command = ["git", "-C", str(folder), *question]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SECONDS, env=_environment()
        )
    except FileNotFoundError:
        raise SettingsError("there is no program git here") from None
    except subprocess.TimeoutExpired:
        raise SettingsError(f"git {question[0]} took more than {SECONDS:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SettingsError(said[0].removeprefix("fatal: ") if said else "git has no such revision")
    return done.stdout


def _environment() -> dict[str, str]:
    """In a hook git tells where it is by variables, and relative to another folder than the one asked about."""
    return {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
