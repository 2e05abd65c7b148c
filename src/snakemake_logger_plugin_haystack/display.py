"""How events look: a line each; `board` draws them on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from logging import WARNING, LogRecord
from typing import Any, TextIO

from haystack.internals import plain_handler
from snakemake_logger_plugin_haystack.events import Event, Tracker, doing

OWN = {
    "workflow_started",
    "job_info",
    "job_started",
    "job_finished",
    "progress",
    "shellcmd",
    "group_info",
    "resources_info",
}
"""records of a job's ordinary way: the events replace them"""
NOISE = (
    "Select jobs to execute",
    "Execute ",
    "DAG of jobs will be updated",
    "Updating checkpoint dependencies",
    "Using shell:",
    "Rules claiming more threads",
    "Conda environments: ignored",
)
"""Snakemake's words about its own doing, which tell nothing of a run"""
SCRIPT_FAILED = "RuleException:\nCalledProcessError in file"
"""Snakemake's words for a script that ended with an error; the job's own record follows"""
KILLED = "died with <Signals"
"""what they hold of a script that a signal ended: it said nothing itself"""
HINT = "Workflow defines that rule"
"""Snakemake's warning, once per shared rule and start, that its cache between workflows is off"""


def open_display(settings: Any) -> Display:
    """A board on a terminal that can move its cursor, lines elsewhere."""
    stream = sys.stdout if settings.stdout else sys.stderr
    if stream.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}:
        # rich takes 0.1 s to import, and only a terminal needs it.
        from snakemake_logger_plugin_haystack.board import Board

        return Board(settings, stream)
    return Display(settings, stream)


class Display:
    """One line per event; errors, warnings and job statistics as Snakemake shows them."""

    def __init__(self, settings: Any, stream: TextIO) -> None:
        self.stream = stream
        self.plain = plain_handler(settings, stream)
        self.quiet = {str(item).split(".")[-1].lower() for item in settings.quiet or ()}

    def show(self, record: LogRecord, events: Sequence[Event], tracker: Tracker) -> None:
        """One record, with the events that follow from it."""
        if not _replaced(record, tracker):
            if _name(record) == "job_error" and not getattr(record, "rule_msg", None):
                record.msg = ""  # else Snakemake 9.27 adds the line "message: None"
            self.plain.handle(record)
        if not self.quiet & {"all", "progress", "rules"}:
            for event in events:
                line = describe(event, tracker)
                if line:
                    self.write(line, event)

    def clear(self) -> None:
        """Remove what does not stay on the screen: nothing of lines does."""

    def finish(self, events: Sequence[Event], tracker: Tracker) -> None:
        """After the last record."""
        if "all" in self.quiet:
            return
        for event in events:
            line = describe(event, tracker)
            if line:
                self.write(line, event)

    def write(self, line: str, event: Event) -> None:
        """One line, with the time."""
        print(stamped(line), file=self.stream, flush=True)


def describe(event: Event, tracker: Tracker) -> str:
    """The event in words; empty for what the next event says anyway."""
    where = f"{event.run_id}" + (f", iteration {event.iteration}" if event.iteration else "")
    match event.event:
        case "stage_started":
            name = where if event.run_id else "all runs"
            return f"{name}: {doing(event.message, event.stage)} [{steps(tracker)}]"
        case "iteration_scored":
            of = f" (threshold {event.threshold:g})" if event.threshold else ""
            score = "no score" if event.score is None else f"score {event.score:.1f}"
            return f"{where}: {score}{of}; {_ending(event.reason) or 'going on'}"
        case "run_finished":
            score = "without a score" if event.score is None else f"score {event.score:.1f}"
            run = tracker.runs.get(str(event.run_id))
            return (
                f"{event.run_id}: finished, {score}{_because(event.reason)}. {run_count(tracker)}"
                f"{_path('report', run.report if run else None)}"
            )
        case "run_failed":
            stage = str(event.stage)
            return f"{where}: failed while {tracker.stages.get(stage, stage)}: {event.message}"
        case "workflow_finished" if tracker.runs or tracker.done:
            result = run_count(tracker) if event.reason == "failed" else _all_done(tracker)
            steps_done = f"{tracker.done} step{'' if tracker.done == 1 else 's'} done in {elapsed(tracker.since)}"
            return f"{result}. {steps_done}{_path('summary', tracker.summary)}"
    return ""


def run_count(tracker: Tracker) -> str:
    """How many runs have finished and failed."""
    finished, failed = tracker.count("finished"), tracker.count("failed")
    expected = max(tracker.expected_runs, len(tracker.runs))
    return f"{finished} of {expected} runs finished" + (f", {failed} failed" if failed else "")


def _all_done(tracker: Tracker) -> str:
    """How many runs had work in this start, and how many of the table had none."""
    n, unchanged = len(tracker.runs), tracker.unchanged
    worked = f"{n} {'run' if n == 1 else 'runs'} had work" if n else "no run had work"
    return f"all done: {worked}" + (f", {unchanged} unchanged" if unchanged else "")


def remaining(tracker: Tracker) -> str:
    """A rough time: as if the steps to come took as long as those done; empty before a fifth is done."""
    if tracker.done < max(3, 0.2 * tracker.total) or tracker.done >= tracker.total:
        return ""
    seconds = (time.monotonic() - tracker.since) * (tracker.total - tracker.done) / tracker.done
    return f", about {timedelta(seconds=int(seconds))} left"


def steps(tracker: Tracker) -> str:
    """How many jobs are done; checkpoints add to their total."""
    return f"{tracker.done} of {tracker.total} steps so far"


def stamped(line: str) -> str:
    """The line after the time of day."""
    return f"[{time.strftime('%H:%M:%S')}] {line}"


def elapsed(since: float) -> str:
    """Hours, minutes and seconds since a moment on the monotonic clock."""
    return str(timedelta(seconds=int(time.monotonic() - since)))


def _path(name: str, path: str | None) -> str:
    return f"; {name}: {path}" if path else ""


def _ending(reason: str | None) -> str:
    return reason.replace("_", " ") if reason else ""


def _because(reason: str | None) -> str:
    return f", {_ending(reason)}" if reason else ""


def is_hint(record: LogRecord) -> bool:
    """Whether it is a warning about nothing that went wrong."""
    return isinstance(record.msg, str) and record.msg.startswith(HINT)


def _name(record: LogRecord) -> str:
    return str(getattr(record, "event", None) or "")


def _replaced(record: LogRecord, tracker: Tracker) -> bool:
    """Whether an event says it, or will: of a failed script its own message is enough."""
    if isinstance(record.msg, str) and record.msg.startswith(SCRIPT_FAILED):
        return KILLED not in record.msg
    if _name(record) == "job_error":
        return str(getattr(record, "jobid", "")) in tracker.explained
    if record.levelno >= WARNING:
        return False
    if _name(record) in OWN:
        return True
    return isinstance(record.msg, str) and record.msg.startswith(NOISE)
