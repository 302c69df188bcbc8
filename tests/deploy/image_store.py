"""The image of this source in a store of buildah: built by the tests that need it, or before them.

`PROCESSOR_TEST_IMAGE_STORE=FOLDER python -m tests.deploy.image_store` builds it into a new folder. Tests with the same
variable take it from there, and do not check whether it is of the same source.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.deploy.dockerfile import DOCKERFILE, PROJECT, arguments_of, stages
from tests.support.built_image import Builder, BuildError, Image, obstacle
from tests.support.image_base import SLIM, WITH_COMPILER, BaseError

STORE: Final = "PROCESSOR_TEST_IMAGE_STORE"
TAG: Final = "session-processor:0.1.0"


@contextmanager
def filled_store() -> Iterator[Builder]:
    """The store that was filled before, or a new one, with the bases and all packages; it is deleted at the end.

    Raises:
        BaseError: a base has not been made.
        BuildError: buildah cannot run on this machine, or packages cannot be downloaded.
    """
    before = _folder_of_before()
    if before is not None and _mark(before).exists():
        with Builder(before) as builder:
            yield builder
        return
    with tempfile.TemporaryDirectory(prefix="processor-image-") as folder, Builder(Path(folder)) as builder:
        _fill(builder)
        yield builder


def image(builder: Builder) -> Image:
    """Returns what deploy/Dockerfile makes.

    Raises:
        BuildError: an instruction failed.
    """
    return builder.image(TAG) if builder.has(TAG) else builder.build(DOCKERFILE, PROJECT, TAG)


def _fill(builder: Builder) -> None:
    for stage, base in zip(stages(), (WITH_COMPILER, SLIM), strict=True):
        builder.take_base(arguments_of(stage, "FROM")[0].removesuffix(" AS build"), base)
    builder.download(sys.executable)


def _folder_of_before() -> Path | None:
    named = os.environ.get(STORE)
    return Path(named) if named else None


def _mark(folder: Path) -> Path:
    return folder / "filled"


def main() -> None:
    """Builds it, or prints why not: the tests then do it themselves, and fail or are skipped."""
    folder = _folder_of_before()
    if folder is None:
        sys.exit(f"{STORE} does not name a folder")
    try:
        if reason := obstacle():
            raise BuildError(reason)
        folder.mkdir(parents=True)
        with Builder(folder) as builder:
            _fill(builder)
            image(builder)
        _mark(folder).touch()
        print(f"the image is built: {folder}")
    except (BaseError, BuildError) as error:
        print(f"the image is not built: {error}")


if __name__ == "__main__":
    main()
