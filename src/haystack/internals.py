"""Private names of Snakemake that we use, seen in 9.27.0.

They may go with any release. `tests/unit/workflow/test_internals.py` fails with the name that is gone; the nightly run
does so with the newest Snakemake. (Those of the Google Batch executor are in `haystack.gcp.executor`, those of
arc-stack in `haystack.inference.architecture`.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

log = logging.getLogger(__name__)


def calm_scheduler(workflow: Any) -> None:
    """Let at most one timer wait to wake the scheduler.

    With its limit on jobs per second (on by default), Snakemake 9.27 starts a timer in every scheduling round, and each
    timer starts a round: after n jobs the scheduler looks over all jobs about n times a second, and the time of a
    batch grows with the square of its runs. One timer at a time keeps what they are for. Private names:
    `JobScheduler._schedule_reevalutation` and `_open_jobs` (snakemake/scheduling/job_scheduler.py).
    """
    scheduler: Any = getattr(workflow, "scheduler", None)
    if scheduler is None:  # a dry run
        return
    if not hasattr(scheduler, "_schedule_reevalutation") or not hasattr(scheduler, "_open_jobs"):
        log.warning("This Snakemake's scheduler is not the known one: tables of many runs may be slow")
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


@contextmanager
def read_workflow(snakefile: Path, configfile: Path | None = None) -> Iterator[Any]:
    """Read a Snakefile without running anything. Private name: `WorkflowApi._workflow` (snakemake/api.py)."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(nodes=1),
            config_settings=ConfigSettings(configfiles=[configfile] if configfile else []),
            snakefile=snakefile,
        )
        yield workflow._workflow


def rule_job(workflow: Any, rule: str, wildcards: dict[str, str], decided: Iterable[str]) -> SimpleNamespace:
    """What the script of a rule gets as `snakemake`; `decided`: outputs of checkpoints that are there.

    Private names: `snakemake.dag.DAG`, `snakemake.jobs.Job`, `Workflow._dag`, `Checkpoints.created_output`.
    """
    from snakemake.dag import DAG
    from snakemake.jobs import Job
    from snakemake.settings.types import DAGSettings

    found = workflow.get_rule(rule)
    workflow.dag_settings, workflow.global_resources = DAGSettings(), {}
    workflow.checkpoints.created_output.update(decided)
    workflow._dag = DAG(workflow, rules=[found])
    job = Job(found, workflow._dag, wildcards, wildcards)
    names = ("input", "output", "params", "wildcards", "threads", "resources", "log")
    return SimpleNamespace(rule=rule, config=workflow.config, **{name: getattr(job, name) for name in names})
