"""A Kafka broker in Docker, for machines without Java."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.addresses import answers_within, free_ports
from tests.support.kafka_jars import KAFKA_VERSION
from tests.support.server_properties import server_properties

START_SECONDS = 60.0
IMAGE = "apache/kafka"
WITHOUT_IMAGE = ("3.3.2",)
"""Versions that tests use and that are older than the first image, 3.7.0."""


def docker_answers() -> bool:
    """Return whether a Docker engine is running."""
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "info"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return asked.returncode == 0


class DockerBroker:
    """Like `JavaBroker`, in a container that is removed at the end."""

    def __init__(
        self,
        properties: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        version: str = KAFKA_VERSION,
    ) -> None:
        self._image = f"{IMAGE}:{version}"
        self._port = free_ports(1)[0]
        self._name = f"processor-test-{uuid.uuid4().hex[:12]}"
        self._properties = server_properties(properties or {}, host="0.0.0.0", port=self._port, controller_port=9093)
        self._client = client
        self._created = False
        self.log_path: Path | None = None
        atexit.register(self._discard)

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address, which survives a restart."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts the broker with its existing data, and returns when it answers.

        Raises:
            RuntimeError: it did not answer in time; the message contains the end of its log.
        """
        if self._created:
            _docker("start", self._name)
        else:
            published = f"127.0.0.1:{self._port}:{self._port}"
            _docker("run", "-d", "--name", self._name, "-p", published, *self._env(), self._image)
            self._created = True
        deadline = time.monotonic() + START_SECONDS
        while not answers_within(self.bootstrap_servers, 5, self._client):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the Kafka broker did not start; its last words:\n{self._last_words()}")

    def stop(self) -> None:
        """Stops the broker gracefully. It can be started again."""
        _docker("stop", "-t", "30", self._name)

    def kill(self) -> None:
        """Kills the broker, like a crash. It can be started again."""
        _docker("kill", self._name)

    def pause(self) -> None:
        """Suspends the broker: its connections stay open, but it does not respond."""
        _docker("pause", self._name)

    def resume(self) -> None:
        """Resumes the broker after `pause`."""
        _docker("unpause", self._name)

    def restart(self) -> None:
        """Stops the broker, and starts it with the same port and the same data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def _env(self) -> list[str]:
        # The image derives variable names from property names: prefix KAFKA_, upper case, underscores instead of dots.
        names = {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in self._properties.items()}
        return [part for name, value in names.items() for part in ("-e", f"{name}={value}")]

    def _last_words(self) -> str:
        return _docker("logs", "--tail", "40", self._name)

    def _discard(self) -> None:
        atexit.unregister(self._discard)
        if self._created:
            _docker("rm", "-f", "-v", self._name)
            self._created = False


def _docker(*arguments: str) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`docker {' '.join(arguments[:2])} …` failed:\n{done.stdout[-2000:]}")
    return done.stdout
