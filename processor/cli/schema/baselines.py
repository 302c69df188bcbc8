"""`--against`: the earlier schemas that those of a folder are compared with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from processor.avro.schema import Schema
from processor.avro.schemas import load_schemas
from processor.cli.schema import git_history
from processor.cli.temporary_files import temporary_folder
from processor.errors import LoadError, SettingsError
from processor.options.option import Option

Against = Annotated[
    str | None,
    Option(
        "Earlier schemas to compare with: a git revision (without REV: HEAD, or the version before the last commit "
        "that changed them if HEAD has no change), a folder, --schema-registry (check only), or none.",
        metavar="git[:REV]|FOLDER|registry|none",
        default_shown="git if --schemas is in a repository, else none",
    ),
]


class Baseline(NamedTuple):
    """The schemas of one earlier version."""

    origin: str
    """The version's name in messages, such as "git:HEAD"."""
    by_name: dict[str, Schema]


def baselines(folder: str, against: str | None, transitive: bool) -> list[Baseline]:
    """Return the versions to compare the schemas of `folder` with, the latest first; empty for `none`.

    Args:
        folder: the folder of `--schemas`.
        against: the value of `--against`.
        transitive: return all earlier versions, not only the latest.

    Raises:
        SettingsError: git fails, or there is no such revision or folder.
        LoadError: an earlier schema cannot be loaded.
    """
    if against is None:
        against = "git" if git_history.is_in_git(Path(folder)) else "none"
    if against == "none":
        return []
    kind, _, revision = against.partition(":")
    if kind == "git":
        return list(_of_git(Path(folder), revision or None, transitive))
    if not os.path.isdir(against):  # noqa: PTH112 — Path.is_dir raises for a name that is too long
        raise SettingsError(f"--against {against!r} must be git[:REV], a folder or none")
    return [Baseline(against, load_schemas(against).by_name)]


def _of_git(folder: Path, revision: str | None, transitive: bool) -> Iterator[Baseline]:
    """Yield the versions in git. Without a revision, it is HEAD, or the version before the last change if nothing has
    changed since, as in CI.
    """
    latest = git_history.commit_of(folder, revision or "HEAD")
    before = git_history.commits_before(folder, latest)[1:]
    is_committed = revision is None and not git_history.has_changed(folder)
    if is_committed and not before and git_history.is_shallow(folder):
        raise SettingsError(
            "this is a shallow clone without an older commit to compare with: fetch more commits (fetch-depth: 0)"
            " or set --against"
        )
    if not is_committed or not before:
        yield _at(folder, latest, f"git:{revision or 'HEAD'}")
        if not transitive:
            return
    for commit in before:
        try:
            yield _at(folder, commit, f"git:{commit[:10]}")
        except LoadError:  # no data can have been written with invalid schemas
            continue
        if not transitive:
            return


def _at(folder: Path, commit: str, origin: str) -> Baseline:
    with tempfile.TemporaryDirectory(prefix="processor-schemas-", dir=temporary_folder()) as place:
        if not git_history.extract(folder, commit, Path(place)) or next(Path(place).rglob("*.avsc"), None) is None:
            return Baseline(origin, {})
        try:
            return Baseline(origin, load_schemas(place).by_name)
        except LoadError as error:
            raise LoadError(f"in {origin}, {str(error).replace(place, str(folder))}") from None
