"""`processor demo`: a fleet on an embedded broker, shown while it works and checked at the end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from processor.cli.demo.app import LEDGER, read_ledger
from processor.cli.demo.checks import Fact, Figure, check, figures
from processor.cli.demo.load import GROUP, MAX_ATTEMPTS, TOPIC, Planned, Sending
from processor.cli.demo.shows import SHOWS, Show, ShowName
from processor.cli.demo.view import Size, View
from processor.cli.temporary_files import temporary_folder
from processor.fleet.supervisor import Supervisor
from processor.kafka.embedded import PARTITIONS, EmbeddedBroker
from processor.kafka.reading import lag_of, records_of
from processor.options.bounds import bounds_of
from processor.options.option import Option
from processor.settings import Settings
from processor.telemetry import logs
from processor.telemetry.events import Event, FleetStopping

APP: Final = "processor.cli.demo.app:app"

MOST_TASKS: Final = 50_000

HURRY_SECONDS: Final = 1.0
"""How long an interrupted fleet may drain. Its commits do not matter: the broker ends with the demo."""

SIGNAL_EXIT_CODES: Final = {"SIGINT": 130, "SIGTERM": 143}
"""128 plus the number of the signal, by the convention of shells."""

Processes = Annotated[
    int, Option("Consumers in the fleet, one process each.", short="-p", at_least=1, at_most=PARTITIONS)
]


def demo(
    tasks: Annotated[
        int | None,
        Option(
            "Number of tasks.",
            at_least=1,
            at_most=MOST_TASKS,
            default_shown="4000, 800 with delays, or 8000 with batches",
        ),
    ] = None,
    sessions: Annotated[int, Option("Number of sessions.", at_least=1, at_most=10_000)] = 100,
    processes: Processes = 2,
    workers: Annotated[int, Option("Worker threads per consumer.", short="-w", at_least=1, at_most=256)] = 16,
    show: Annotated[
        ShowName, Option("What is shown: failures, or also urgent tasks, delayed ones or batches.")
    ] = "failures",
) -> int:
    """Watch a fleet at work, with nothing installed but this package.

    It starts a broker in this process and a fleet, and sends tasks of many
    sessions, some of which fail. At the end it checks that none was lost,
    repeated or overtaken, and reports throughput and balance.
    --show adds urgent or delayed tasks, or tasks that are handled in batches,
    and checks their outcome.
    The exit code is 1 if a check fails.
    """
    console = Console()
    shown = SHOWS[show]
    planned = shown.plan(tasks or shown.tasks, sessions)
    folder = Path(tempfile.mkdtemp(prefix="processor-demo-", dir=temporary_folder()))
    ledger, log = folder / "ledger.jsonl", folder / "fleet.log"
    with EmbeddedBroker() as broker:
        settings = _settings(broker.bootstrap_servers, processes, workers)
        dead_letter_topic = settings.dead_letter_topic_of(TOPIC)
        broker.create_topics([TOPIC, dead_letter_topic])
        _print(console, _introduction(planned, settings, shown))
        exit_code = _run_fleet(settings, console, planned, ledger, log)
        if exit_code:
            _print(console, f"stopped before the end; the fleet's log is {log}")
            return exit_code
        entries = read_ledger(ledger)
        dead_letters = records_of(broker.bootstrap_servers, {}, dead_letter_topic)
        lag = lag_of(broker.bootstrap_servers, {}, GROUP, TOPIC)
        facts = check(planned, entries, dead_letters, {str(partition): behind for partition, behind in lag.items()})
    facts += shown.check(planned, entries, dead_letters)
    measured = figures(entries, PARTITIONS, processes * workers)
    _report(console, facts, measured + shown.figures(planned, entries))
    _print(
        console,
        f"Checked from the ledger {ledger}\nTo see the fleet's log summarized:\n  {_own_command()} report {log}",
    )
    return 0 if all(fact.holds for fact in facts) else 1


def _own_command() -> str:
    """Return how the user can call this program: by its name, if that is on the PATH."""
    if shutil.which("processor"):
        return "processor"
    is_module = Path(sys.argv[0]).name == "__main__.py"  # python -m processor
    return f"{sys.executable} -m processor" if is_module else sys.argv[0]


def _settings(bootstrap_servers: str, processes: int, workers: int) -> Settings:
    return Settings(
        topics=(TOPIC,),
        group=GROUP,
        bootstrap_servers=bootstrap_servers,
        processes=processes,
        workers=workers,
        max_in_flight=MOST_TASKS,  # all tasks fit, so that urgent ones are found even behind all others
        max_attempts=MAX_ATTEMPTS,
        backoff=0.2,
        backoff_max=1.0,
        commit_interval=0.25,
        drain_timeout=5.0,
        stats_interval=0.25,
        log_format="json",
        group_protocol="consumer",  # in the embedded broker, a classic group waits 44 s for a late member
    )


def _introduction(planned: list[Planned], settings: Settings, shown: Show) -> str:
    sessions = len({task.session for task in planned})
    consumers = "1 consumer" if settings.processes == 1 else f"{settings.processes} consumers"
    return (
        f"{len(planned):,} tasks of {sessions:,} sessions in {PARTITIONS} partitions of an embedded broker.\n"
        f"{shown.summary(planned)}\n"
        f"{consumers} with {settings.workers} workers each."
    )


def _run_fleet(settings: Settings, console: Console, planned: list[Planned], ledger: Path, log: Path) -> int:
    """Run the fleet until every task is committed, with exit code 0, or until a signal stops it.

    The tasks are sent once all consumers have joined. A later rebalance would move tasks that wait for their second
    attempt, and the count of their attempts would begin at 1 again. The checks would report that.

    Raises:
        ProcessorError: the broker does not accept the tasks.
    """
    events: list[Event] = []
    errors: list[str] = []
    size = Size(len(planned), bounds_of(settings.processes).least, PARTITIONS)
    sending = Sending(planned, settings.bootstrap_servers, _stop_this_process)
    hurry = threading.Timer(HURRY_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
    hurry.daemon = True

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, FleetStopping) and not view.is_done:
            hurry.start()

    with _environment(LEDGER, str(ledger)), _stderr_in(log):
        with View(console, size, log, sending.start, _stop_this_process) as view:
            exit_code = Supervisor(settings, APP, emit, say=errors.append).run()
            hurry.cancel()
    for error in errors:
        logs.print_line(error)
    sending.finish()
    if view.is_done:
        return exit_code
    return _exit_code_of_signal(events) or exit_code or SIGNAL_EXIT_CODES["SIGINT"]


def _stop_this_process() -> None:
    """Stop the fleet, whose parent is this process, as any other program would."""
    os.kill(os.getpid(), signal.SIGTERM)


def _exit_code_of_signal(events: list[Event]) -> int:
    reasons = [event.reason for event in events if isinstance(event, FleetStopping)]
    return next((SIGNAL_EXIT_CODES[reason] for reason in reasons if reason in SIGNAL_EXIT_CODES), 0)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the consumers, which inherit it."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


@contextmanager
def _stderr_in(log: Path) -> Iterator[None]:
    """Send standard error, which the consumers inherit, to the log: their lines would break the live view."""
    sys.stderr.flush()
    before = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


def _report(console: Console, facts: list[Fact], measured: list[Figure]) -> None:
    table = Table.grid(padding=(0, 2))
    for fact in facts:
        mark = Text("ok", style="green") if fact.holds else Text("FAILED", style="bold red")
        table.add_row(mark, fact.claim, fact.found)
    figures_table = Table.grid(padding=(0, 2))
    for figure in measured:
        figures_table.add_row(figure.name, figure.value)
    console.print("\nChecked", style="bold")
    console.print(table, highlight=False)
    console.print("\nMeasured", style="bold")
    console.print(figures_table, highlight=False)
    console.print()


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
