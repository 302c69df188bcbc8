"""`FleetScaling`: adds consumers to a fleet that runs and takes them away, as `FleetSize` decides."""

from __future__ import annotations

from processor.engine.process_scaling import Step
from processor.fleet.channel import Drain
from processor.fleet.size import FleetSize
from processor.fleet.slots import Slot, Slots
from processor.telemetry.events import Emit, FleetProcessesChanged, FleetProcessesLimited


class FleetScaling:
    """Belongs to the parent's main thread, and is used from the fleet's start until its stop.

    Args:
        size: decides on the number of consumers.
        slots: the places of the fleet.
        emit: logs what changes, and what prevents a change.
        patience: seconds after which a consumer that was ordered to leave is killed.
    """

    def __init__(self, size: FleetSize, slots: Slots, emit: Emit, patience: float) -> None:
        self._size = size
        self._slots = slots
        self._emit = emit
        self._patience = patience
        self._is_at_limit = False
        """Whether it was logged that scaling is at its limit."""

    def follow_load(self) -> None:
        """Change the number of consumers if the load in a round of their reports requires it."""
        if not self._size.follows_load:
            return
        children = [slot.child for slot in self._slots if not slot.is_leaving and not slot.is_reloading]
        joined = [child for child in children if child is not None and child.joined]
        is_whole = len(joined) == len(self._slots)
        step = self._size.observe([child.load for child in joined] if is_whole else None)
        self._report_limit()
        if is_whole and all(child.load is not None for child in joined):  # the round is over
            for child in joined:
                child.load = None
        if step is not None:
            self._resize(step)

    def obey(self, number: int) -> None:
        """Add a consumer or take one away, as a signal of `SIZE_SIGNALS` asks."""
        match self._size.asked(number, len(self._slots.staying)):
            case Step() as step:
                self._resize(step)
            case reason:
                self._emit_limited(reason)

    def do_without(self, slot: Slot, reason: str) -> None:
        """Give up on an added consumer that cannot start; the others continue."""
        self._slots.drop(slot)
        self._size.fail()
        self._emit_limited(f"a consumer that was added cannot start: {reason}")

    def _report_limit(self) -> None:
        limit, was_at_limit = self._size.limit, self._is_at_limit
        self._is_at_limit = limit is not None
        if limit is not None and not was_at_limit:
            self._emit_limited(limit)

    def _emit_limited(self, reason: str) -> None:
        self._emit(FleetProcessesLimited(processes=len(self._slots.staying), reason=reason))

    def _resize(self, step: Step) -> None:
        before = len(self._slots.staying)
        if step.processes > before:
            self._slots.add()
        else:
            self._take_place(step.reason)
        self._emit(FleetProcessesChanged(processes=step.processes, processes_before=before, reason=step.reason))

    def _take_place(self, reason: str) -> None:
        slot = self._slots.give_up()
        slot.call_off()
        if slot.child is None:
            self._slots.drop(slot)
        else:
            slot.is_leaving = True
            slot.end(Drain(f"one consumer fewer: {reason}", for_good=True), self._patience)
