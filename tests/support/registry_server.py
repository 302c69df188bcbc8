"""A schema registry as a child process: Apicurio, which implements Confluent's API, from Maven and run with Java."""

from __future__ import annotations

import atexit
import http.client
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.support.addresses import free_ports
from tests.support.cache import cache_folder, keep
from tests.support.downloads import MAVEN, fetched, only_maven
from tests.support.kafka_jars import FetchError
from tests.support.lifeline import die_with_parent

VERSION = "3.0.9"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:2.8"
"""Newer versions read the parent POMs of an artifact, and one of the registry's is not published."""
API = "/apis/ccompat/v7"
START_SECONDS = 120.0


def available() -> bool:
    """Return whether this machine can run a registry: it needs Java, and Maven or an earlier download."""
    return shutil.which("java") is not None and (_home().is_dir() or shutil.which("mvn") is not None)


def fetch() -> Path:
    """Return the folder of the unpacked registry; downloads it if it is missing.

    Raises:
        FetchError: Maven failed.
    """
    home = _home()
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with only_maven(), tempfile.TemporaryDirectory(prefix="fetch-", dir=home.parent) as building:
        if not home.is_dir():  # otherwise another test run has downloaded it meanwhile
            keep(_unpacked(Path(building)), home)
    return home


def _unpacked(folder: Path) -> Path:
    command = [*MAVEN, f"{PLUGIN}:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"]
    done = fetched(command, folder)
    if done.returncode:
        raise FetchError(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "home", filter="data")
    return folder / "home"


class RegistryServer:
    """A registry on a port of loopback, with its schemas in memory; it runs inside the `with` block."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="processor-registry-"))
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)
        atexit.register(self._discard)

    @property
    def url(self) -> str:
        """The base URL of Confluent's API."""
        return f"http://127.0.0.1:{self.port}{API}"

    def __enter__(self) -> Self:
        home = fetch()
        options = ["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options += [f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1"]
        classes = f"{home}/apicurio-registry-app-{VERSION}-runner.jar:{home}/lib/*"
        with (self._folder / "registry.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["java", *options, "-cp", classes, "io.quarkus.runner.GeneratedMain"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self._await(self._process)
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(self.port):
                return
            time.sleep(0.1)
        words = (self._folder / "registry.log").read_text(errors="replace")[-2000:]
        self._discard()
        raise RuntimeError(f"the schema registry did not start; its last words:\n{words}")

    def _discard(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"{API}/subjects")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _home() -> Path:
    return cache_folder() / f"apicurio-registry-{VERSION}" / "home"
