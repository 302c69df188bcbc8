"""`failure_of`: an event of something that went wrong, as one line of the failures."""

from __future__ import annotations

from processor.observe import told
from processor.observe.failures import Failure
from processor.observe.plain import plain

Trouble = told.TroubleTold | told.ClientErrorTold | told.TaskTold


def failure_of(trouble: Trouble, at: float) -> Failure:
    """What went wrong, at `at` in seconds since the epoch."""
    what, error_type, error = _words(trouble)
    failure = Failure(at=at, what=what, error_type=plain(error_type, 120), error=plain(error))
    if isinstance(trouble, told.TaskTold):
        failure.task_id, failure.session_id = plain(trouble.task_id), plain(trouble.session_id)
        failure.place = plain(f"{trouble.topic}[{trouble.partition}]@{trouble.offset}")
        failure.attempt = trouble.attempt
    return failure


def _words(trouble: Trouble) -> tuple[str, str, str]:
    """What became of it, the error's type, and the error."""
    match trouble:
        case told.PostponedTold():
            words = "not readable yet", trouble.error_type, trouble.error
        case told.RegistryUnavailableTold():
            words = "registry away", "", trouble.error
        case told.RetryingTold():
            words = "tried again", trouble.error_type, trouble.error
        case told.DeadLetteredTold():
            words = "dead-lettered", trouble.error_type, trouble.error
        case told.TimedOutTold():
            words = "timed out", "TaskTimeout", f"ran longer than {trouble.timeout_seconds:g} s"
        case told.StuckTold():
            words = "stuck", "", _where(trouble.stack)
        case told.AbandonedTold():
            words = "abandoned", "", "still ran when the drain timeout was over"
        case told.DeliveryFailedTold():
            words = "not delivered", "", f"to {trouble.target_topic}: {trouble.error}"
        case told.ClientErrorTold():
            words = "Kafka client", trouble.code, trouble.message
        case told.CommitFailedTold():
            words = "commit refused", "", trouble.error
        case told.WorkerDiedTold():
            words = "worker died", "", trouble.error
        case _:
            words = "consumer failed", "", getattr(trouble, "error", "")
    return words


def _where(stack: str) -> str:
    """The innermost frame of a handler that cannot be stopped."""
    innermost = " ".join(line.strip() for line in stack.strip().splitlines()[-2:])
    return f"cannot be stopped at {innermost}" if innermost else "cannot be stopped"
