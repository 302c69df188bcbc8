"""Every scene is played to a clean end."""

from __future__ import annotations

import pytest

from tests.chaos.group_scenes import GROUP_SCENES
from tests.chaos.scenes import SCENES, Scene
from tests.support.scenario import MakeScenario


@pytest.mark.parametrize("scene", [*SCENES, *GROUP_SCENES], ids=lambda scene: scene.__name__)
def test_nothing_is_lost_out_of_order_overlapping_or_needlessly_twice(scenario: MakeScenario, scene: Scene) -> None:
    assert scene(scenario()) == {}
