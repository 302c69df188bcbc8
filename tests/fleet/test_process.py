"""The process of one consumer: how it ends when it cannot obey its parent any more."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from processor.fleet import process
from processor.fleet.channel import Begin, Channel, Drain, Order, Report
from processor.settings import Settings

BEGIN = Begin(Settings(topics=("t",), group="g", drain_timeout=7.0), "tasks:handle", 0, "fleet")


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_consumer_that_can_receive_no_more_orders_drains_and_exits(
    monkeypatch: pytest.MonkeyPatch, *, is_closed: bool
) -> None:
    """The parent is gone, or sends what a consumer cannot obey. Otherwise it would stay for ever."""
    ended, slept, drained = list[int](), list[float](), list[str]()

    def drain(reason: str, *, for_good: bool = False) -> None:
        assert not for_good  # the next fleet has this place, too
        drained.append(reason)

    monkeypatch.setattr(process, "_end", ended.append)
    monkeypatch.setattr(process, "time", SimpleNamespace(sleep=slept.append))  # other threads sleep as before
    stop: Any = SimpleNamespace(drain=drain)
    parent, member = socket.socketpair()
    with parent, member:
        if is_closed:
            parent.close()
        else:
            Channel[Report](parent, Report).send(Drain("first"))
            Channel[Report](parent, Report).send(BEGIN)
        channel: Channel[Order] = Channel(member, Order)
        process._listen(channel, stop, lambda order: process._obey(stop, lambda _: None, order), BEGIN)
    last = (
        "the fleet's parent is gone" if is_closed else "an order of the fleet's parent cannot be obeyed: ValueError: "
    )
    assert drained[-1].startswith(last)
    assert drained[:-1] == ([] if is_closed else ["first"])
    assert (slept, ended) == ([7.0 + process.ORPHAN_GRACE], [3])
