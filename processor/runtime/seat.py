"""`Seat`: the place in which attempts run one after the other; and the call of a handler there, which an interrupt may
end.
"""

from __future__ import annotations

from typing import Any, Protocol

from processor.engine.ledger import Loan
from processor.handlers.exceptions import Interrupt
from processor.handlers.table import Handler
from processor.handlers.task import Task
from processor.runtime.attempt import raised_in
from processor.runtime.desk import Borrower
from processor.runtime.interrupt import InterruptWindow


class Seat(Protocol):
    """A worker thread, or one coroutine of the event loop."""

    borrower: Borrower
    """The borrower that has the loan."""
    loan: Loan | None
    """The loan whose tasks are attempted now."""
    task: Task | None
    """The task whose handler runs while the window is open, or ran last."""

    @property
    def window(self) -> InterruptWindow:
        """The window in which the attempt may be interrupted."""

    async def call_async(self, handler: Handler, task: Task | list[Task], started: float) -> Any:
        """Opens the window at `started` and runs an async handler of a task or of a batch. Return what it returns."""


async def call(seat: Seat, handler: Handler, task: Task | list[Task], started: float) -> Any:
    """Call a handler in the seat's window, which opens at `started` and is closed when this returns.

    If it raises, the caller closes the window, as `outcome_of` does. `Runner.work_off` repeats these lines in its
    loop, where a call for each record would cost speed.
    """
    window = seat.window
    if handler.is_async:
        value = await seat.call_async(handler, task, started)
    else:
        window.started = started
        value = handler.call(task)
    window.started = 0.0
    if window.firing or window.verdict:
        window.close()
    return value


async def outcome_of(
    seat: Seat, handler: Handler, task: Task | list[Task], started: float
) -> tuple[Any, BaseException | None]:
    """Call a handler as `call` does. Return what it returned, and what it raised or was interrupted with."""
    try:
        try:
            return await call(seat, handler, task, started), None
        except BaseException as error:
            return None, raised_in(error, seat.window)
    except Interrupt as error:  # it arrived after the handler had ended, before the window was closed
        seat.window.close()
        return None, error
