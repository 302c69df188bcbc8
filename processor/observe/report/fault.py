"""A partition that needs attention, described in full: its verdict, its figures, the reason and the advice."""

from __future__ import annotations

from processor.observe.report.findings import Finding
from processor.observe.report.markup import Child, Element, tag
from processor.observe.report.tables import verdict, with_options
from processor.observe.window import Status
from processor.observe.wording import duration, number


def is_faulty(finding: Finding) -> bool:
    """Return whether there is more to say about a partition than its verdict."""
    return finding.status > Status.EARLY or bool(finding.why)


def fault(finding: Finding, *drawings: Child) -> Element:
    """Return the description of one partition, with `drawings` below it."""
    partition, stats = finding.partition, finding.partition.stats
    figures = (
        f"lag {number(partition.lag_now)} · gap {number(stats.gap)} · committed {number(stats.committed)} · "
        f"oldest unsettled {duration(stats.oldest_unsettled_seconds)} · "
        f"longest wait for a worker {duration(stats.oldest_ready_seconds)}"
    )
    return tag(
        "article",
        tag("header", tag("h3", partition.name), verdict(finding.status), tag("span", figures, class_="soft")),
        tag("p", finding.why),
        tag("p", *with_options(finding.advice), class_="advice") if finding.advice else None,
        *drawings,
        class_="fault",
    )
