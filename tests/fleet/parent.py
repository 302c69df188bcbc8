"""A fleet's parent over stand-ins: `parent.py APP OPTIONS`, with its events as JSON lines on standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec

from processor.fleet.restarts import Backoff
from processor.fleet.supervisor import Supervisor, Timing
from processor.settings import Settings
from processor.telemetry.events import Event


def emit(event: Event) -> None:
    line = json.dumps({"event": event.event, **msgspec.structs.asdict(event)}) + "\n"
    os.write(1, line.encode())


def main() -> int:
    options = json.loads(sys.argv[2])
    settings = Settings(
        topics=("t",),
        group="g",
        processes=options.get("processes", 1),
        workers=options.get("workers", 32),
        drain_timeout=options.get("drain_timeout", 30.0),
        stats_interval=options.get("stats_interval", 10.0),
        reload=options.get("reload", False),
        heartbeat_file=options.get("heartbeat_file"),
        kafka_config={"ssl.ca.pem": "x" * options.get("certificates", 0)},
    )
    supervisor = Supervisor(
        settings,
        sys.argv[1],
        emit,
        command=(sys.executable, "-P", str(Path(__file__).with_name("stand_in.py"))),
        timing=Timing(
            backoff=Backoff(first=options.get("backoff", 0.02), most=0.1),
            kill_after_drain=options.get("kill_after_drain", 30.0),
            kill_after_stop_now=options.get("kill_after_stop_now", 30.0),
        ),
    )
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
