"""Presents the outcome as a table on the terminal, and as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from processor.engine.build import BUILD
from tests.bench.competitors import ARMS
from tests.bench.row import Outcome
from tests.bench.statistics import Spread, Verdict
from tests.support.broker import ADDRESS
from tests.support.kafka_jars import KAFKA_VERSION


class Results(msgspec.Struct, kw_only=True):
    """The results of a run, as stored in its JSON file."""

    conditions: str
    load_averages: list[float]
    """The load average before each run that contributed to these results."""
    scale: float
    versions: dict[str, str]
    outcomes: list[Outcome]


def conditions() -> str:
    """Describe the machine, the broker and the Python that the benchmark runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    given = os.environ.get(ADDRESS)
    broker = f"the broker at {given}" if given else f"Apache Kafka {KAFKA_VERSION} (one node, lz4) on the same cores"
    python = f"Python {platform.python_version()}, engine {BUILD}"
    return f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GB, {broker}, {python}"


def busy(load_averages: Sequence[float]) -> str:
    """Describe the load averages as a phrase that can end a sentence."""
    return f"load average before each run {', '.join(f'{load:.1f}' for load in load_averages)}"


def merged(older: Results, newer: Results, order: Iterable[str]) -> Results:
    """Merge the results, with the rows in the given order.

    If both have a row, the newer one counts. Older results from another machine or another scale are dropped.
    """
    if (older.conditions, older.scale) != (newer.conditions, newer.scale):
        return newer
    outcomes = {outcome.name: outcome for outcome in (*older.outcomes, *newer.outcomes)}
    return Results(
        conditions=newer.conditions,
        load_averages=[*older.load_averages, *newer.load_averages],
        scale=newer.scale,
        versions=older.versions | newer.versions,
        outcomes=[outcomes[name] for name in order if name in outcomes],
    )


def show(results: Results, console: Console) -> None:
    """Prints the table."""
    table = Table(
        title="processor's benchmark",
        caption=f"{results.conditions}; {busy(results.load_averages)}",
        title_justify="left",
    )
    for heading, justify in (("work", "left"), ("measured", "left"), ("median (least-most)", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("to reach", justify="right")
    table.add_column("reached")
    for outcome in results.outcomes:
        for index, verdict in enumerate(outcome.verdicts):
            table.add_row(
                outcome.work.replace("`", "") if not index else "", verdict.name, *_cells(verdict, "[green]", "[red]")
            )
        for failure in outcome.failures:
            table.add_row("" if outcome.verdicts else outcome.work, "[red]failed", failure)
        table.add_section()
    console.print(table)
    for arm, version in results.versions.items():
        console.print(f"[bold]{arm}[/]: {version}. {_difference(arm)}", highlight=False)


def markdown(results: Results) -> str:
    """Return Markdown: a table of the processor's figures and targets, then the arms' rates, then notes on the arms."""
    conditions = f"{results.conditions}; {busy(results.load_averages)}."
    return "\n\n".join((conditions, _targets(results), _arms(results), _notes(results.versions)))


def _targets(results: Results) -> str:
    head = ["| work | measured | median (least–most) | to reach | reached |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *(line for outcome in results.outcomes for line in _lines(outcome))])


def _lines(outcome: Outcome) -> list[str]:
    own = [verdict for verdict in outcome.verdicts if verdict.name not in ARMS or verdict.name == "processor"]
    works = [outcome.work, *[""] * len(own)]
    lines = [" | ".join((work, verdict.name, *_cells(verdict))) for work, verdict in zip(works, own, strict=False)]
    failed = [" | ".join((works[len(own)], "failed", failure, "", "")) for failure in outcome.failures]
    return [f"| {line} |" for line in (*lines, *failed)]


def _arms(results: Results) -> str:
    shared = [outcome for outcome in results.outcomes if any(v.name in ARMS for v in outcome.verdicts)]
    shared = [outcome for outcome in shared if sum(v.name in ARMS for v in outcome.verdicts) > 1]
    if not shared:
        return ""
    lines = [
        "| records/s | " + " | ".join(outcome.work for outcome in shared) + " |",
        "| --- |" + " --- |" * len(shared),
    ]
    for arm in ARMS.values():
        cells = [_rate(arm.name, outcome.verdicts) for outcome in shared]
        if any(cells):
            lines.append(f"| {arm.name}{'' if arm.ordered else ', out of order'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rate(arm: str, verdicts: Sequence[Verdict]) -> str:
    return next((spread(verdict.spread) for verdict in verdicts if verdict.name == arm), "")


def _notes(versions: Mapping[str, str]) -> str:
    return "\n".join(f"- {arm}: {_difference(arm)} ({version})" for arm, version in versions.items() if arm in ARMS)


def _difference(arm: str) -> str:
    return ARMS[arm].differs if arm in ARMS else ""


def _cells(verdict: Verdict, good: str = "", bad: str = "") -> tuple[str, str, str]:
    measured = f"{spread(verdict.spread)} {verdict.unit}".strip()
    if verdict.reached is None:
        return measured, "", ""
    return measured, verdict.target, f"{good}yes" if verdict.reached else f"{bad}no"


def spread(of: Spread) -> str:
    """Format as `median (least–most)`, rounded to significant digits."""
    if of.least == of.most:
        return _number(of.median)
    return f"{_number(of.median)} ({_number(of.least)}–{_number(of.most)})"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names: Iterable[str] = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(iter(names), platform.machine())
