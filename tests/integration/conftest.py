"""The scenario that most tests here begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeTopic
from tests.support.broker import Broker
from tests.support.run import Fleet
from tests.support.scenario import Scenario

MakeScenario = Callable[..., Scenario]


@pytest.fixture
def scenario(
    broker: Broker, topic: MakeTopic, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> MakeScenario:
    """`scenario(partitions=4, **topic_config)` on the shared broker."""
    return lambda partitions=4, **config: Scenario(broker, topic(partitions, **config), group, tmp_path, start_fleet)
