"""A short campaign of chaos with a fixed seed; `make chaos` plays longer ones, each with its own seed."""

from __future__ import annotations

import pytest
from rich.console import Console

from tests.chaos.campaign import Campaign
from tests.chaos.faults import FAULTS, Fault, kill_a_consumer, kill_all_fleets, stop_and_start

QUICK = [fault for fault in FAULTS if fault.inject in (stop_and_start, kill_a_consumer, kill_all_fleets)]


@pytest.mark.usefixtures("broker")  # skips the campaign if no broker is available
@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.inject.__name__)
def test_a_round_of_the_campaign_violates_no_guarantee(fault: Fault) -> None:
    campaign = Campaign(1, (fault,))
    campaign.run(0.0, Console(width=150))
    assert campaign.failures == []
    ((name, rounds, injected, met, tasks, *_),) = campaign.rows()
    assert (name, rounds) == (fault.inject.__name__.replace("_", " "), "1")
    assert 1 <= int(met) <= int(injected)
    assert int(tasks) > 0
