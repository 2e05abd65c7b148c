"""What the Snakefile calls when it is read and when it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from haystack.errors import HaystackError
from haystack.workflow.checks import check_plan
from haystack.workflow.locks import clear_stale_locks
from haystack.workflow.plan import Plan


def open_plan(config: dict[str, Any], *, check: bool) -> Plan:
    """Validate the config and, in the main process, check all inputs. Errors become one clear WorkflowError."""
    from snakemake.exceptions import WorkflowError

    try:
        plan = Plan(config)
        if check:
            check_plan(plan, keep_going=_keep_going())
            clear_stale_locks(Path.cwd())
    except HaystackError as error:
        raise WorkflowError(str(error)) from None
    return plan


def _keep_going() -> bool:
    """Whether this Snakemake was started with --keep-going, on the command line or by a profile."""
    from snakemake.cli import parse_args

    if Path(sys.argv[0]).stem not in {"snakemake", "__main__"}:
        return False
    _, args = parse_args(sys.argv[1:])
    return bool(args.keep_going)


def write_summary_of_failures(plan: Plan) -> None:
    """Write the summary though some runs failed: finished, failed (with the reason) and pending rows.

    The files get the oldest possible time, so that the summary's own rule replaces them once all runs are well.
    """
    from haystack.report import report_failures, summarize_runs

    runs = list(plan.questions().items())
    report_failures(runs, Path("results"))
    paths = [Path("results/summary.tsv"), Path("results/summary.html")]
    summarize_runs(runs, Path("results"), *paths)
    for path in paths:
        os.utime(path, (0, 0))
