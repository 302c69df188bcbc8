"""The state of a classic group, in a cluster in which another broker than the coordinator has died."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.kafka import group_inquiry as module
from processor.kafka.group_inquiry import GroupInquiry
from processor.settings import Settings


class Admin:
    """A client whose request fails with the given error, or else finds a group in which a member is awaited."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def list_groups(self, group: str, timeout: float) -> list[object]:
        if self.code is not None:
            raise KafkaException(KafkaError(self.code))
        return [SimpleNamespace(state="PreparingRebalance", members=[])]


def test_a_client_that_still_asks_a_dead_broker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks each broker that it knows. A new one knows those that the cluster has now."""
    clients: list[Any] = [Admin(KafkaError._PARTIAL), Admin(None)]
    monkeypatch.setattr(module, "open_client", lambda kind, config: clients.pop(0))
    inquiry = GroupInquiry(Settings(topics=("t",), group="g"), print)
    assert [inquiry.is_rebalancing() for _ in range(3)] == [False, True, True]
