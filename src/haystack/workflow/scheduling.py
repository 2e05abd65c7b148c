"""One fault of Snakemake's scheduler that makes large tables slow, mended while it runs."""

from __future__ import annotations

import threading
from typing import Any


def calm_scheduler(workflow: Any) -> None:
    """Let at most one timer wait to wake the scheduler.

    With its limit on jobs per second (on by default), Snakemake 9.27 starts a timer in every scheduling round, and each
    timer starts a round: after n jobs the scheduler looks over all jobs about n times a second, and the time of a
    batch grows with the square of its runs. One timer at a time keeps what they are for.
    """
    scheduler: Any = getattr(workflow, "scheduler", None)
    if not hasattr(scheduler, "_schedule_reevalutation") or not hasattr(scheduler, "_open_jobs"):
        return
    waiting = threading.Lock()

    def schedule(delay: float) -> None:
        if waiting.acquire(blocking=False):
            timer = threading.Timer(delay, wake)
            timer.daemon = True
            timer.start()

    def wake() -> None:
        waiting.release()
        scheduler._open_jobs.release()

    scheduler._schedule_reevalutation = schedule
