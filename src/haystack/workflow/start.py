"""Called by the Snakefile when it is read and when it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haystack.errors import HaystackError
from haystack.gcp.checks import check_cloud
from haystack.internals import wrap_gcs_storage
from haystack.specs import MODELS
from haystack.workflow.checks import check_plan
from haystack.workflow.deployment import prepare_environments
from haystack.workflow.locks import clear_stale_locks
from haystack.workflow.plan import ONLY, Plan
from haystack.workflow.remote import declare_code, declare_storage
from haystack.workflow.resident import gpus
from haystack.workflow.slurm import check_slurm

FRESH = 2.0
"""seconds for which a list of a bucket's folder answers: less than Snakemake waits for the outputs of a job"""


def open_plan(config: dict[str, Any], workflow: Any) -> Plan:
    """Validate the config and, in the main process, check all inputs. Errors become one clear WorkflowError.

    Parameters
    ----------
    config
        Snakemake's config.
    workflow
        Snakemake's workflow: says whether this is the main process, and where files lie.
    """
    from snakemake.exceptions import WorkflowError

    try:
        storage = declare_storage(workflow)
        if storage:
            declare_code(workflow)
        plan = Plan(config, storage=storage, only=os.environ.get(ONLY, "").split())
        if workflow.is_main_process:
            methods = getattr(workflow.deployment_settings, "deployment_method", ())
            prepare_environments({method.name.lower() for method in methods})
            arguments = _arguments()
            executor = getattr(arguments, "executor", None)
            if plan.bucket:
                check_cloud(plan.bucket, arguments)
            check_plan(plan, keep_going=bool(getattr(arguments, "keep_going", False)))
            if executor == "slurm" and not arguments.dryrun:
                check_slurm(arguments)
            if executor in {None, "local"}:
                _share_gpu(plan, workflow)
            clear_stale_locks(Path.cwd())
            if plan.storage:
                _prepare_storage(plan, plan.storage, workflow, executor)
    except HaystackError as error:
        raise WorkflowError(str(error)) from None
    return plan


def _share_gpu(plan: Plan, workflow: Any) -> None:
    """Allow one inference at a time if this machine's GPU is used, however many cores are free."""
    model = plan.settings.model
    if MODELS.get(model.kind).gpu and model.device != "cpu" and gpus():
        plan.gpus = 1
        if "gpu" not in workflow.global_resources:
            workflow.register_resource("gpu", 1)


def _prepare_storage(plan: Plan, prefix: str, workflow: Any, executor: str | None) -> None:
    """Prepare the storage before planning: upload files that rules read, and restore Snakemake's records."""
    from haystack.workflow.staging import stage_files

    # Snakemake sends the config files to workers, but not what they name.
    workflow.configfiles.extend(path for path in plan.sources() if path not in workflow.configfiles)
    if executor == "googlebatch":
        from haystack.gcp.executor import outlast_the_cloud

        outlast_the_cloud()
    if plan.bucket:
        wrap_gcs_storage(FRESH)
    stage_files(plan.named_files(), prefix)
    if plan.bucket:
        from haystack.gcp.records import take_up_records

        take_up_records(Path.cwd() / ".snakemake", prefix, plan.run_ids)


def _arguments() -> Any:
    """Arguments of this Snakemake from the command line or a profile; None if it was called as a library."""
    from snakemake.cli import parse_args

    program = Path(sys.argv[0])
    if "snakemake" not in {program.stem, program.parent.name}:  # the command, or snakemake/__main__.py of `python -m`
        return None
    _, args = parse_args(sys.argv[1:])
    return args


def write_summary_of_failures(plan: Plan, logs: Sequence[str] = ()) -> None:
    """Write the summary although some runs failed: finished, failed (with the reason) and pending rows.

    The files get the oldest possible time, so that the rule of the summary replaces them once all runs succeed.
    """
    from haystack.report import report_failures, summarize_runs

    runs = list(plan.questions().items())
    if plan.storage:
        from haystack.workflow.failures import summarize_storage

        summarize_storage(runs, plan.storage, logs)
        return
    from haystack.workflow.failures import explain_unspoken

    explain_unspoken(runs, Path("results"), logs)
    report_failures(runs, Path("results"))
    for path in summarize_runs(runs, Path("results")):
        os.utime(path, (0, 0))
