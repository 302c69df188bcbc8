"""The first instructions of `processor` and `python -m processor`: they handle signals before all other imports."""

import sys

from processor.boot.first_signals import (
    exit_on_sigint,
    exit_on_stop_signals,
    restore_sigint,
    restore_sigterm_for_pid_1,
    unblock_stop_signals,
)


def main() -> int:
    """Runs the command line and returns the exit code.

    A stop signal that arrives before the fleet of `run`, or the broker of `broker`, has started ends it with 0. Other
    commands end as any program does.
    """
    runs_until_stopped = sys.argv[1:2] in (["run"], ["broker"])
    if runs_until_stopped:
        exit_on_stop_signals()
    else:
        restore_sigterm_for_pid_1()
        exit_on_sigint()
        unblock_stop_signals()

    from processor.cli.main import main as command_line  # here: it takes most of the start

    if not runs_until_stopped:
        restore_sigint()
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
