"""One control plane for all tests of this folder. Each test has its own namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.parts import PARTS

CLUSTER = "PROCESSOR_TEST_CLUSTER"
"""`make test-cluster` sets it to 1. The first build of the control plane takes minutes."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane. Skips the test if none is wanted, or if it has not been built."""
    if os.environ.get(CLUSTER) != "1":
        pytest.skip(f"needs a control plane, which takes minutes to build: {CLUSTER}=1 or make test-cluster")
    if missing := [part.name for part in PARTS if not part.path.exists()]:
        pytest.skip(f"{', '.join(missing)} not built; make test-cluster builds them with Go")
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running
