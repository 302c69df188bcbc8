"""A suite that cannot fail proves nothing: each bug of `planted/` is applied to a copy of the code, and must be caught.

A scene on a broker catches bugs in the interplay of threads, commits and partitions. The state machine of the engine
catches bugs within the engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.chaos import group_scenes, scenes
from tests.chaos.scenes import Scene
from tests.conftest import MakeTopic
from tests.support.broker import Broker
from tests.support.kafka_jars import PROJECT
from tests.support.run import Fleet
from tests.support.scenario import Scenario

PLANTED = Path(__file__).parent / "planted"

CAUGHT_BY_A_SCENE: dict[str, tuple[Scene, str]] = {
    "commit_before_settle": (scenes.kill_at_work, "lost"),
    "skip_map_one_off": (scenes.kill_behind_a_stuck_task, "lost"),
    "offset_read_twice_around_encode": (scenes.kill_in_a_stream, "maps of other offsets"),
    "lane_released_early": (scenes.clean_run, "overlapping"),
    "revoke_without_drain": (scenes.come_and_go, "needlessly twice"),
    "end_reached_before_the_stock": (scenes.die_with_a_stock, "lost"),
    "lease_that_never_ends": (scenes.pause_past_the_session, "overlapping"),
    "dead_letter_settled_before_its_acknowledgement": (scenes.refused_dead_letters, "lost"),
    "join_settled_before_what_follows": (group_scenes.kill_while_groups_wait, "lost"),
    "repeated_branch_counts_twice": (group_scenes.kill_while_groups_wait, "too early"),
    "what_follows_a_join_has_another_id": (group_scenes.kill_while_groups_wait, "another ID"),
    "expired_join_without_dead_letters": (group_scenes.kill_before_groups_expire, "lost"),
}

CAUGHT_BY_THE_STATE_MACHINE = (
    "commit_before_settle",
    "skip_map_one_off",
    "first_unsettled_counted_as_settled",
    "orphaned_keys_forgotten",
    "lane_released_early",
    "position_falls_behind_what_was_skipped",
    "retry_counts_as_done",
)

CAUGHT_BY_TESTS_OF_THE_ENGINE = {"foreign_map_trusted": "tests/engine/test_progress_record.py"}
"""The state machine also catches this bug, but not in each run: foreign records at exactly these offsets are rare."""

CAUGHT_BY_TESTS_OF_EXACTLY_ONCE = {
    "settled_before_the_outbox": "tests/runtime/test_exactly_once.py",
    "offsets_without_outputs": "tests/runtime/test_exactly_once.py",
    "cut_that_is_not_atomic": "tests/runtime/test_exactly_once.py",
    "outputs_of_a_lost_partition_sent": "tests/engine/test_outbox_machine.py",
    "skip_map_forgets_what_it_said": "tests/engine/test_outbox_machine.py",
}
"""The outbox's state machine catches these, or the test that compares every transaction with the outputs so far."""

CAUGHT_BY_THE_STATE_MACHINE_OF_JOINS = (
    "arrival_settled_when_it_is_kept",
    "marker_settled_before_its_branches_are_committed",
)

TAKES = 5
"""Threads interleave by chance, and a state machine runs different examples each time. If one take in ten misses a bug,
all takes miss it once in 100,000 runs. The first take that catches the bug is the last."""

pytestmark = pytest.mark.timeout(2000)
"""The time for all takes; `run_planted` limits each one."""

ONLY_GENERATE = """
from hypothesis import HealthCheck, Phase, settings
settings.register_profile(
    "only generate", phases=(Phase.generate,), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("only generate")
"""
"""The test does not report the example, so hypothesis does not shrink it, which would take minutes. A slow example on a
busy machine does not count as a caught bug."""


def copy(part: str, folder: Path) -> None:
    """Copies a part of the project with its bytecode, which takes seconds to compile.

    The bytecode stays valid, since it refers to the time and size of its source file. A file whose suffix is a number
    is bytecode that another process has not finished yet.
    """
    shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("*.pyc.*"))


def plant(folder: Path, bug: str) -> None:
    """Puts a copy of the code with the bug into `folder`, where it is imported instead of the real one."""
    for part in ("processor", "schemas"):
        copy(part, folder)
    # Keep git from looking for a repository above the folder: inside one, it would skip files that are not part of it.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    patch = str(PLANTED / f"{bug}.patch")
    applied = subprocess.run(["git", "apply", patch], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, f"the planted bug {bug} does not fit the code any more: {applied.stderr}"


def test_every_planted_bug_is_assigned_to_a_test() -> None:
    looked_for = {*CAUGHT_BY_A_SCENE, *CAUGHT_BY_THE_STATE_MACHINE, *CAUGHT_BY_TESTS_OF_EXACTLY_ONCE}
    looked_for |= {*CAUGHT_BY_THE_STATE_MACHINE_OF_JOINS, *CAUGHT_BY_TESTS_OF_THE_ENGINE}
    assert looked_for == {patch.stem for patch in PLANTED.glob("*.patch")}


@pytest.mark.parametrize("bug", CAUGHT_BY_A_SCENE)
def test_a_scene_catches_the_bug(
    broker: Broker, topic: MakeTopic, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet], bug: str
) -> None:
    def new_work(take: int) -> Scenario:
        """Returns a scenario that shares no ledger and no file with an earlier take."""
        folder = tmp_path / str(take)
        plant(folder, bug)
        return Scenario(broker, topic(), f"{group}-{take}", folder, partial(start_fleet, folder=folder))

    scene, fault = CAUGHT_BY_A_SCENE[bug]
    verdicts = (scene(new_work(take)) for take in range(TAKES))
    assert any(fault in verdict for verdict in verdicts), "the bug was not caught"


@pytest.mark.parametrize("bug", CAUGHT_BY_THE_STATE_MACHINE)
def test_the_state_machine_catches_the_bug(tmp_path: Path, bug: str) -> None:
    output = failing_output(tmp_path, bug, "tests/engine/test_ledger_machine.py")
    assert "AssertionError" in output or "KeyError" in output or "IndexError" in output


@pytest.mark.parametrize("bug", CAUGHT_BY_TESTS_OF_THE_ENGINE)
def test_the_tests_of_the_engine_catch_the_bug(tmp_path: Path, bug: str) -> None:
    assert "Failed: DID NOT RAISE" in failing_output(tmp_path, bug, CAUGHT_BY_TESTS_OF_THE_ENGINE[bug])


@pytest.mark.parametrize("bug", CAUGHT_BY_TESTS_OF_EXACTLY_ONCE)
def test_the_tests_of_exactly_once_catch_the_bug(tmp_path: Path, bug: str) -> None:
    tests = (CAUGHT_BY_TESTS_OF_EXACTLY_ONCE[bug], "-k", "every_transaction or Transacting")
    assert "AssertionError" in failing_output(tmp_path, bug, *tests)


@pytest.mark.parametrize("bug", CAUGHT_BY_THE_STATE_MACHINE_OF_JOINS)
def test_the_state_machine_of_joins_catches_the_bug(tmp_path: Path, bug: str) -> None:
    output = failing_output(tmp_path, bug, "tests/runtime/test_join_machine.py")
    assert "AssertionError" in output or "KeyError" in output


def failing_output(folder: Path, bug: str, *tests: str) -> str:
    """Returns the output of the first take in which tests fail with the planted bug.

    Raises:
        AssertionError: they pass in each take, or cannot run.
    """
    for take in range(TAKES):
        run = run_planted(folder / str(take), bug, *tests)
        if run.returncode == 1:
            return run.stdout
        assert run.returncode == 0, f"the tests cannot run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
    pytest.fail("the bug was not caught")


def run_planted(folder: Path, bug: str, *tests: str) -> subprocess.CompletedProcess[str]:
    """Plants the bug in `folder`, and runs tests of this project there."""
    plant(folder, bug)
    for part in ("engine", "runtime", "support"):
        copy(f"tests/{part}", folder)
    (folder / "tests" / "__init__.py").touch()
    (folder / "conftest.py").write_text(ONLY_GENERATE)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "CI": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
