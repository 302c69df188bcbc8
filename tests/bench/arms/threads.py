"""Threads that sleep and do nothing else, without Kafka: what the interpreter lets handlers that wait so long reach."""

from __future__ import annotations

import threading

from tests.bench.arms.job import Clock, Counted, Job


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = "time.sleep"
    handle = Counted(job, clock)

    def work() -> None:
        while True:
            handle()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(job.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
