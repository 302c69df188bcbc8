"""Instants at which a consumer kills itself. A handler module sets them inside the consumer's process.

Only the first process that reaches the instant the required number of times dies: the trap is a file, and only one
process can remove it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processor.engine.ledger import Ledger
from processor.kafka.output_transactions import OutputTransactions
from processor.kafka.sink import KafkaSink
from processor.kafka.source import KafkaSource
from processor.runtime.commits.committer import Committer
from processor.runtime.desk.outcomes import Outcomes
from processor.runtime.membership import Membership

Condition = Callable[..., bool]


def always(*_: object, **__: object) -> bool:
    return True


def has_done(_: Ledger, loan: Any) -> bool:
    """Return whether a handler has ended whose task is not settled."""
    return bool(loan.done > loan.settled)


def in_revoke(committer: Committer, partitions: Any, seconds: float) -> bool:
    """Return whether only some assigned partitions are given up: the last commit of a stop includes all of them."""
    return len(partitions) < len(committer._desk.partitions)


def of_any(_: KafkaSource, partitions: Any) -> bool:
    """Return whether partitions are released; at a stop there may be none."""
    return bool(partitions)


TRAPS: dict[str, tuple[type, str, Condition, bool, int]] = {
    "before a task that ended is settled": (Ledger, "settle", has_done, False, 5),
    "after it was settled": (Ledger, "settle", has_done, True, 5),
    "before a commit is sent": (KafkaSource, "commit", always, False, 2),
    "after a commit was sent": (KafkaSource, "commit", always, True, 2),
    "when a commit is answered": (Committer, "on_committed", always, False, 2),
    "before a dead letter is sent": (KafkaSink, "send", always, False, 3),
    "after a dead letter was sent": (KafkaSink, "send", always, True, 3),
    "when a dead letter is acknowledged": (Outcomes, "settle_all", always, False, 1),
    "when a revoke begins": (Membership, "on_revoke", always, False, 1),
    "when a revoke has drained": (Committer, "commit_now", in_revoke, False, 1),
    "when a revoke has committed": (Committer, "commit_now", in_revoke, True, 1),
    "when a revoke is over": (KafkaSource, "_release", of_any, False, 1),
    "when partitions are assigned": (Membership, "on_assign", always, False, 1),
}
"""For each name: class, method, condition, whether the trap is after the call, and how often it must be reached."""

TRANSACTION_TRAPS: dict[str, tuple[type, str, Condition, bool, int]] = {
    "before a transaction begins": (OutputTransactions, "begin", always, False, 3),
    "before outputs are produced": (OutputTransactions, "produce", always, False, 3),
    "before offsets are sent": (OutputTransactions, "send_offsets", always, False, 3),
    "before a transaction is committed": (OutputTransactions, "commit_all", always, False, 3),
    "after a transaction was committed": (OutputTransactions, "commit_all", always, True, 3),
    "when a transaction is answered": (Committer, "on_committed", always, False, 3),
    "before a task settles with its output": (Ledger, "stage", always, False, 30),
}
"""The same for outputs and offsets that are committed together."""


def arm(folder: Path) -> Path:
    """Creates the trap file; pass it to the consumers as TEST_TRAP_FILE."""
    trap = folder / "trap"
    trap.touch()
    return trap


def lay(name: str, trap: str) -> None:
    """Makes this process die at the instant, unless another one has died before."""
    owner, method, counts, after, times = (TRAPS | TRANSACTION_TRAPS)[name]
    original = getattr(owner, method)
    met = 0

    def trapped(*args: Any, **named: Any) -> Any:
        nonlocal met
        here = counts(*args, **named)
        met += here
        result = original(*args, **named) if after else None
        if here and met >= times:
            _die(trap)
        return result if after else original(*args, **named)

    setattr(owner, method, trapped)


def _die(trap: str) -> None:
    try:
        Path(trap).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
