"""Plays rounds of chaos for a given time, and prints a table of the results.

python -m tests.chaos --minutes 10 --seed 7 [--only FAULT]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.storm import PATIENT, Outcome, Storm, World
from tests.support.addresses import free_ports
from tests.support.java_broker import JavaBroker
from tests.support.wire import Wire, through_a_wire

COLUMNS = (
    *("fault", "rounds", "injected", "met work", "tasks"),
    *("lost", "out of order", "overlapping", "repeated", "may be repeated"),
)
SHOWN = ("lost", "out of order", "overlapping")


class Campaign:
    """All rounds of one seed."""

    def __init__(self, seed: int, faults: tuple[Fault, ...] = FAULTS) -> None:
        self.seed = seed
        self.failures: list[str] = []
        """Descriptions of failures, each with the seed of its round."""
        self._faults = faults
        self._injected: dict[Fault, int] = defaultdict(int)
        self._outcomes: dict[Fault, list[Outcome]] = defaultdict(list)

    def run(self, seconds: float, say: Console) -> None:
        """Plays rounds with each fault in turn, and begins none after `seconds`."""
        deadline = time.monotonic() + seconds
        with world() as shared:
            for number in range(1_000_000):
                if number and time.monotonic() > deadline:
                    break
                self._play(shared, number, say)

    def table(self) -> Table:
        """Return a table of the rounds so far."""
        table = Table(title=f"seed {self.seed}", title_justify="left")
        for name in COLUMNS:
            table.add_column(name, justify="left" if name.startswith(("fault", "may")) else "right")
        for row in self.rows():
            table.add_row(*row)
        return table

    def rows(self) -> list[tuple[str, ...]]:
        """Return one row for each fault that was injected."""
        rows = []
        for fault, outcomes in self._outcomes.items():
            found = [str(sum(len(outcome.faults.get(what, ())) for outcome in outcomes)) for what in SHOWN]
            met, tasks = (sum(outcome.met for outcome in outcomes), sum(outcome.tasks for outcome in outcomes))
            numbers = (len(outcomes), self._injected[fault], met, tasks)
            repeated = sum(outcome.repeated for outcome in outcomes)
            rows.append((_name(fault), *map(str, numbers), *found, str(repeated), fault.bound))
        return rows

    def _play(self, shared: World, number: int, say: Console) -> None:
        seed = f"{self.seed}-{number}"
        fault = self._faults[number % len(self._faults)]
        times = random.Random(seed).randint(1, fault.most)
        begun = time.monotonic()
        try:
            outcome = _play(shared, fault, seed, times)
        except (AssertionError, KafkaException, TimeoutError) as error:
            outcome = Outcome(0, 0, 0, {})
            self.failures.append(f"round {seed}, {_name(fault)}: {str(error)[:2000]}")
        self._injected[fault] += times
        self._outcomes[fault].append(outcome)
        self.failures += [f"round {seed}, {_name(fault)}: {what}: {found}" for what, found in outcome.faults.items()]
        if not outcome.repeated or fault.bound != "nothing":
            verdict = "ok" if not outcome.faults and outcome.tasks else "FAILED"
        else:
            verdict = "FAILED"
            self.failures.append(f"round {seed}, {_name(fault)}: {outcome.repeated} tasks ran again")
        seconds = time.monotonic() - begun
        say.print(
            f"round {number:3}  {_name(fault):18} x{times}  {outcome.tasks:5} tasks  "
            f"{outcome.repeated:4} repeated  {outcome.delivery:13}  {seconds:5.1f} s  {verdict}"
        )


def _play(shared: World, fault: Fault, seed: str, times: int) -> Outcome:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="processor-chaos-")))
        storm = Storm(shared, f"storm-{seed}-{_name(fault).replace(' ', '-')}", seed, folder, stack)
        return storm.play(fault, times)


def _name(fault: Fault) -> str:
    return fault.inject.__name__.replace("_", " ")


@contextmanager
def world() -> Iterator[World]:
    """Yield a broker of the campaign's own, behind a wire."""
    wire_port, direct_port = free_ports(2)
    with JavaBroker({**through_a_wire(wire_port, direct_port), **PATIENT}) as broker:
        wire = Wire(wire_port, direct_port)
        try:
            yield World(broker, wire)
        finally:
            wire.close()


def main() -> int:
    """Runs the command line, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="no round begins after this")
    parser.add_argument("--seed", type=int, default=None, help="plays the same rounds again")
    parser.add_argument("--only", default=None, help="one fault, by its name in the table")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    faults = tuple(fault for fault in FAULTS if options.only in (None, _name(fault)))
    if not faults:
        parser.error(f"there is no fault {options.only!r}: {', '.join(map(_name, FAULTS))}")
    say = Console(width=max(150, Console().width), highlight=False)
    say.print(f"seed {seed}: make chaos SEED={seed} plays the same rounds again")
    campaign = Campaign(seed, faults)
    campaign.run(options.minutes * 60, say)
    say.print(campaign.table())
    for failure in campaign.failures:
        say.print(failure, style="red", markup=False)
    say.print("all promises were kept" if not campaign.failures else f"{len(campaign.failures)} promises were broken")
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
