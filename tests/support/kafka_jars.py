"""Apache Kafka's own jars, which Maven downloads once into the cache folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.support.cache import cache_folder, keep
from tests.support.downloads import MAVEN, fetched, only_maven

KAFKA_VERSION = "4.3.1"
OLD_VERSIONS = ("3.9.1", "3.3.2")
"""The last release that does not enable KIP-848, and one whose brokers do not know it at all."""

# slf4j-simple makes the broker's log visible. Without a binding, the broker does not even log why it fails to start.
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>processor.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId>
        <version>3.8.1</version>
      </plugin>
    </plugins>
  </build>
</project>
"""

PROJECT = Path(__file__).resolve().parents[2]


class FetchError(Exception):
    """Maven could not download the jars; the message contains its output."""


def available() -> bool:
    """Return whether this machine can run a broker: it needs Java, and Maven or jars from an earlier download."""
    return shutil.which("java") is not None and (_jars().is_dir() or shutil.which("mvn") is not None)


def fetch(version: str = KAFKA_VERSION) -> Path:
    """Return the folder of Kafka's jars; downloads them if they are missing.

    Raises:
        FetchError: Maven failed.
    """
    jars = _jars(version)
    if jars.is_dir():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with only_maven(), tempfile.TemporaryDirectory(prefix="fetch-", dir=jars.parent) as building:
        if not jars.is_dir():  # otherwise another test run has downloaded them meanwhile
            _run_maven(Path(building), version)
            keep(Path(building) / "jars", jars)
    return jars


def _jars(version: str = KAFKA_VERSION) -> Path:
    return cache_folder() / f"kafka-{version}" / "jars"


def _run_maven(folder: Path, version: str) -> None:
    (folder / "pom.xml").write_text(POM.replace("VERSION", version))
    command = [*MAVEN, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
    done = fetched(command, folder)
    if done.returncode:
        raise FetchError(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}")
