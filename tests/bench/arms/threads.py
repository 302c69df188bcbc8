"""Threads that only sleep, without Kafka: the most that the interpreter lets handlers with this wait reach."""

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
