"""A Kafka broker as a child process."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support import kafka_jars
from tests.support.addresses import answers_within, free_ports, listens
from tests.support.lifeline import die_with_parent
from tests.support.server_properties import server_properties

START_SECONDS = 120.0
STOP_SECONDS = 30.0
SMALL = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Options of the JVM: small and quick to start, since no test measures the broker's speed."""
LOGGING = {"defaultLogLevel": "warn", "showDateTime": "true", "dateTimeFormat": "HH:mm:ss.SSS"}


class JavaBroker:
    """Broker and controller in one Java process, on two ports of loopback, with its own data folder.

    Args:
        properties: server properties in addition to those of every test broker; see `server_properties`.
        client: the client configuration to connect, if the properties require more than an address.
        java: options of the JVM.
        version: the Kafka release.
    """

    def __init__(
        self,
        properties: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        java: Sequence[str] = SMALL,
        version: str = kafka_jars.KAFKA_VERSION,
    ) -> None:
        self._version = version
        self._java_options = java
        self._extra = dict(properties or {})
        self._client = client
        self._folder = Path(tempfile.mkdtemp(prefix="processor-broker-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._choose_ports()
        atexit.register(self._discard)

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address, which survives a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def controller_port(self) -> int:
        """The port on which other nodes of the cluster reach the controller."""
        return self._controller_port

    @property
    def log_path(self) -> Path:
        """The broker's log, over all its restarts."""
        return self._folder / "broker.log"

    @property
    def pid(self) -> int:
        """The process ID of the broker."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts the broker with its existing data, and returns when it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message contains the end of its log.
        """
        assert self._process is None, "the broker runs already"
        fresh = not (self._folder / "data" / "meta.properties").exists()
        for attempts_left in (2, 1, 0) if fresh else (0,):
            if fresh:
                self._format()
            logged = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._process = self._java("kafka.Kafka", str(self._config))
            if self._ready():
                return
            self.kill()
            # A broker that fails to start logs many lines after the reason.
            if not attempts_left or b"Address already in use" not in self.log_path.read_bytes()[logged:]:
                raise RuntimeError(f"the Kafka broker did not start; its last words:\n{self._last_words()}")
            self._choose_ports()

    def stop(self) -> None:
        """Stops the broker with SIGTERM, or with SIGKILL if that takes too long. It can be started again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Kills the broker with SIGKILL, like a crash. It can be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Suspends the broker (SIGSTOP): its connections stay open, but it does not respond."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resumes the broker after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stops the broker if it is running, and starts it with the same ports and the same data."""
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
        # The data are deleted, so that a graceful stop would only take longer.
        self._discard()

    @property
    def _config(self) -> Path:
        return self._folder / "server.properties"

    def _choose_ports(self) -> None:
        self._port, self._controller_port = free_ports(2)
        extra = {"log.dirs": str(self._folder / "data"), **self._extra}
        ports = {"port": self._port, "controller_port": self._controller_port}
        properties = server_properties(extra, host="127.0.0.1", **ports)
        self._config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))

    def _format(self) -> None:
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        tool = "kafka.tools.StorageTool", "format", "-t", "cHJvY2Vzc29yLXRlc3RzMQ", "-c", str(self._config)
        process = self._java(*tool)
        if process.wait(START_SECONDS):
            raise RuntimeError(f"the Kafka broker's storage cannot be formatted:\n{self._last_words()}")

    def _java(self, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        logging = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in LOGGING.items()]
        classes = f"{kafka_jars.fetch(self._version)}/*"
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                ["java", *self._java_options, *logging, "-cp", classes, main, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def _ready(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            # The client alone would retry a closed port at growing intervals.
            if listens(self._port) and answers_within(self.bootstrap_servers, 5, self._client):
                return True
            time.sleep(0.05)
        return False

    def _last_words(self) -> str:
        return self.log_path.read_text(errors="replace")[-3000:]

    def _discard(self) -> None:
        atexit.unregister(self._discard)
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
