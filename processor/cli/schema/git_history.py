"""Queries git for the earlier contents of a folder."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from processor.errors import SettingsError

SECONDS = 60.0
"""Time limit for one git command."""

HOOK_VARIABLES = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})


def is_in_git(folder: Path) -> bool:
    """Return whether the folder is in a work tree with at least one commit.

    Raises:
        SettingsError: it is in one, but git fails. To skip the comparison silently would hide incompatible changes.
    """
    place = folder.resolve()
    if not any((parent / ".git").exists() for parent in (place, *place.parents)):
        return False
    try:
        _git(folder, "rev-parse", "--git-dir")
    except SettingsError as error:
        raise SettingsError(
            f"--schemas is in a git repository that cannot be read: {error}; set --against none to skip the comparison"
        ) from None
    try:
        return bool(_git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"))
    except SettingsError:
        return False


def commit_of(folder: Path, revision: str) -> str:
    """The commit of a revision.

    Raises:
        SettingsError: git is not installed, or there is no repository or no such revision.
    """
    try:
        found = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except SettingsError as error:
        raise SettingsError(f"--against git:{revision}: {error}") from None
    return found.decode().strip()


def commits_before(folder: Path, commit: str) -> list[str]:
    """The commits up to this one that changed an .avsc file in the folder, the newest first."""
    return _git(folder, "rev-list", commit, "--", "*.avsc").decode().split()


def has_changed(folder: Path) -> bool:
    """Return whether an .avsc file in the folder differs from HEAD, or is new."""
    return bool(_git(folder, "status", "--porcelain", "--untracked-files=all", "--", "*.avsc"))


def is_shallow(folder: Path) -> bool:
    """Return whether the repository is a shallow clone, as is common in CI."""
    return _git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true"


def extract(folder: Path, commit: str, into: Path) -> bool:
    """Writes the folder's contents at a commit to the folder `into`. Return whether it existed at that commit.

    Raises:
        SettingsError: git fails.
    """
    if not _git(folder, "ls-tree", "--name-only", commit, "."):
        return False
    with tarfile.open(fileobj=io.BytesIO(_git(folder, "archive", "--format=tar", commit, "."))) as archive:
        archive.extractall(into, filter="data")
    return True


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SECONDS, env=_environment()
        )
    except FileNotFoundError:
        raise SettingsError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise SettingsError(f"git {arguments[0]} took more than {SECONDS:g} s") from None
    if done.returncode:
        errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SettingsError(errors[0].removeprefix("fatal: ") if errors else "git has no such revision")
    return done.stdout


def _environment() -> dict[str, str]:
    """The environment without git's own variables: in a hook, they refer to another folder."""
    return {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
