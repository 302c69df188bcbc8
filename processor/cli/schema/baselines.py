"""`--against`: what the schemas of a folder are held against."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from processor.avro.schema import Schema
from processor.avro.schemas import load_schemas
from processor.cli.schema import git_history
from processor.errors import LoadError, SettingsError
from processor.options.option import Option

Against = Annotated[
    str | None,
    Option(
        "What the schemas are held against: what they were in git (at REV; without one at HEAD, or before the "
        "last change where there is none since), a folder, what is in --schema-registry (for check), or nothing.",
        metavar="git[:REV]|FOLDER|registry|none",
        default_shown="git, where --schemas is in a repository",
    ),
]


class Baseline(NamedTuple):
    """The schemas of one earlier moment."""

    origin: str
    """What to call it."""
    by_name: dict[str, Schema]


def baselines(folder: str, against: str | None, transitive: bool) -> list[Baseline]:
    """What to hold the schemas of `folder` against, the latest first; nothing where that is asked for.

    Args:
        folder: that of `--schemas`.
        against: what `--against` says.
        transitive: whether all earlier versions count.

    Raises:
        SettingsError: git has no answer, or there is no such folder.
        LoadError: what is to be held against cannot be loaded.
    """
    if against is None:
        against = "git" if git_history.is_in_git(Path(folder)) else "none"
    if against == "none":
        return []
    kind, _, revision = against.partition(":")
    if kind == "git":
        return list(_of_git(Path(folder), revision or None, transitive))
    if not Path(against).is_dir():
        raise SettingsError(f"--against {against!r} is neither git[:REV] nor a folder nor none")
    return [Baseline(against, load_schemas(against).by_name)]


def _of_git(folder: Path, revision: str | None, transitive: bool) -> Iterator[Baseline]:
    """Without a revision: HEAD, or where nothing has changed since, as in CI, what was before the last change."""
    latest = git_history.commit_of(folder, revision or "HEAD")
    before = git_history.commits_before(folder, latest)[1:]
    is_committed = revision is None and not git_history.has_changed(folder)
    if is_committed and not before and git_history.is_shallow(folder):
        raise SettingsError(
            "this clone has no older commit to hold the schemas against: fetch more than one (fetch-depth: 0), or give"
            " --against"
        )
    if not is_committed or not before:
        yield _at(folder, latest, f"git:{revision or 'HEAD'}")
        if not transitive:
            return
    for commit in before:
        try:
            yield _at(folder, commit, f"git:{commit[:10]}")
        except LoadError:  # what was broken then, nobody wrote with
            continue
        if not transitive:
            return


def _at(folder: Path, commit: str, origin: str) -> Baseline:
    with tempfile.TemporaryDirectory(prefix="processor-schemas-") as place:
        if not git_history.extract(folder, commit, Path(place)) or next(Path(place).rglob("*.avsc"), None) is None:
            return Baseline(origin, {})
        try:
            return Baseline(origin, load_schemas(place).by_name)
        except LoadError as error:
            raise LoadError(f"in {origin}, {str(error).replace(place, str(folder))}") from None
