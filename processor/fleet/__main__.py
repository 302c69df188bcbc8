"""The first instructions of a consumer's process, `python -m processor.fleet DESCRIPTOR`: signals, then the rest."""

from processor.boot.first_signals import exit_on_stop_signals


def main() -> None:
    """Runs one consumer and ends the process. The parent has blocked SIGTERM and SIGINT until here."""
    exit_on_stop_signals()

    from processor.fleet.process import main as consumer  # here: it takes a third of a second

    consumer()


if __name__ == "__main__":
    main()
