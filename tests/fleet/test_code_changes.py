"""Which files count as code, and what of their changes is seen."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import pytest

from processor.errors import LoadError
from processor.fleet.code_changes import CodeChanges, is_code

BOUND = 60.0
"""Seconds that a change may take to be seen on a busy machine."""


@pytest.mark.parametrize("file", ["shop.py", "shop/orders.py", "shop/__init__.py", "env/app.py"])
def test_python_modules_are_watched_as_code(file: str) -> None:
    assert is_code(PurePath(file))


@pytest.mark.parametrize(
    "file",
    [
        *("shop.txt", "shop.pyc", "py", "shop/__pycache__/orders.py"),
        *(".venv/lib/a.py", "venv/lib/python3.11/site-packages/a.py", ".git/a.py", "node_modules/x/a.py"),
        *(".#shop.py", "#shop.py#", "shop.py~", ".shop.py.swp", "flycheck_shop.py"),
    ],
)
def test_installed_and_temporary_files_are_not_watched(file: str) -> None:
    assert not is_code(PurePath(file))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def changes(tmp_path: Path, said: list[str]) -> Iterator[CodeChanges]:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop.py").write_text("x = 1\n")
    with CodeChanges(tmp_path, said.append) as watching:
        yield watching


def save(file: Path) -> None:
    """Puts a file in its place, which is one change. A write is two, and the second may be seen later."""
    (file.parent / "unwatched").write_text("x = 2\n")
    (file.parent / "unwatched").rename(file)


def seen(changes: CodeChanges, count: int = 1) -> set[str]:
    """What changed, once `count` files are known to have."""
    found: set[str] = set()
    deadline = time.monotonic() + BOUND
    while len(found) < count:
        left = deadline - time.monotonic()
        assert left > 0, found
        select.select([changes], [], [], left)
        found.update(changes.arrived())
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "shop.py").write_text("x = 2\n"),
        lambda folder: (folder / "shop.py").unlink(),
        lambda folder: os.utime(folder / "shop.py"),
    ],
)
def test_a_file_that_is_saved_deleted_or_touched_has_changed(
    changes: CodeChanges, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    change(tmp_path)
    assert seen(changes) == {"shop.py"}


def test_a_file_that_an_editor_puts_in_the_place_of_the_old_one_has_changed(
    changes: CodeChanges, tmp_path: Path
) -> None:
    (tmp_path / "shop.py~").write_text("x = 2\n")
    (tmp_path / "shop.py~").rename(tmp_path / "shop.py")
    assert seen(changes) == {"shop.py"}


def test_a_new_file_in_a_new_folder_has_changed(changes: CodeChanges, tmp_path: Path) -> None:
    (tmp_path / "shop" / "orders.py").write_text("x = 1\n")
    assert seen(changes) == {"shop/orders.py"}


def test_changes_of_other_files_are_not_reported(changes: CodeChanges, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.py").write_text("x")
    save(tmp_path / "shop.py")  # whose change is seen not before theirs
    assert seen(changes) == {"shop.py"}
    assert changes.arrived() == []


def test_files_of_a_folder_that_lies_in_a_hidden_one_are_code(tmp_path: Path) -> None:
    """What is left out is meant below the folder, wherever that is."""
    folder = tmp_path / ".hidden" / "site-packages"
    folder.mkdir(parents=True)
    with CodeChanges(folder, print) as changes:
        (folder / "shop.py").write_text("x = 1\n")
        assert seen(changes) == {"shop.py"}


def test_changes_are_returned_once(changes: CodeChanges, tmp_path: Path) -> None:
    save(tmp_path / "shop.py")
    assert seen(changes) == {"shop.py"}
    assert changes.arrived() == []
    save(tmp_path / "other.py")
    assert seen(changes) == {"other.py"}


def test_without_watchfiles_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(LoadError, match=r"--reload needs watchfiles: pip install 'session-processor\[reload\]'"):
        CodeChanges(tmp_path, print).__enter__()


def test_a_folder_that_cannot_be_watched_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=f"--reload cannot watch '{tmp_path}/none': No such file or directory"):
        CodeChanges(tmp_path / "none", print).__enter__()


def test_any_error_that_ends_the_watch_is_reported(tmp_path: Path) -> None:
    said = list[str]()

    def watch(*_: object, **__: object) -> Iterator[set[object]]:
        yield set()
        raise ValueError("a fault")

    changes = CodeChanges(tmp_path, said.append)
    changes._run(watch)
    assert said == ["--reload does not see changes any more: a fault"]
