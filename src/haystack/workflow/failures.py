"""Summary of runs in a storage some of which failed, with the reasons from other machines."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack.contracts import write_json
from haystack.contracts.failure import Failure
from haystack.workflow.ends import sentence

KEPT = ("_log.json", "/failure.json", "/query.json")
"""suffixes of the files that the summary reads"""
LAST_LINES = 3
"""lines of a job's output shown if it has no error message"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class FailedJob:
    """A job reported as failed by Snakemake."""

    rule: str
    run_id: str
    iteration: int | None
    output: Path | None
    """output of the job, as saved by the executor"""
    refused: str = ""
    """why it could not be submitted, or how it ended according to its scheduler"""


def explain_unspoken(questions: list[tuple[str, str]], results: Path, logs: Sequence[str]) -> list[Path]:
    """Write `failure.json` of jobs that ended before they could; the files written. See `summarize_storage`."""
    new = []
    told = "\n\n".join(Path(log).read_text(encoding="utf-8", errors="replace") for log in logs)
    for job in failed_jobs(told):
        path = results / "runs" / job.run_id / "failure.json"
        if job.run_id in dict(questions) and not path.exists():
            write_json(path, explain_job(job))
            new.append(path)
    return new


def summarize_storage(questions: list[tuple[str, str]], prefix: str, logs: Sequence[str] = ()) -> None:
    """Write the summary, and a page for every failed run, into the default storage.

    Parameters
    ----------
    questions
        (run_id, question), in the order of the table.
    prefix
        address of the folder with `results/`.
    logs
        Snakemake's logs of this start, which name the failed jobs. A job that ended before its script could report a
        reason (preempted machine, out of memory, another package, missing image) is explained from its output.
    """
    from haystack.report import report_failures, summarize_runs
    from haystack.storage import store

    files = store(prefix)

    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for run_id, _ in questions:
            place = f"{prefix}/results/runs/{run_id}/"
            for uri in files.list(place):
                if uri.endswith(KEPT) and "/" not in uri.removeprefix(place):
                    files.download(uri, results / "runs" / run_id / uri.removeprefix(place))
        new = explain_unspoken(questions, results, logs)
        pages = report_failures(questions, results)
        for path in [*new, *pages, *summarize_runs(questions, results)]:
            files.upload(path, f"{prefix}/results/{path.relative_to(results).as_posix()}")


def failed_jobs(log: str) -> Iterator[FailedJob]:
    """Jobs of runs that a Snakemake log reports as failed."""
    for block in ANSI.sub("", log).split("Error in rule ")[1:]:
        rule = block.split(":", 1)[0]
        lines = block.split("\n\n")[0]
        run = re.search(r"(?:^|[\s/,])results/runs/([A-Za-z0-9_-]+)/(?:iter_(\d+)/)?", lines)
        output = re.search(r"\S*\.snakemake/googlebatch_logs/[^\s,]+\.log", lines)
        refused = re.search(r"message: (Submitting .*?)\s*(?:For further error details|$)", lines, re.MULTILINE)
        if run:
            iteration = int(run[2]) if run[2] else None
            path = Path(output[0]) if output else None
            yield FailedJob(rule, run[1], iteration, path, refused[1] if refused else sentence(lines) or "")


def explain_job(job: FailedJob) -> Failure:
    """Reason of a failed job, from its output."""
    printed = job.output.read_text(encoding="utf-8", errors="replace") if job.output and job.output.exists() else ""
    lines = [line.strip() for line in ANSI.sub("", printed).splitlines() if line.strip()]
    heads = [number for number, line in enumerate(lines) if line.startswith("WorkflowError")]
    output = lines[heads[-1] + 1 : heads[-1] + 2] if heads else lines[-LAST_LINES:]
    last, meaning = " ".join(output), None if heads else sentence(printed)
    message = (
        job.refused
        or (f"{meaning} ({last})" if meaning else last)
        or "the job ended without a word: its machine was taken away too often, or did not start"
    )
    return Failure(
        run_id=job.run_id,
        rule=job.rule,
        iteration=job.iteration,
        error_type="JobError",
        message=message[:2000],
        log=str(job.output) if job.output else None,
    )
