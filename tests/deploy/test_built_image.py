"""The image, really built by its Dockerfile, with a user's image on top, and run as a container.

Only the bases are others: Debian's own Python of the same version, since the official images cannot be had without a
registry. An engine is not needed, and not shown: `tests/support/built_image.py` does what one does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from processor.health.verdict import Check
from tests.conftest import MakeTopic, Produce
from tests.deploy import image_store
from tests.deploy.dockerfile import PROJECT
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.built_image import Builder, BuildError, Image, obstacle
from tests.support.image_base import BaseError
from tests.support.lifeline import die_with_parent
from tests.support.processes import children
from tests.support.until import until

IMAGE = "PROCESSOR_TEST_IMAGE"
"""Set to 1 by `make test-image`: the bases take two minutes to make and the image another two."""

pytestmark = pytest.mark.timeout(900)

BOUND = 40.0
SOON = 9.5
"""Seconds for a stop of what has not begun, on a busy machine; an engine would wait 10 s and then kill."""
OWN_MEGABYTES = 90
"""The most that the layers above the base may have; docs/DEPLOY.md says what is in them."""

HANDLERS = """
import json, os
from pathlib import Path

def writes(folder):
    try:
        Path(folder, "probe").write_text("x")
    except OSError as error:
        return error.strerror
    Path(folder, "probe").unlink()
    return "written"

def handle(task):
    home = os.path.expanduser("~")
    return json.dumps({
        "payload": task.payload.decode(), "home": home,
        "uid": os.getuid(), "groups": os.getgroups(), "parent": os.getppid(),
        "writes": {folder: writes(folder) for folder in ("/", home, "/tmp", "/dev/shm")},
    }).encode()
"""


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    """Has the bases; skips where one, or buildah, cannot be had."""
    if os.environ.get(IMAGE) != "1":
        pytest.skip(f"builds two bases and an image, which takes four minutes: {IMAGE}=1 or make test-image")
    if reason := obstacle():
        pytest.skip(f"the image is not built: {reason}")
    with ExitStack() as stack:
        try:
            filled = stack.enter_context(image_store.filled_store())
        except (BaseError, BuildError) as error:
            pytest.skip(f"the image is not built: {error}")
        yield filled


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    """What deploy/Dockerfile makes."""
    return image_store.image(builder)


@pytest.fixture(scope="module")
def users_image(image: Image, builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The two lines of docs/DEPLOY.md on top of it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "shop.py").write_text(HANDLERS)
    (folder / "Dockerfile").write_text(documented()[0])
    return builder.build(folder / "Dockerfile", folder, "shop:1")


def documented() -> list[str]:
    """The Dockerfiles that docs/DEPLOY.md has for users."""
    return re.findall(r"```dockerfile\n(.*?)```", (PROJECT / "docs" / "DEPLOY.md").read_text(), re.DOTALL)


class Container:
    """A container that runs, with what it wrote to standard error."""

    def __init__(self, image: Image, outer: subprocess.Popen[bytes], log: Path) -> None:
        self._image = image
        self._log = log
        self.outer = outer

    @property
    def first(self) -> psutil.Process:
        """Its first process; the outer one is unshare."""
        return until(lambda: children(self.outer.pid), "the container has begun", BOUND)[0]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def health(self, *checks: str) -> subprocess.CompletedProcess[str]:
        """What the image's own health check says, or `processor health` with other checks."""
        command = list(self._image.config["Healthcheck"]["Test"])[1:]
        if checks:
            command = ["processor", "health", *(word for check in checks for word in ("--check", check))]
        beside = self._image.beside(self.first.pid, *command)
        return subprocess.run(beside, capture_output=True, text=True, check=False, timeout=BOUND)

    def stop(self) -> int:
        self.first.send_signal(signal.SIGTERM)
        return self.outer.wait(BOUND)


@contextmanager
def running(image: Image, folder: Path, *arguments: str) -> Iterator[Container]:
    log = folder / "container.log"
    with log.open("wb") as stderr:
        outer = subprocess.Popen(
            image.container(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=die_with_parent(),
        )
    try:
        yield Container(image, outer, log)
    except BaseException:
        print(f"the container's last words: {log.read_text()[-4000:]}")  # pytest shows it with the failure
        raise
    finally:
        outer.kill()
        outer.wait()


def output_of(image: Image, *arguments: str) -> str:
    """What the entry point prints with these arguments."""
    done = subprocess.run(image.container(*arguments), capture_output=True, text=True, check=False, timeout=BOUND)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_users_image_of_two_lines_works_as_an_unprivileged_first_process_with_a_read_only_root(
    users_image: Image,
    broker: Broker,
    topic: MakeTopic,
    group: str,
    produce: Produce,
    tmp_path: Path,
) -> None:
    name, results = topic(2), topic(2)
    produce(name, [(b"s%d" % (n % 5), b"%d" % n) for n in range(50)])
    options = ["run", "shop:handle", "-b", broker.bootstrap_servers, "-t", name, "-g", group]
    options += ["--value-format", "bytes", "--results-topic", results, "-p", "2"]
    with running(users_image, tmp_path, *options) as container:
        until(lambda: sum(cluster.end_offsets(broker.bootstrap_servers, results).values()) == 50, "50 results", BOUND)
        until(lambda: container.health(*Check).returncode == 0, "the fleet is alive, ready and progressing", BOUND)
        assert container.health().returncode == 0
        assert container.stop() == 0, container.log
    assert '"fleet.stopped"' in container.log
    written = [json.loads(message.value() or b"") for message in cluster.read_all(broker.bootstrap_servers, results)]
    assert sorted(int(result["payload"]) for result in written) == list(range(50))
    read_only = "Read-only file system"
    for result in written:
        assert (result["uid"], result["groups"], result["parent"], result["home"]) == (10001, [], 1, "/app")
        assert result["writes"] == {"/": read_only, "/app": read_only, "/tmp": read_only, "/dev/shm": "written"}
    assert cluster.lag(broker.bootstrap_servers, group, name) == 0


def test_a_container_that_is_stopped_right_after_its_start_ends_at_once(users_image: Image, tmp_path: Path) -> None:
    options = ("run", "shop:handle", "-b", "127.0.0.1:1", "-t", "orders", "-g", "shop")
    with running(users_image, tmp_path, *options) as container:
        until(lambda: is_begun(container.first), "env(1) has blocked the signals", BOUND, pause=0.0)
        began = time.monotonic()
        assert container.stop() == 0
    assert time.monotonic() - began < SOON


def is_begun(first: psutil.Process) -> bool:
    """Return whether the container's command has begun. unshare(1) and sh block signals around a fork, too."""
    return first.name() not in ("unshare", "sh", "chroot") and takes_sigterm(first.pid)


def takes_sigterm(pid: int) -> bool:
    """Return whether SIGTERM waits for this process or is handled by it. Else a first process never gets it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    masks = re.findall(r"^Sig(?:Blk|Cgt):\t([0-9a-f]+)$", status, re.MULTILINE)
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks)


def test_the_image_shows_the_help_without_a_command_and_has_the_version_and_the_extras(image: Image) -> None:
    assert "Usage: processor" in output_of(image, *image.config["Cmd"])
    version = output_of(image, "--version")
    assert version.startswith("processor 0.1.0 ")
    assert version.endswith(" engine compiled)\n")
    site = next(image.root.glob("opt/processor/lib/python*/site-packages"))
    assert {"confluent_kafka", "authlib", "prometheus_client"} <= {path.name for path in site.iterdir()}


def test_the_image_has_all_that_a_consumer_requires_and_no_build_or_install_tools(image: Image) -> None:
    (site,) = image.root.glob("opt/processor/lib/python*/site-packages")
    installed = {path.name.split("-")[0] for path in site.glob("*.dist-info")}
    assert not {"pip", "setuptools", "hatchling", "wheel", "pytest", "mypy", "hatch_mypyc"} & installed
    assert not [name for name in ("cc", "gcc", "ld") if list(image.root.glob(f"usr/*bin/{name}"))]
    assert not list((image.root / "opt" / "processor" / "bin").glob("pip*"))
    assert list((image.root / "app").iterdir()) == []
    base, *own = image.layers
    print(f"layers, MB: {[round(size / 1e6, 1) for size in image.layers]}")
    assert base > 0
    assert sum(own) < OWN_MEGABYTES * 1e6


def test_what_handlers_import_is_installed_beside_the_package_as_documented(
    image: Image, builder: Builder, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("import hatchling, confluent_kafka\nprint(hatchling.__file__)\n")
    (tmp_path / "Dockerfile").write_text(documented()[1].replace(" stripe\n", " hatchling\n"))
    built = builder.build(tmp_path / "Dockerfile", tmp_path, "with-dependencies:1")
    command = built.container("shop.py", entry_point=["python"])
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BOUND)
    assert ran.stdout.startswith("/opt/processor/lib/python"), ran.stderr
