"""`processor lag`: how far a group is behind, how much of that is done already, and what holds each partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from processor.boot.tokens import with_tokens
from processor.cli.output import note
from processor.cli.stop import Stop
from processor.cli.tables import Output, print_json, table
from processor.engine.pauses import Pauses
from processor.errors import LoadError, ProcessorError, SettingsError
from processor.kafka.control_topic import commands_of
from processor.kafka.group_view import GroupState, GroupView
from processor.observe.window import APART, WINDOW
from processor.observe.wording import clock, duration, many
from processor.operate.lag import (
    UNKNOWN,
    LagReport,
    Oldest,
    PartitionLag,
    Trail,
    partition_lag,
    sentence,
    totals_of,
    waits_itself,
    with_pause,
    with_session,
)
from processor.operate.moments import Moment
from processor.operate.partition_view import PartitionView, unread, waits_for
from processor.options.connection import ConnectionOptions
from processor.options.names import group_fault, topic_fault
from processor.options.option import SECONDS, Option, Panel
from processor.options.option_set import OptionSet
from processor.runtime.ports import Partition
from processor.telemetry.printable import printable
from processor.telemetry.redaction import LogSessions

TICK_SECONDS: Final = 0.1
"""How long a wait may delay a signal."""

JOIN_LENGTH: Final = 60
"""The most characters of a join's ID in a cell of the table."""

SESSION_LENGTH: Final = 40
"""The most characters of a session in a cell of the table."""

HEADINGS: Final = (
    *("partition", ">end", ">committed", ">lag", ">done ahead", ">left", ">oldest", "verdict", "member", "host"),
)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionSet):
    """How often the group is sampled, and what is reported."""

    samples: Annotated[
        int,
        Option(
            "Number of observations of partitions with lag, a second apart; the verdict needs several.",
            at_least=1,
            at_most=60,
        ),
    ] = 4
    watch: Annotated[bool, Option("Repeat until Ctrl-C.")] = False
    every: Annotated[float, Option("Time between two reports of --watch.", metavar=SECONDS, at_least=0.5)] = 2.0
    control_topic: Annotated[
        str | None,
        Option("The group's control topic: shows what is paused, and since when.", metavar="TOPIC", rule=topic_fault),
    ] = None
    sessions: Annotated[
        LogSessions | None,
        Option(
            "Read unsettled tasks and show the session with the most of them in each partition: hashed, as in the log, "
            "or plain.",
        ),
    ] = None
    max_lag: Annotated[int | None, Option("Exit with code 1 if the total lag is above this.", at_least=0)] = None

    def check_together(self) -> None:
        """Refuse a limit for a report that does not end.

        Raises:
            SettingsError: there is such a limit.
        """
        super().check_together()
        if self.watch and self.max_lag is not None:
            raise SettingsError("--max-lag is for a single report: leave out --watch")


def lag(
    connection: ConnectionOptions,
    report: ReportOptions,
    group: Annotated[str, Option("Consumer group.", Panel.KAFKA, short="-g", rule=group_fault)],
    topic: Annotated[
        list[str],
        Option(
            "Topic to report; repeatable.",
            Panel.KAFKA,
            short="-t",
            rule=topic_fault,
            default_shown="those that the group consumes or has committed",
        ),
    ] = [],  # noqa: B006 — read only
    output: Output = "table",
) -> int:
    """Show the lag of a group per partition, with what is done already.

    Tasks above the committed offset may be done already: the commit lists them.
    "12,031 behind, 11,990 of them done, 41 left" is such a group. The verdict
    is explained in docs/OPERATING.md.

    If a group lags, the command takes four samples, a second apart.
    """
    connection = with_tokens(connection, lambda _: None)
    control = report.control_topic
    pauses = partial(_pauses_of, connection, control, group) if control is not None else None
    with GroupView(connection, group) as view:
        survey = LagSurvey(view, topic, WINDOW if report.watch else report.samples, pauses, report.sessions)
        if report.watch:
            _watch(survey, report.every, output)
            return 0
        found = survey.conclusive()
    _print(found, output)
    if report.max_lag is not None and found.totals.lag > report.max_lag:
        note(f"processor: the lag of group {group} is {found.totals.lag:,}, above --max-lag {report.max_lag:,}")
        return 1
    return 0


class LagSurvey:
    """Samples the group repeatedly, and judges each partition by its latest samples."""

    def __init__(
        self,
        view: GroupView,
        topics: Sequence[str],
        length: int,
        pauses: Callable[[], Pauses] | None = None,
        sessions: LogSessions | None = None,
    ) -> None:
        """Finds the topics.

        Args:
            view: the group.
            topics: the topics to report; empty for all topics of the group.
            length: the number of samples that a verdict needs.
            pauses: reads the pauses; None if they are not known.
            sessions: how to show the busiest session of each partition; None to leave it out.

        Raises:
            LoadError: a topic, or the group, does not exist.
        """
        self._view = view
        self._length = length
        self._pauses = pauses
        self._sessions = sessions
        if topics:
            view.require(topics)
        self._topics = list(dict.fromkeys(topics)) or view.topics()
        self._trails: dict[Partition, Trail] = {}
        self._state: GroupState | None = None
        self._views: list[PartitionView] = []
        self._warned: set[str] = set()

    def look(self) -> None:
        """Query the brokers once.

        Raises:
            LoadError: the group does not exist.
        """
        self._views = self._view.look(self._topics)
        self._state = self._view.describe()
        if not any(view.committed is not None for view in self._views) and not self._has_members():
            raise LoadError(self._nothing())
        now = time.time()
        self._warn_of_unread()
        for view in self._views:
            self._trails.setdefault(view.partition, Trail(self._length)).note(now, view)

    def _nothing(self) -> str:
        """Return why there is nothing to report: the group does not exist, or has nothing to do with the topics."""
        exists = self._state is not None and self._state.state != "dead"
        group, servers = self._view.group, self._view.servers
        subject = f"group {group} at {servers}" if exists else f"group {group} does not exist at {servers}: it"
        of_these = f" of {', '.join(self._topics)}" if self._topics else ""
        return f"{subject} has no members and has committed nothing{of_these}"

    def _warn_of_unread(self) -> None:
        """Report, once for each, which skip maps cannot be read."""
        for reason in unread(self._views):
            if reason not in self._warned:
                self._warned.add(reason)
                note(f"processor: {reason}")

    def _has_members(self) -> bool:
        return self._state is not None and bool(self._state.members)

    def conclusive(self) -> LagReport:
        """Look until each partition has a verdict, and report."""
        while True:
            self.look()
            if all(self._is_conclusive(view.partition) for view in self._views):
                return self.report()
            time.sleep(APART)

    def _is_conclusive(self, partition: Partition) -> bool:
        """Return whether more looks would not change the verdict. For a partition without a member, one is enough."""
        is_unowned = self._state is not None and partition not in self._state.owners
        return is_unowned or self._trails[partition].is_conclusive

    def report(self) -> LagReport:
        """Return the result of the latest sample."""
        now = time.time()
        oldest = self._view.oldest(self._views)
        waits = self._waits(now)
        rows = [self._row(view, oldest.get(view.partition, UNKNOWN), now, waits) for view in self._views]
        pauses = self._pauses() if self._pauses is not None else None
        if pauses is not None:
            found = [oldest.get(view.partition) for view in self._views]
            rows = [with_pause(row, one, pauses) for row, one in zip(rows, found, strict=True)]
        rows = self._with_sessions(rows)
        given = [pause.since for pause in pauses.in_force.values()] if pauses is not None else []
        return LagReport(
            group=self._view.group,
            at=int(now * 1000),
            state=self._state.state if self._state is not None else None,
            members=len(self._state.members) if self._state is not None else None,
            totals=totals_of(rows),
            partitions=rows,
            pauses=None if pauses is None else len(given),
            paused_since=min(given, default=None),
        )

    def _with_sessions(self, rows: list[PartitionLag]) -> list[PartitionLag]:
        """Return the rows with the busiest session of each partition, if that is requested."""
        if self._sessions is None:
            return rows
        shares = self._view.shares(self._views)
        pairs = zip(rows, self._views, strict=True)
        return [with_session(row, shares.get(view.partition), self._sessions) for row, view in pairs]

    def _waits(self, now: float) -> dict[Partition, list[Partition]]:
        waits = {}
        for topic in self._topics:
            of_topic = [view for view in self._views if view.partition.topic == topic]
            for number, others in waits_for(of_topic, now).items():
                waits[Partition(topic, number)] = others
        return waits

    def _row(
        self, view: PartitionView, oldest: Oldest | None, now: float, waits: dict[Partition, list[Partition]]
    ) -> PartitionLag:
        partition = view.partition
        owner = self._state.owners.get(partition) if self._state is not None else None
        is_owned = None if self._state is None else owner is not None
        others = waits.get(partition, [])
        trail = self._trails[partition]
        verdict = trail.verdict(is_owned=is_owned, waits=bool(others), oldest=waits_itself(oldest, now))
        return partition_lag(view, owner, oldest, now, verdict, others)


def _pauses_of(connection: ConnectionOptions, control_topic: str, group: str) -> Pauses:
    return commands_of(connection, control_topic, group).pauses


def _watch(survey: LagSurvey, every: float, output: str) -> None:
    console = Console(highlight=False)
    is_live = output == "table" and console.is_terminal and not console.is_dumb_terminal
    survey.look()
    with Stop() as stop:
        if not is_live:
            _repeat(survey, every, stop, lambda report: _print(report, output, one_line=True), note)
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:

            def show(report: LagReport) -> None:
                live.update(_screen(report, *console.size), refresh=True)

            _repeat(survey, every, stop, show, lambda fault: live.update(Text(fault), refresh=True))


def _repeat(
    survey: LagSurvey, every: float, stop: Stop, show: Callable[[LagReport], None], fail: Callable[[str], None]
) -> None:
    """Sample and report until a signal comes. A failure is reported and retried: brokers and groups may return."""
    while not stop.is_asked():
        try:
            survey.look()
            report = survey.report()
        except ProcessorError as error:
            fail(f"processor: {error}")
        else:
            show(report)
        _pause(every, stop)


def _screen(report: LagReport, width: int, height: int) -> Text:
    """Return what fits the terminal: the totals, and the partitions with the largest lag first."""
    ordered = sorted(report.partitions, key=lambda one: -one.left)
    rows = [f"{clock(report.at / 1000)} UTC", *_lines(report, ordered)]
    return Text("\n".join(line[:width] for line in rows[:height]), no_wrap=True)


def _pause(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while not stop.is_asked() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, TICK_SECONDS))


def _print(report: LagReport, output: str, *, one_line: bool = False) -> None:
    if output == "json":
        print_json(report, one_line=one_line)
    else:
        typer.echo("\n".join([*_lines(report, report.partitions), *([""] if one_line else [])]))


def _lines(report: LagReport, partitions: Sequence[PartitionLag]) -> list[str]:
    members = "members unknown" if report.members is None else many(report.members, "member")
    state = f", {report.state}" if report.state is not None else ""
    head = f"group {report.group}{state}, {members}: {sentence(report.totals)}"
    paused = []
    if report.pauses and report.paused_since is not None:
        paused.append(f"{many(report.pauses, 'pause')} in force, the oldest since {Moment(report.paused_since)}")
    if all(one.busiest_session is None for one in partitions):
        return [head, *paused, *table(HEADINGS, [_cells(one) for one in partitions])]
    cells = [[*_cells(one), _busiest(one)] for one in partitions]
    return [head, *paused, *table([*HEADINGS, "busiest session"], cells)]


def _cells(one: PartitionLag) -> list[str]:
    return [
        f"{one.topic}[{one.partition}]",
        f"{one.end:,}",
        "–" if one.committed is None else f"{one.committed:,}",
        f"{one.lag:,}",
        f"{one.done_ahead:,}",
        f"{one.left:,}",
        "–" if one.oldest_age_seconds is None else duration(one.oldest_age_seconds),
        _verdict(one),
        one.client_id or "–",
        one.host or "–",
    ]


def _busiest(one: PartitionLag) -> str:
    """Return the busiest session as a text such as `#1f0c2d3e4b5a, 9,950 of the first 10,000`."""
    busiest = one.busiest_session
    if busiest is None:
        return "–"
    of = f"{busiest.read:,}" if busiest.is_all else f"the first {busiest.read:,}"
    return f"{printable(busiest.session_id, SESSION_LENGTH)}, {busiest.tasks:,} of {of}"


def _verdict(one: PartitionLag) -> str:
    if one.waits_for:
        return f"{one.verdict} for {', '.join(one.waits_for)}"
    if one.verdict == "delayed" and one.delayed_until is not None:
        return f"delayed until {Moment(one.delayed_until)}"
    if one.verdict == "joining" and one.join is not None:
        return f"joining {printable(one.join, JOIN_LENGTH)}"
    if one.verdict == "paused" and one.paused is not None:
        return f"paused since {Moment(one.paused.since)}"
    return one.verdict
