"""The page before its first event: places for the sections, which `live.js` fills."""

from __future__ import annotations

from typing import Final

from processor.observe.report.markup import page_of, tag

ABOVE: Final = ("state", "figures", "problems")
LEFT: Final = ("partitions", "consumers")
RIGHT: Final = ("blocks", "failures", "sessions", "events")
"""The sections in the order of a narrow screen; on a wide one two columns stand side by side."""

WITHOUT_SCRIPT: Final = (
    "This page needs JavaScript to stay up to date. `processor monitor` shows the same in a terminal, and "
    "`processor report --html` writes a page that runs no script."
)


def shell() -> str:
    """Return the page as HTML. Its addresses are relative, so that a proxy may serve it below any path."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="theme-color", content="#ffffff", media="(prefers-color-scheme: light)"),
        tag("meta", name="theme-color", content="#12161b", media="(prefers-color-scheme: dark)"),
        tag("meta", name="robots", content="noindex"),
        tag("title", "processor monitor"),
        tag("link", rel="icon", type="image/svg+xml", href="icon.svg"),
        tag("link", rel="stylesheet", href="live.css"),
        tag("script", src="live.js", defer="defer"),
    )
    main = tag(
        "main",
        tag("p", "Connecting…", id="connection", role="status"),
        tag("noscript", tag("p", WITHOUT_SCRIPT)),
        tag("header", id=ABOVE[0]),
        *(tag("section", id=name) for name in ABOVE[1:]),
        tag(
            "div",
            tag("div", *(tag("section", id=name) for name in LEFT)),
            tag("div", *(tag("section", id=name) for name in RIGHT)),
            class_="columns",
        ),
        tag("footer", id="footer"),
    )
    return page_of(tag("html", head, tag("body", main, class_="waiting"), lang="en"))
