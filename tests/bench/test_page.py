"""The performance page shows the measured figures in the places that it marks for them."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.bench import fleet, sweep
from tests.bench.page import PAGE, fill_in
from tests.bench.report import Results
from tests.bench.row import Outcome
from tests.bench.stage import Stage
from tests.bench.statistics import Measure, figure
from tests.bench.sweep import Series, Sweep, Swept
from tests.bench.sweeps import SWEEPS, Sweeps, write


def test_a_block_takes_the_place_of_the_one_before() -> None:
    page = "head\n<!-- one -->\n\nold\n\n<!-- end -->\ntext\n<!-- two -->\n<!-- end -->\n"
    once = fill_in(page, {"one": "new", "two": "also"})
    assert once == "head\n<!-- one -->\n\nnew\n\n<!-- end -->\ntext\n<!-- two -->\n\nalso\n\n<!-- end -->\n"
    assert fill_in(once, {"one": "new"}) == once


def test_a_block_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 places for 'three'"):
        fill_in("<!-- one -->\n<!-- end -->\n", {"three": "x"})


def test_the_page_has_a_place_for_everything_that_is_measured() -> None:
    places = re.findall(r"<!-- (\S+) -->", PAGE.read_text())
    assert sorted(set(places) - {"end"}) == sorted(["table", "conditions", "cluster", *SWEEPS])
    assert places.count("end") * 2 == len(places)


def test_every_chart_on_the_page_is_there() -> None:
    shown = re.findall(r"\]\((images/[^)]+)\)", PAGE.read_text())
    assert [name for name in shown if not (PAGE.parent / name).is_file()] == []


def test_a_sweep_shows_the_median_at_each_value_and_measures_once_for_lines_of_one_trial() -> None:
    ran: list[float] = []

    def trial(_: Stage, value: float) -> dict[str, float]:
        ran.append(value)
        return {"rate": value * len(ran), "other": -value}

    swept = sweep.run(
        Sweep(
            name="name",
            title="title",
            x="x",
            y="y",
            values=(1, 10),
            series=(Series(name="rate", trial=trial), Series(name="other", trial=trial, figure="other")),
        ),
        Stage("", Path(), scale=1.0, arms=(), say=lambda _: None),
        rounds=3,
    )
    assert ran == [1, 10, 1, 10, 1, 10]
    assert swept.series == {"rate": [(1, 3.0), (10, 40.0)], "other": [(1, -1.0), (10, -10.0)]}


def test_a_sweep_that_was_not_run_again_stays(tmp_path: Path) -> None:
    def swept(name: str, rate: float) -> Swept:
        return Swept(name=name, title="", x="", y="", series={"no-op": [(1, rate)]})

    path = tmp_path / "sweeps.json"
    write(Sweeps(conditions="", swept=[swept("size", 1.0), swept("workers", 1.0)]), path)
    write(Sweeps(conditions="", swept=[swept("size", 2.0)]), path)
    kept = msgspec.json.decode(path.read_bytes(), type=Sweeps).swept
    assert [(one.name, one.series["no-op"]) for one in kept] == [("workers", [(1, 1.0)]), ("size", [(1, 2.0)])]


def test_the_pace_of_a_fleet_is_the_sum_of_its_consumers_with_one_commit_a_second_each() -> None:
    verdict = Measure(name="processor", of=figure("processor")).verdict([{"processor": {"rate": 50_000.0}}])
    assert verdict is not None
    outcome = Outcome(name="1ms", work="", rounds=[], verdicts=[verdict])
    results = Results(conditions="", load_averages=[], scale=1.0, versions={}, outcomes=[outcome])
    commits = Swept(name="commits", title="", x="", y="", series={"metadata of 400 characters": [(1, 4_000.0)]})
    table = fleet.table(results, [commits])
    assert "| 64 | 256 | 3.2M/s | 64 | 1.6% |" in table
