"""What Snakemake's log records say about runs."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from logging import ERROR, LogRecord
from pathlib import Path
from typing import Any

from haystack.internals import GOES_ON, RESTARTS

SUMMARY = "summary.html"
"""the page of all runs, an input of the target"""
LAST_STAGE = "render_report"
"""the rule whose end is a run's end"""
TARGET = "all"
"""the rule that only names what is wanted"""
REPORT = re.compile(r"runs/([^/]+)/\1_report\.html")
"""what the target and the summary need of every run of the table"""
RESTART_WITHIN = 1.0
"""seconds after a failed job in which Snakemake says that it starts it again, if it does"""


@dataclass(frozen=True)
class Event:
    """One line of HAYSTACK_EVENTS. Absent values are null."""

    time: str
    """ISO 8601, UTC"""
    event: str
    """run_started, stage_started, stage_finished, iteration_scored, run_finished, run_failed, workflow_finished"""
    run_id: str | None = None
    """null for what all runs share (index, model, summary)"""
    stage: str | None = None
    """name of the rule"""
    iteration: int | None = None
    score: float | None = None
    """composite_value of the iteration; of a finished run, of its best iteration"""
    threshold: float | None = None
    """score from which the loop stops"""
    reason: str | None = None
    """why the loop ended (null while it goes on); of workflow_finished: completed or failed"""
    message: str | None = None
    """for people"""


@dataclass
class Job:
    """A job that was started."""

    run_id: str | None
    stage: str
    iteration: int | None
    message: str | None
    outputs: list[str]
    logs: list[str]
    since: float = field(default_factory=time.monotonic)
    """seconds on the monotonic clock"""

    def keys(self) -> dict[str, Any]:
        """What every event of the job says."""
        return {"run_id": self.run_id, "stage": self.stage, "iteration": self.iteration}


@dataclass
class RunState:
    """Where one run is."""

    stage: str | None = None
    message: str | None = None
    iteration: int | None = None
    scores: dict[int, float | None] = field(default_factory=dict)
    threshold: float | None = None
    reason: str | None = None
    """why its loop ended"""
    report: str | None = None
    """where its report lies"""
    since: float = field(default_factory=time.monotonic)
    """start, in seconds on the monotonic clock"""
    status: str = "running"
    """running, finished or failed"""


class Tracker:
    """Follows jobs and runs from one record to the next."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.shared: dict[str, Job] = {}
        """jobs under way that belong to no run"""
        self.runs: dict[str, RunState] = {}
        self.expected_runs = 0
        """runs whose report is to be written, as planned at the start"""
        self.table: set[str] = set()
        """every run of the table, where a job was started that needs them all"""
        self.summary: str | None = None
        """where the summary of all runs lies"""
        self.stages: dict[str, str] = {}
        """what each stage does, in the words of its rule's message"""
        self.since = time.monotonic()
        self.done = 0
        self.total = 0
        self.last_error: str | None = None
        self.errors = False
        self.started = False
        self.explained: set[str] = set()
        """failed jobs whose script said why"""
        self._failed: dict[str, tuple[float, Event]] = {}
        """job -> when it failed, and the event, held back until it is known that the job is not tried again"""

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, record: LogRecord) -> list[Event]:
        """The events that follow from one record."""
        return [*self._confirmed(record), *self._read(record)]

    def end(self) -> list[Event]:
        """The last events: failures not told yet, and the workflow's own end."""
        events = self._confirm()
        if self.started or self.errors:
            failed = [run_id for run_id, run in self.runs.items() if run.status == "failed"]
            message = f"failed: {', '.join(failed)}" if failed else self.last_error
            reason = "failed" if self.errors else "completed"
            if not self.errors:
                self._settle()
            events.append(Event(_now(), "workflow_finished", reason=reason, message=message))
            self.started = self.errors = False
        return events

    def _settle(self) -> None:
        """All is well: a run that came to an end without a new report (nothing in it had changed) is finished too."""
        for run in self.runs.values():
            run.status = "finished"

    @property
    def unchanged(self) -> int | None:
        """Runs of the table that had no work; null where the table is not known."""
        return len(self.table - set(self.runs)) if self.table else None

    def count(self, status: str) -> int:
        """Runs with that status."""
        return sum(run.status == status for run in self.runs.values())

    def _read(self, record: LogRecord) -> Iterator[Event]:
        kind = str(getattr(record, "event", None) or "")
        if record.levelno >= ERROR:
            self.errors = True
        if kind == "workflow_started":
            self.started = True
        elif kind == "run_info":
            self.expected_runs = getattr(record, "stats", {}).get(LAST_STAGE, self.expected_runs)
            self.total = getattr(record, "stats", {}).get("total", self.total)
        elif kind == "progress":
            self.done, self.total = getattr(record, "done", self.done), getattr(record, "total", self.total)
        elif kind == "job_info":
            yield from self._job_started(record)
        elif kind == "job_finished":
            yield from self._job_finished(str(getattr(record, "job_id", "")))
        elif kind == "job_error":
            self._job_failed(record)
        elif record.levelno >= ERROR and isinstance(record.msg, str) and not self.last_error:
            self.last_error = record.msg.strip()[:2000]

    def _job_started(self, record: LogRecord) -> Iterator[Event]:
        job = _job(record)
        self.table |= {found[1] for path in getattr(record, "input", None) or [] if (found := REPORT.search(str(path)))}
        if job.stage == TARGET:
            self.summary = _ending_in(SUMMARY, getattr(record, "input", None) or [])
            return
        self.stages[job.stage] = doing(job.message, job.stage)
        key = str(getattr(record, "jobid", ""))
        self.jobs[key] = job
        if job.run_id is None:
            self.shared[key] = job
        else:
            if job.run_id not in self.runs:
                self.runs[job.run_id] = RunState()
                yield Event(_now(), "run_started", run_id=job.run_id)
            run = self.runs[job.run_id]
            run.status, run.stage, run.message = "running", job.stage, job.message
            run.iteration = job.iteration or run.iteration
        yield Event(_now(), "stage_started", **job.keys(), message=job.message)

    def _job_finished(self, key: str) -> Iterator[Event]:
        job = self.jobs.pop(key, None)
        self.shared.pop(key, None)
        if job is None:
            return
        yield Event(_now(), "stage_finished", **job.keys())
        if job.run_id is None:
            return
        run = self.runs[job.run_id]
        if job.stage == "decide" and job.iteration:
            yield self._decided(job, run)
        elif job.stage == LAST_STAGE:
            run.status, run.report = "finished", _ending_in("_report.html", job.outputs)
            yield self._run_finished(job, run)

    def _decided(self, job: Job, run: RunState) -> Event:
        """The score of an iteration, told with the decision on it."""
        found = _output(job, "decision.json")
        scores = {item["iteration"]: item for item in found.get("scores", [])}
        run.scores.update({number: item.get("composite_value") for number, item in scores.items()})
        run.threshold = found.get("threshold") or run.threshold
        run.reason = found.get("reason")
        last = scores.get(job.iteration, {})
        return Event(
            _now(),
            "iteration_scored",
            **job.keys(),
            score=last.get("composite_value"),
            threshold=run.threshold,
            reason=run.reason,
        )

    def _run_finished(self, job: Job, run: RunState) -> Event:
        log = _read_json(f"results/runs/{job.run_id}/{job.run_id}_log.json")
        answer = log.get("answer") or {}
        decisions = [item.get("decision") or {} for item in log.get("iterations") or [{}]]
        return Event(
            _now(),
            "run_finished",
            run_id=job.run_id,
            stage=job.stage,
            iteration=answer.get("best_iteration") or run.iteration,
            score=answer.get("composite_value"),
            threshold=run.threshold,
            reason=run.reason or decisions[-1].get("reason"),
        )

    # -- failures ----------------------------------------------------------------------------------------------------

    def _job_failed(self, record: LogRecord) -> None:
        key = str(getattr(record, "jobid", ""))
        job = self.jobs.pop(key, None)
        self.shared.pop(key, None)
        if job is None:
            return
        message = _own_message(job)
        if message and not message.startswith("unexpected "):  # of a fault of ours the whole log is shown
            self.explained.add(key)
        message = message or f"{job.stage} failed" + (f"; see {', '.join(job.logs)}" if job.logs else "")
        if job.run_id is None:
            self.last_error = message
        else:
            self._failed[key] = (record.created, Event(_now(), "run_failed", **job.keys(), message=message))

    def _confirmed(self, record: LogRecord) -> list[Event]:
        """Failures that this record shows to be final."""
        if not self._failed:
            return []
        words = record.msg if isinstance(record.msg, str) else ""
        if words.startswith(RESTARTS):
            self._failed.pop(words.removeprefix(RESTARTS).rstrip("."), None)
            return []
        if words.startswith(GOES_ON):
            return self._confirm()
        return self._confirm(before=record.created - RESTART_WITHIN)

    def _confirm(self, before: float = float("inf")) -> list[Event]:
        events = []
        for key, (created, event) in list(self._failed.items()):
            if created < before:
                del self._failed[key]
                run = self.runs[str(event.run_id)]
                if run.status != "failed":
                    run.status, run.message = "failed", event.message
                    events.append(event)
        return events


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


def _job(record: LogRecord) -> Job:
    wildcards: Mapping[str, str] = getattr(record, "wildcards", None) or {}
    iteration = str(wildcards.get("iteration", ""))
    return Job(
        run_id=wildcards.get("run_id"),
        stage=str(getattr(record, "rule_name", "")),
        iteration=int(iteration) if iteration.isdigit() else None,
        message=getattr(record, "rule_msg", None),
        outputs=[str(path) for path in getattr(record, "output", None) or []],
        logs=[str(path) for path in getattr(record, "log", None) or []],
    )


def doing(message: str | None, stage: str | None) -> str:
    """The rule's message without the run's name, which stands before it; the rule's name where it has no message."""
    text = message or stage or ""
    return text.split(": ", 1)[-1] if text.startswith("Run ") else text


def _ending_in(name: str, paths: Iterable[object]) -> str | None:
    """The first path that ends so, without Snakemake's note on its storage."""
    plain = (str(path).split(" (")[0] for path in paths)
    return next((path for path in plain if path.endswith(name)), None)


def _output(job: Job, name: str) -> dict[str, Any]:
    """An output of the job, where it can be read here; empty otherwise (another machine's disk)."""
    path = _ending_in(name, job.outputs)
    return _read_json(path) if path else {}


def _own_message(job: Job) -> str:
    """The message that the failed script left; empty where it left none."""
    found = _read_json(f"results/runs/{job.run_id}/failure.json") if job.run_id else {}
    return str(found.get("message") or "") if found.get("rule") == job.stage else ""


def _read_json(path: str) -> dict[str, Any]:
    """A file's content; of a storage the copy that Snakemake keeps. Empty where there is none."""
    if "://" in path:
        from haystack.storage import provider

        path = f".snakemake/storage/{provider(path)}/{path.partition('://')[2]}"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
