"""`processor run APP`: a fleet of consumers, until it is stopped."""

import os
from typing import Annotated

from processor.options.option import Argument
from processor.settings import Settings


def run(
    app: Annotated[
        str,
        Argument(
            "MODULE:ATTRIBUTE: a function that takes a task, an async one, or a Processor. The current folder is "
            "importable.",
            metavar="APP",
        ),
    ],
    settings: Settings,
) -> int:
    """Run APP's handlers on the tasks of one or more topics.

    The sessions of each partition run in parallel, and the tasks of one session one after the other, in order.
    After the first SIGTERM or SIGINT, running tasks finish; the second ends the process at once.
    """
    return _run_fleet(settings, app)


def _run_fleet(settings: Settings, app: str) -> int:
    from processor.fleet.supervisor import Supervisor
    from processor.telemetry import logs  # here, so that help and completion do without

    logs.configure(settings.log_format, settings.log_level, redaction=settings.redaction)
    return Supervisor(settings, app, logs.emitter(group=settings.group, fleet=os.getpid())).run()
