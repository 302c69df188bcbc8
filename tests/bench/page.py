"""`make bench-page`: writes the last results into docs/PERFORMANCE.md, and their charts into docs/images."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.bench import chart, fleet
from tests.bench.__main__ import RESULTS, rates_of
from tests.bench.report import Results, markdown
from tests.bench.sweep import Swept
from tests.bench.sweeps import Sweeps
from tests.support.kafka_jars import PROJECT

Kind = TypeVar("Kind")

PAGE = PROJECT / "docs" / "PERFORMANCE.md"
IMAGES = PROJECT / "docs" / "images"


def main() -> int:
    """Writes the results of the table and of the sweeps that exist, and returns the exit code: 1 if neither does."""
    results = _read(RESULTS / "results.json", Results)
    sweeps = _read(RESULTS / "sweeps.json", Sweeps)
    if results is None and sweeps is None:
        print(f"nothing was measured yet: no results in {RESULTS}", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    blocks: dict[str, str] = {}
    if results is not None:
        blocks["table"] = f"{markdown(results)}\n\n{_bars(results)}"
    if sweeps is not None:
        blocks |= {swept.name: _block(swept) for swept in sweeps.swept}
        blocks["conditions"] = sweeps.conditions + "."
    if results is not None and sweeps is not None and fleet.COMMITS in blocks:
        blocks["cluster"] = fleet.table(results, sweeps.swept)
    PAGE.write_text(fill_in(PAGE.read_text(), blocks))
    print(f"written: {PAGE.relative_to(PROJECT)}, {', '.join(blocks)}")
    return 0


def fill_in(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with each block put between its markers `<!-- NAME -->` and `<!-- end -->`.

    Raises:
        ValueError: the page does not have exactly one place for a block.
    """
    for name, text in blocks.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        if page.count(begin) != 1:
            raise ValueError(f"{PAGE.name} has {page.count(begin)} places for {name!r}, and not one")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{text}\n\n{end}{rest.split(end, 1)[1]}"
    return page


def _block(swept: Swept) -> str:
    """Return the figures as a table, with a chart if there is more than one value."""
    values = sorted({value for points in swept.series.values() for value, _ in points})
    lines = [
        f"| {swept.x} | " + " | ".join(f"{value:,g}" for value in values) + " |",
        "| --- |" + " --- |" * len(values),
    ]
    for name, points in swept.series.items():
        known = dict(points)
        lines.append(f"| {name} | " + " | ".join(_cell(known.get(value)) for value in values) + " |")
    table = "\n".join(lines)
    if len(values) < 2:
        return f"{swept.title} ({swept.y}):\n\n{table}"
    (IMAGES / f"{swept.name}.svg").write_text(chart.lines(swept.title, swept.x, swept.y, swept.series))
    return f"![{swept.title}](images/{swept.name}.svg)\n\n{table}"


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bars(results: Results) -> str:
    """Return links to a chart of each row that more than one arm ran."""
    links = []
    for outcome in results.outcomes:
        rates = rates_of(outcome)
        if len(rates) > 1:
            title = outcome.work.replace("`", "")
            (IMAGES / f"bench-{outcome.name}.svg").write_text(chart.bars(title, "records/s", rates))
            links.append(f"![{title}](images/bench-{outcome.name}.svg)")
    return "\n\n".join(links)


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
