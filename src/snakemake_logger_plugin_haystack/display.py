"""How events look: a line each, or a board on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from logging import WARNING, Handler, LogRecord
from typing import Any, TextIO

from snakemake_logger_plugin_haystack.events import Event, RunState, Tracker

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
HINT = "Workflow defines that rule"
"""Snakemake's warning, once per shared rule and start, that its cache between workflows is off"""
BOARD_RUNS = 12
"""runs on the board at most"""
RESET, BOLD, DIM, RED, GREEN, CYAN = "\033[0m", "\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[36m"


def open_display(settings: Any) -> Display:
    """A board on a terminal that can move its cursor, lines elsewhere."""
    stream = sys.stdout if settings.stdout else sys.stderr
    board = stream.isatty() and os.environ.get("TERM") not in {None, "", "dumb"} and os.name == "posix"
    return (Board if board else Display)(settings, stream)


class Display:
    """One line per event; errors, warnings and job statistics as Snakemake shows them."""

    def __init__(self, settings: Any, stream: TextIO) -> None:
        self.stream = stream
        self.plain = _snakemakes_own(settings, stream)
        self.quiet = {str(item).split(".")[-1].lower() for item in settings.quiet or ()}

    def show(self, record: LogRecord, events: Sequence[Event], tracker: Tracker) -> None:
        """One record, with the events that follow from it."""
        if not _replaced(record):
            self.plain.handle(record)
        if not self.quiet & {"all", "progress", "rules"}:
            for event in events:
                line = describe(event, tracker)
                if line:
                    self.write(line, event)

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
        print(f"[{time.strftime('%H:%M:%S')}] {line}", file=self.stream, flush=True)


class Board(Display):
    """Lines for what is settled; below them, redrawn after every record, the runs that are under way."""

    def __init__(self, settings: Any, stream: TextIO) -> None:
        super().__init__(settings, stream)
        self.colour = not settings.nocolor and "NO_COLOR" not in os.environ
        self.drawn = 0

    def show(self, record: LogRecord, events: Sequence[Event], tracker: Tracker) -> None:
        """Clear the board, print what stays, draw the board anew."""
        self.clear()
        super().show(record, [event for event in events if event.event != "stage_started"], tracker)
        if not self.quiet & {"all", "progress"}:
            self.draw(tracker)

    def finish(self, events: Sequence[Event], tracker: Tracker) -> None:
        """Leave only what stays."""
        self.clear()
        super().finish(events, tracker)

    def write(self, line: str, event: Event) -> None:
        """One line; what ended well is green, what did not red."""
        colours = {"run_finished": GREEN, "run_failed": RED, "iteration_scored": CYAN}
        super().write(self._paint(line, colours.get(event.event, "")), event)

    def clear(self) -> None:
        """Remove the board."""
        if self.drawn:
            self.stream.write(f"\033[{self.drawn}A\r\033[J")
            self.stream.flush()
            self.drawn = 0

    def draw(self, tracker: Tracker) -> None:
        """Write the board; no line is longer than the terminal is wide, or it could not be removed."""
        size = shutil.get_terminal_size()
        lines = board_lines(tracker, max(1, min(BOARD_RUNS, size.lines - 4)))
        for number, line in enumerate(lines):
            style = BOLD if number == len(lines) - 1 else DIM if line.startswith("  ...") else ""
            self.stream.write(self._paint(line[: size.columns - 1], style) + "\n")
        self.stream.flush()
        self.drawn = len(lines)

    def _paint(self, text: str, style: str) -> str:
        return f"{style}{text}{RESET}" if style and self.colour else text


def describe(event: Event, tracker: Tracker) -> str:
    """The event in words; empty for what the next event says anyway."""
    where = f"{event.run_id}" + (f", iteration {event.iteration}" if event.iteration else "")
    match event.event:
        case "stage_started":
            name = where if event.run_id else "all runs"
            return f"{name}: {_doing(event.message, event.stage)} [{event.stage}, {_steps(tracker)}]"
        case "iteration_scored":
            of = f" (stops from {event.threshold:g})" if event.threshold else ""
            score = "no score" if event.score is None else f"score {event.score:.1f}"
            return f"{where}: {score}{of}; {_ending(event.reason) or 'going on'}"
        case "run_finished":
            score = "without a score" if event.score is None else f"score {event.score:.1f}"
            return f"{event.run_id}: finished, {score}{_because(event.reason)}. {_runs(tracker)}"
        case "run_failed":
            return f"{where}: failed in {event.stage}: {event.message}"
        case "workflow_finished":
            told = _runs(tracker) if event.reason == "failed" else _all_done(tracker)
            return f"{told}. {tracker.done} steps done" if tracker.runs or tracker.done else ""
    return ""


def board_lines(tracker: Tracker, most: int) -> list[str]:
    """Runs under way, the work that all runs share, and a line of sums."""
    running = [(run_id, run) for run_id, run in tracker.runs.items() if run.status == "running"]
    lines = [f"  all runs: {_doing(job.message, job.stage)}" for job in tracker.shared.values()]
    lines += [f"  {run_id}  {_where(run)}" for run_id, run in running[:most]]
    if len(running) > most:
        lines.append(f"  ... and {len(running) - most} more under way")
    return [*lines, f"{_runs(tracker)}; {_steps(tracker)}"] if lines or tracker.runs else []


def _where(run: RunState) -> str:
    iteration = f"iteration {run.iteration}  " if run.iteration else ""
    scores = " ".join("-" if score is None else f"{score:.1f}" for _, score in sorted(run.scores.items()))
    of = f" (stops from {run.threshold:g})" if run.threshold else ""
    return f"{iteration}{_doing(run.message, run.stage)}" + (f"  scores {scores}{of}" if scores else "")


def _doing(message: str | None, stage: str | None) -> str:
    """The rule's message without the run's name, which stands before it."""
    text = message or stage or ""
    return text.split(": ", 1)[-1] if text.startswith("Run ") else text


def _runs(tracker: Tracker) -> str:
    finished, failed = tracker.count("finished"), tracker.count("failed")
    expected = max(tracker.expected_runs, len(tracker.runs))
    return f"{finished} of {expected} runs finished" + (f", {failed} failed" if failed else "")


def _all_done(tracker: Tracker) -> str:
    """How many runs had work in this start, and how many of the table had none."""
    n, unchanged = len(tracker.runs), tracker.unchanged
    worked = f"{n} {'run' if n == 1 else 'runs'} had work" if n else "no run had work"
    return f"all done: {worked}" + (f", {unchanged} unchanged" if unchanged else "")


def _steps(tracker: Tracker) -> str:
    return f"{tracker.done} of {tracker.total} steps so far"


def _ending(reason: str | None) -> str:
    return reason.replace("_", " ") if reason else ""


def _because(reason: str | None) -> str:
    return f", {_ending(reason)}" if reason else ""


def is_hint(record: LogRecord) -> bool:
    """Whether it is a warning about nothing that went wrong."""
    return isinstance(record.msg, str) and record.msg.startswith(HINT)


def _replaced(record: LogRecord) -> bool:
    if record.levelno >= WARNING:
        return False
    if str(getattr(record, "event", None) or "") in OWN:
        return True
    return isinstance(record.msg, str) and record.msg.startswith(NOISE)


def _snakemakes_own(settings: Any, stream: TextIO) -> Handler:
    """The handler that Snakemake would use by itself."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    return ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=stream,
        formatter=DefaultFormatter(settings.quiet, settings.show_failed_logs),
        filter=DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        ),
    )
