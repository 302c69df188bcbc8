"""Every scene is played to a clean end."""

from __future__ import annotations

import pytest

from tests.chaos.group_scenes import GROUP_SCENES
from tests.chaos.scenes import SCENES, Scene
from tests.support.scenario import MakeScenario


@pytest.mark.parametrize("scene", [*SCENES, *GROUP_SCENES], ids=lambda scene: scene.__name__)
def test_no_scene_loses_reorders_overlaps_or_needlessly_repeats_a_task(scenario: MakeScenario, scene: Scene) -> None:
    assert scene(scenario()) == {}
