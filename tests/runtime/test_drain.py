"""How long running tasks get to finish before their partition is given up."""

from __future__ import annotations

import pytest

from processor.runtime.drain import DrainSeconds


@pytest.mark.parametrize(
    ("drain_timeout", "poll_seconds", "of_revoke"),
    [(25.0, 300.0, 25.0), (270.0, 300.0, 270.0), (271.0, 300.0, 270.0), (25.0, 6.0, 3.6), (600.0, 630.0, 600.0)],
)
def test_a_revoke_leaves_time_for_its_last_commit_before_the_group_gives_the_member_up(
    drain_timeout: float, poll_seconds: float, of_revoke: float
) -> None:
    found = DrainSeconds.within(drain_timeout, poll_seconds)
    assert found.of_stop == drain_timeout
    assert found.of_revoke == pytest.approx(of_revoke)
