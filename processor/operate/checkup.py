"""The verdicts of `processor doctor`: one on each thing that `processor run` needs, from the facts that were found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from processor.observe.wording import duration, many
from processor.options.option import VARIABLE_PREFIX

Level = Literal["ok", "warning", "failure"]

EXPIRES_SOON_SECONDS: Final = 14 * 86_400.0
"""A certificate that expires within this time is a warning."""

AHEAD_SECONDS: Final = 5.0
"""A record with a timestamp further in the future is a warning. Clocks that NTP keeps differ by much less."""

BASE_FILES: Final = 64
"""Files that a process has open without brokers: standard streams, the fleet's sockets, the interpreter's."""

FILES_A_CLIENT: Final = 3
"""Files of a Kafka client for each broker: a socket, and the two ends of a pipe that wakes its thread."""

CLIENTS: Final = 3
"""Kafka clients that each consumer always has: for reading, for outputs, and for requests about the group."""

CLIENTS_AT_MOST: Final = 8
"""The most clients of a consumer, with those for larger outputs, commits during a rebalance, and surveys of topics."""

FILES_A_CHILD: Final = 2
"""Files that the fleet's parent has open for each consumer."""


_OF_A_SERVICE: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""The variables that Kubernetes sets in every container for each service in the same namespace."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `processor run` needs, in the report of `processor doctor`."""

    check: str
    """what was checked: variables, names, servers, tls, login, listeners, topics, control, rights, group, protocol,
    clock, registry, schemas, app, extras or files"""
    level: Level
    """ok; warning: run works, with less than it should have; failure: run does not work"""
    found: str
    """what was found"""
    remedy: str | None = None
    """what to do; null if there is nothing to do"""


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor doctor` found."""

    failures: int
    """findings that are failures; the exit code is 1 if there are any"""
    warnings: int
    """findings that are warnings"""
    findings: list[Finding]
    """in the order of the checks"""


class Probe(NamedTuple):
    """An attempt to reach one address, or to resolve one name."""

    address: str
    error: str | None = None
    """Why the attempt failed; None if it succeeded."""


class TopicState(NamedTuple):
    """A topic that exists, as the brokers describe it."""

    name: str
    partitions: int
    replicas: int
    """Replicas of the partition that has the fewest."""
    without_leader: int = 0
    """Partitions without a leader."""
    under_replicated: int = 0
    """Partitions that have a replica which is not in sync."""


class GroupFacts(NamedTuple):
    """The group as its coordinator describes it."""

    name: str
    state: str
    members: int
    protocol: str | None
    """`classic` or `consumer`; None if the coordinator does not report it."""
    assignor: str


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check=check, level="ok", found=found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding with which `run` works, with less than it should have."""
    return Finding(check=check, level="warning", found=found, remedy=remedy)


def failure(check: str, found: str, remedy: str) -> Finding:
    """Return a finding with which `run` does not work."""
    return Finding(check=check, level="failure", found=found, remedy=remedy)


def report_of(findings: Sequence[Finding]) -> DoctorReport:
    """Return the report with these findings, and with the counts of failures and warnings."""
    levels = [finding.level for finding in findings]
    return DoctorReport(failures=levels.count("failure"), warnings=levels.count("warning"), findings=list(findings))


def variables_verdict(given: Iterable[str], known: Collection[str]) -> Finding | None:
    """Judge the names of environment variables; None if all of them are known.

    Args:
        given: the variables that are set and begin with the prefix of options. The ones that Kubernetes sets for a
            service count as known.
        known: the variables of all options of all commands.
    """
    unknown = sorted(name for name in given if name not in known and _OF_A_SERVICE.fullmatch(name) is None)
    if not unknown:
        return None
    options = {name.removeprefix(VARIABLE_PREFIX): name for name in known}
    near = {name: difflib.get_close_matches(name.removeprefix(VARIABLE_PREFIX), options, n=1) for name in unknown}
    meant = [f"{name}: perhaps {options[found[0]]}" for name, found in near.items() if found]
    remedy = "correct the names, or remove the variables" + (f" ({', '.join(meant)})" if meant else "")
    return warning("variables", f"no option has the variable {', '.join(unknown)}", remedy)


def names_verdict(probes: Sequence[Probe]) -> Finding:
    """Judge the names of the bootstrap servers. One that resolves is enough for `run`."""
    found = _failed(probes, "not resolved")
    if not found:
        return ok("names", f"{', '.join(probe.address for probe in probes)}: resolved")
    remedy = "correct --bootstrap-servers, or the name service of this host"
    return _some_or_all("names", probes, found, remedy)


def servers_verdict(probes: Sequence[Probe]) -> Finding:
    """Judge the connections to the bootstrap servers. One that is reached is enough for `run`."""
    found = _failed(probes, "not reachable")
    if not found:
        return ok("servers", f"{', '.join(probe.address for probe in probes)}: connected")
    remedy = "start the server, open the firewall for its port, or correct --bootstrap-servers"
    return _some_or_all("servers", probes, found, remedy)


def listeners_verdict(probes: Sequence[Probe]) -> Finding:
    """Judge the connections to the addresses that the brokers advertise. `run` needs each of them."""
    found = _failed(probes, "not reachable")
    if not found:
        return ok("listeners", f"{', '.join(probe.address for probe in probes)}: connected")
    remedy = "set advertised.listeners of these brokers to addresses that this host reaches, or start the brokers"
    return failure("listeners", f"advertised by the brokers: {found}", remedy)


def _some_or_all(check: str, probes: Sequence[Probe], found: str, remedy: str) -> Finding:
    is_all = all(probe.error is not None for probe in probes)
    return failure(check, found, remedy) if is_all else warning(check, found, remedy)


def _failed(probes: Sequence[Probe], fault: str) -> str:
    failed = [f"{probe.address} ({probe.error})" for probe in probes if probe.error is not None]
    if not failed:
        return ""
    count = f"{len(failed)} of {len(probes)} " if len(probes) > 1 else ""
    return f"{count}{fault}: {', '.join(failed)}"


def expiry_verdict(seconds: float) -> Finding:
    """Judge a server's certificate that could be verified.

    Args:
        seconds: until it expires.
    """
    found = f"the brokers' certificates are valid for {duration(seconds)}"
    if seconds < EXPIRES_SOON_SECONDS:
        return warning("tls", found, "renew the brokers' certificates")
    return ok("tls", found)


def topic_verdict(topic: TopicState) -> Finding:
    """Judge a topic that exists."""
    found = f"{topic.name}: {many(topic.partitions, 'partition')}, {many(topic.replicas, 'replica')}"
    if topic.without_leader:
        return failure(
            "topics",
            f"{found}, {topic.without_leader:,} without a leader",
            "start the brokers that have the partitions",
        )
    if topic.replicas == 1:
        return warning(
            "topics",
            f"{topic.name}: {many(topic.partitions, 'partition')}, a single replica",
            "raise the replication factor to 3, with min.insync.replicas=2: the loss of one disk loses records",
        )
    if topic.under_replicated:
        return warning(
            "topics",
            f"{found}, {topic.under_replicated:,} with replicas that are not in sync",
            "start the brokers that are missing, or wait until they have caught up",
        )
    return ok("topics", found)


def is_compacted(policy: str | None) -> bool:
    """Return whether a cleanup policy keeps the last record of each key; True if the policy is not known."""
    return policy is None or policy.strip() == "compact"


def policy_verdict(name: str, policy: str | None) -> Finding | None:
    """Judge the cleanup policy of the progress topic; None if it is right, or not known."""
    if is_compacted(policy):
        return None
    return warning(
        "topics",
        f"{name}: cleanup.policy is {policy}, so retention may delete a skip map that a commit refers to",
        "set cleanup.policy=compact",
    )


def control_verdict(name: str, policy: str | None) -> Finding:
    """Judge the cleanup policy of the control topic; None if it is not known."""
    if not is_compacted(policy):
        return warning(
            "control",
            f"{name}: cleanup.policy is {policy}, so retention may delete commands that are in force",
            "set cleanup.policy=compact",
        )
    return ok("control", f"{name}: compacted" if policy is not None else f"{name}: its cleanup.policy is not reported")


def capacity_verdict(partitions: int, processes: int) -> Finding | None:
    """Judge the number of consumers; None if each of them gets a partition.

    Args:
        partitions: of all consumed topics.
        processes: consumers of the fleet.
    """
    if processes <= partitions:
        return None
    return warning(
        "topics",
        f"{processes:,} consumers for {many(partitions, 'partition')}: {processes - partitions:,} of them get none",
        "lower --processes, or add partitions",
    )


def group_verdict(group: GroupFacts, protocol: str) -> Finding:
    """Judge the group.

    Args:
        group: as its coordinator describes it.
        protocol: `--group-protocol`.
    """
    found = f"{group.name}: {group.state}, {many(group.members, 'member')}"
    if group.members == 0:
        return ok("group", found)
    if group.protocol is not None and group.protocol != protocol:
        return warning(
            "group",
            f"{found}, which use the protocol {group.protocol}, not {protocol}",
            f"set --group-protocol {group.protocol}, or stop the other members first",
        )
    if protocol == "classic" and group.assignor not in ("", "cooperative-sticky"):
        return failure(
            "group",
            f"{found}, whose assignor is {group.assignor}, not cooperative-sticky",
            "stop the other members first, or choose another --group",
        )
    return ok("group", found)


def files_verdict(limit: int, brokers: int, processes: int, workers: int) -> Finding:
    """Judge the limit of open files. It applies to each process, and each consumer of a fleet is a process.

    Args:
        limit: the soft limit, `ulimit -n`.
        brokers: of the cluster, as far as they are known.
        processes: consumers of the fleet.
        workers: of each; a handler is assumed to open one file or connection.
    """
    needed = BASE_FILES + max(FILES_A_CLIENT * CLIENTS * brokers, FILES_A_CHILD * processes)
    at_most = max(needed, BASE_FILES + FILES_A_CLIENT * CLIENTS_AT_MOST * brokers) + workers
    found = f"a process may open {limit:,} files"
    remedy = f"raise the limit to {at_most:,} or more (ulimit -n, LimitNOFILE= of systemd)"
    if limit < needed:
        return failure("files", f"{found}, and needs {needed:,}", remedy)
    if limit < at_most:
        return warning("files", f"{found}, and needs up to {at_most:,} with one of each worker", remedy)
    return ok("files", found)


def clock_verdict(newest: Iterable[float], now: float) -> Finding:
    """Judge this host's clock by the times of records.

    A record from the future shows that this clock is behind, or that of the record's producer or broker ahead. A clock
    that is ahead looks like topics without new records.

    Args:
        newest: the time of the newest record of each partition that has one, in seconds since the epoch.
        now: this host's time.
    """
    ahead = max((at - now for at in newest), default=0.0)
    if ahead > AHEAD_SECONDS:
        return warning(
            "clock",
            f"the newest record is dated {duration(ahead)} after this host's time",
            "correct the clock of this host or of the record's producer: task-not-before and task-expires need it",
        )
    return ok("clock", "no record is dated after this host's time")
