"""Builds images from a Dockerfile with buildah, and runs containers from them without a container engine.

A container here has what an engine would give it: its own PID and mount namespaces, a read-only root, and the image's
environment and user. It shares the machine's network.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.compiled_engine import HOOK
from tests.support.image_base import PYTHON, Base, base_archive
from tests.support.kafka_jars import PROJECT

PLATFORMS: Final = ("manylinux_2_17", "manylinux2014", "manylinux_2_28", "manylinux_2_34")
"""The platforms that the C library of the bases supports. pip matches a given platform literally, so all are listed."""

START: Final = """
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"
exec "$@"
"""
"""Like docker run --read-only: only /dev/shm is writable."""

NEEDED: Final = ("buildah", "unshare", "nsenter", "chroot", "mount")


def obstacle() -> str | None:
    """Return why images cannot be built and run on this machine; None if they can."""
    if absent := [name for name in NEEDED if shutil.which(name) is None]:
        return f"{', '.join(absent)} not installed"
    if os.geteuid() != 0:
        return "only root can run containers of it"
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True)
    return "no namespaces may be made here" if probe.returncode else None


class BuildError(Exception):
    """buildah failed; the message has its output."""


class Image:
    """An image whose files are at `root`."""

    def __init__(self, root: Path, config: Mapping[str, Any], layers: Sequence[int]) -> None:
        self.root = root
        self.config = config
        """The configuration in Docker's form: Entrypoint, Env, Healthcheck, User, …"""
        self.layers = layers
        """The size of each layer in bytes, those of the base first."""

    def container(self, *arguments: str, entry_point: Sequence[str] | None = None) -> list[str]:
        """Return a command that runs the image's entry point, or a given one, as the first process of a container."""
        isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c", START, "sh"]
        program = self.config["Entrypoint"] if entry_point is None else entry_point
        return [*isolate, str(self.root), *self._inside([*program, *arguments])]

    def beside(self, first: int, *command: str) -> list[str]:
        """Return a command that runs `command` in the container whose first process is `first`, like docker exec."""
        return ["nsenter", f"--target={first}", "--mount", "--pid", *self._inside(command)]

    def _inside(self, command: Sequence[str]) -> list[str]:
        variables = [*self.config["Env"], f"HOME={self.config['WorkingDir']}"]
        user = ["chroot", f"--userspec={self.config['User']}", "--groups=", str(self.root)]
        return [*user, "env", "-i", f"--chdir={self.config['WorkingDir']}", *variables, *command]


class Builder:
    """Runs buildah with its own store in `folder`, which is empty or was filled by another Builder.

    Dependencies come from a folder of wheels that pip downloads on the machine, so that builds need no network.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wheels = folder / "wheels"
        self._pip_config = folder / "pip.conf"
        self._pip_config.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        self._driver = "vfs" if (folder / "vfs").exists() else "overlay"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._buildah("rm", "--all")  # a mounted folder cannot be deleted

    def take_base(self, tag: str, base: Base) -> None:
        """Puts a base into the store under the name that a Dockerfile uses.

        Raises:
            BaseError: the base has not been built.
            BuildError: buildah cannot run on this machine.
        """
        container = self._first_container()
        self._buildah("add", "--quiet", container, str(base_archive(base, 0)), "/")
        self._buildah("run", container, "--", "ln", "--symbolic", "/usr/bin/python3", "/usr/local/bin/python")
        self._buildah("commit", "--quiet", "--rm", container, tag)

    def _first_container(self) -> str:
        try:
            container = self._buildah("from", "scratch")
            self._buildah("mount", container)
        except BuildError:
            self._driver = "vfs"  # slower, but it needs no support from the kernel
            container = self._buildah("from", "scratch")
        return container

    def download(self, python: str) -> None:
        """Downloads the wheels that the image installs, and those that build this project's wheel; `python` has pip.

        Raises:
            BuildError: the download failed.
        """
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
        extras = project["project"]["optional-dependencies"]
        wanted = [*project["project"]["dependencies"], *extras["registry"], *extras["metrics"]]
        wanted += ["hatchling", *HOOK["dependencies"]]
        platforms = [f"--platform={name}_{os.uname().machine}" for name in PLATFORMS]
        done = subprocess.run(
            [
                *(python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"),
                *(f"--python-version={PYTHON}", "--implementation=cp", "--abi=abi3", "--abi=none"),
                *(f"--abi=cp{PYTHON.replace('.', '')}", *platforms),
                *("--constraint", str(PROJECT / "constraints.txt"), "--dest", str(self._wheels), *wanted),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"the wheels cannot be downloaded: {done.stderr[-1000:]}")

    def build(self, dockerfile: Path, context: Path, tag: str) -> Image:
        """Builds and returns the image `tag`.

        Raises:
            BuildError: an instruction failed.
        """
        volumes = [f"--volume={self._wheels}:/wheels:ro", f"--volume={self._pip_config}:/etc/pip.conf:ro"]
        self._buildah(
            *("bud", "--pull-never", "--format=docker", *volumes, f"--file={dockerfile}", f"--tag={tag}", str(context))
        )
        return self.image(tag)

    def has(self, tag: str) -> bool:
        """Return whether the image `tag` has been built."""
        return f"localhost/{tag}" in self._buildah("images", "--format={{.Name}}:{{.Tag}}").splitlines()

    def image(self, tag: str) -> Image:
        """Returns the image `tag`, which has been built.

        Raises:
            BuildError: its files cannot be mounted.
        """
        root = Path(self._buildah("mount", self._buildah("from", "--pull-never", f"localhost/{tag}")))
        inspected = json.loads(self._buildah("inspect", "--type=image", f"localhost/{tag}"))
        layers = json.loads(inspected["Manifest"])["layers"]
        return Image(root, inspected["Docker"]["config"], [layer["size"] for layer in layers])

    def _buildah(self, *arguments: str) -> str:
        """Run buildah and return its standard output. Isolation by `chroot` also works inside containers."""
        place = self._folder / self._driver
        store = (f"--root={place}", f"--runroot={place}-run", f"--storage-driver={self._driver}")
        command = ["buildah", *store, *arguments]
        env = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{shlex.join(command[:6])} …: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()
