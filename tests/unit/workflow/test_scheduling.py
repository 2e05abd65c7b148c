"""Snakemake's scheduler is woken once a timespan, not once per job and timespan."""

import threading
from types import SimpleNamespace

from haystack.workflow import calm_scheduler


class Scheduler:
    """Wakes itself as Snakemake's does: every round starts a timer."""

    def __init__(self) -> None:
        self._open_jobs = threading.Semaphore(0)
        self.timers = 0

    def _schedule_reevalutation(self, delay: float) -> None:
        self.timers += 1


def test_one_timer_waits_at_a_time():
    scheduler = Scheduler()
    calm_scheduler(SimpleNamespace(scheduler=scheduler))
    for _ in range(50):
        scheduler._schedule_reevalutation(0.05)
    assert scheduler._open_jobs.acquire(timeout=5)
    assert not scheduler._open_jobs.acquire(timeout=0.2)
    # After it has rung, the next one may wait.
    scheduler._schedule_reevalutation(0.01)
    assert scheduler._open_jobs.acquire(timeout=5)


def test_another_scheduler_is_left_alone():
    calm_scheduler(SimpleNamespace(scheduler=None))
    calm_scheduler(SimpleNamespace())


def test_snakemake_still_has_what_is_mended():
    from snakemake.scheduling.job_scheduler import JobScheduler

    assert hasattr(JobScheduler, "_schedule_reevalutation")
