"""A consumer's place in the fleet."""

from __future__ import annotations

from time import monotonic

from processor.fleet.heartbeat import Place
from processor.fleet.life import Life


class Slot:
    """Its index, and the life that fills it now."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.life: Life | None = None
        self.due: float | None = 0.0
        """When the next life begins; None while one lasts, or when none is to follow."""
        self.delay: float | None = None
        """What the last life had to wait for, None if it was the first."""
        self.kill_at: float | None = None
        """When the life is killed that was told to end."""

    def place(self) -> Place:
        """For the heartbeat, in whose thread it is called: a look between two changes may be of neither."""
        due, life = self.due, self.life
        if life is None:
            return Place(consumer=self.index, pid=None, since=monotonic(), done=due is None)
        return Place(consumer=self.index, pid=life.pid, since=life.began, done=False)
